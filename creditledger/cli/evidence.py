"""`evidence`, and what `verify` does with the bundle that it opens. Source: specs/cli.md §18."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.opening import as_digest, reading
from creditledger.cli.options import (
    INPUT_FILE,
    OUTPUT_FILE,
    directory_argument,
    json_option,
    key_file,
    model_path,
    read_start,
)
from creditledger.cli.output import emit, note
from creditledger.cli.output_file import output_file
from creditledger.errors import BusyError, UnknownIdError, VerificationError

if TYPE_CHECKING:
    from creditledger.activations.runners.layer_runner import LayerRunner
    from creditledger.activations.sealing import AuditKey
    from creditledger.ledger.keyring import KeyFile
    from creditledger.ledger.ledger import Ledger
    from creditledger.transparency.trust_policy import TrustPolicy
    from creditledger.validation.bound_evidence import BoundEvidence
    from creditledger.validation.evidence_bundle import EvidenceBundle
    from creditledger.validation.judgement import Judgement

DISAGREES: Final = VerificationError.exit_code


@click.command()
@directory_argument
@click.argument("receipt", metavar="RECEIPT")
@click.option(
    "--key",
    "key_path",
    required=True,
    type=INPUT_FILE,
    callback=key_file,
    help="The node's, or a validator's.",
)
@click.option("-o", "bundle_path", required=True, metavar="FILE", type=OUTPUT_FILE)
@click.option("--member", type=click.IntRange(0, 1023), help="Whose refutation; default: the first one.")
@click.option(
    "--policy",
    "policy_path",
    type=click.Path(path_type=Path),
    help="The reader's: signatures that it does not know are left out. Default: LEDGER/policy.",
)
@json_option
def evidence(
    ledger: Path,
    receipt: str,
    key_path: Path,
    bundle_path: Path,
    member: int | None,
    policy_path: Path | None,
    as_json: bool,
) -> None:
    """Open what a refutation of RECEIPT rests on, for the accused node or a member of the committee.

    Whoever has the written bundle, the policy and the model can repeat the check: `verify --model`. It
    holds hidden states, from which a prompt can be guessed: it is written with mode 0600."""
    from creditledger.ledger.keyring import KeyRole, load_key
    from creditledger.transparency.trust_policy import TrustPolicy

    digest = as_digest(receipt)
    if digest is None:
        raise click.UsageError("RECEIPT is a receipt's digest: 64 lower-case hex digits")
    policy = None if policy_path is None else TrustPolicy.load(policy_path)
    with reading(ledger) as opened, output_file(bundle_path, mode=0o600) as write:
        key = load_key(key_path, roles=(KeyRole.NODE, KeyRole.VALIDATOR), ledger_id=opened.id)
        number, by, bundle = _opened(opened, digest, key, member)
        encoded = _with_present_proof(opened, bundle, digest, policy).encode()
        write(encoded)
    answer = {"receipt": digest, "round": number, "member": by, **_claimed(bundle)}
    emit(answer | {"file": bundle_path, "bytes": len(encoded)}, as_json=as_json)


def verify_evidence(
    path: Path, policy: "TrustPolicy", *, model: str | None, now_unix_ms: int, as_json: bool
) -> int:
    """Check an evidence bundle, and with ``model`` repeat its check; 1 if another verdict comes out.

    Raises VerificationError, UnknownIdError for another model than the receipt's."""
    from creditledger.validation.bound_evidence import bind_evidence
    from creditledger.validation.evidence_bundle import EVIDENCE_BYTES_MAX

    encoded = read_start(path, most=EVIDENCE_BYTES_MAX + 1)
    bound = bind_evidence(encoded, policy, now_unix_ms=now_unix_ms)
    runner = None if model is None else _runner(model)
    judgement = None if runner is None else bound.judge(runner)
    agrees = None if judgement is None else judgement.outcome is bound.outcome
    emit(_answer(bound, judgement, agrees=agrees), as_json=as_json)
    if agrees is False:
        note("the check does not give this verdict again")
        return DISAGREES
    return 0


def _opened(
    ledger: "Ledger", receipt: bytes, key: "KeyFile", member: int | None
) -> "tuple[int, int, EvidenceBundle]":
    """Round and member of the refutation, and its bundle."""
    from creditledger.validation.evidence import DirectoryEvidence
    from creditledger.validation.sealed_refutation import open_evidence

    shown = DirectoryEvidence(ledger.path)
    for number, by in shown.refutations(receipt):
        sealed = shown.refutation(receipt, round_number=number, member=by)
        if sealed is not None and member in (None, by):
            opener = _opening_key(key)
            return number, by, open_evidence(sealed, opener, ledger_id=ledger.id, receipt=receipt)
    raise UnknownIdError("there is no evidence against this receipt", found=receipt.hex())


def _opening_key(key: "KeyFile") -> "AuditKey":
    from creditledger.activations.sealing import AuditKey
    from creditledger.transparency.montgomery import x25519_secret

    return AuditKey(key.audit_secret or x25519_secret(key.secret))


def _with_present_proof(
    ledger: "Ledger", bundle: "EvidenceBundle", receipt: bytes, policy: "TrustPolicy | None"
) -> "EvidenceBundle":
    """The bundle with a proof under the present checkpoint, which a policy's age limit still accepts."""
    from dataclasses import replace

    from creditledger.ledger.prove import prover

    try:
        with prover(ledger, policy) as proving:
            return replace(bundle, parts=bundle.parts.replace(proof=proving.receipt(receipt, most="logged")))
    except BusyError:
        return bundle


def _runner(model: str) -> "LayerRunner":
    from creditledger.activations.runners import weights
    from creditledger.activations.runners.numpy_llama import NumpyLlama

    return NumpyLlama(weights.load_model(model_path(model)))


def _claimed(bundle: "EvidenceBundle") -> dict[str, str]:
    from creditledger.records.verdict import Outcome, Reason, Verdict

    verdict = Verdict.decode(bundle.parts.verdict.verdict)
    return {"outcome": Outcome(verdict.outcome).name.lower(), "reason": Reason(verdict.reason).name.lower()}


def _answer(bound: "BoundEvidence", judgement: "Judgement | None", *, agrees: bool | None) -> dict[str, Any]:
    from creditledger.records.verdict import Outcome, Reason

    verdict = bound.claimed.verdict
    answer = {
        "ok": agrees is not False,
        "subject": "evidence",
        "work": "unchecked" if judgement is None else judgement.outcome.name.lower(),
        "id": bound.digest,
        "node": bound.receipt.node,
        "size": bound.logged.size,
        "time_unix_ms": bound.logged.time_unix_ms,
        "round": verdict.round,
        "member": verdict.member,
        "claimed_outcome": Outcome(verdict.outcome).name.lower(),
        "claimed_reason": Reason(verdict.reason).name.lower(),
    }
    return answer | ({} if judgement is None else _measured(judgement) | {"agrees": agrees})


def _measured(judgement: "Judgement") -> dict[str, Any]:
    """What came out, null where nothing was measured or it is infinite."""
    stats = judgement.statistics
    figures = {
        "ratio": None if stats is None else stats.ratio,
        "threshold": None if stats is None else judgement.threshold,
        "tail": None if stats is None else stats.tail,
        "resolution": None if stats is None else stats.resolution,
    }
    shown = {name: one if one is not None and math.isfinite(one) else None for name, one in figures.items()}
    return {"outcome": judgement.outcome.name.lower(), "reason": judgement.reason.name.lower(), **shown}

"""`prove` and `verify`: proofs out of a ledger, and what a bundle proves to a stranger.

Source: specs/cli.md §8."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from creditledger.cli.opening import account_id, as_digest, reading
from creditledger.cli.options import INPUT_FILE, OUTPUT_FILE, json_option, ledger_argument, read_start
from creditledger.cli.output import emit
from creditledger.cli.output_file import output_file
from creditledger.errors import MalformedBundleError, MalformedRecordError, UnknownIdError

if TYPE_CHECKING:
    from creditledger.ledger.prove import Level, Prover
    from creditledger.transparency.verification import Requirement, Verified


@click.command()
@ledger_argument
@click.argument("subject_id", metavar="ID")
@click.option("--absent", is_flag=True, help="Prove that no record with this digest was ever accepted.")
@click.option("-o", "proof_path", required=True, metavar="FILE", type=OUTPUT_FILE)
@click.option(
    "--format",
    "form",
    type=click.Choice(["bundle", "tlog-proof"]),
    default="bundle",
    show_default=True,
    help="tlog-proof: a text that other logs' tools read; it proves that an entry was logged, no more.",
)
@click.option(
    "--policy",
    "policy_path",
    type=click.Path(path_type=Path),
    help="The reader's: a bundle carries only signatures that it knows. Default: LEDGER/policy.",
)
@click.option(
    "--level",
    type=click.Choice(["signed", "logged", "certified"]),
    default="certified",
    show_default=True,
    help="For a receipt: carry proofs up to here, as far as the ledger has come.",
)
@json_option
def prove(
    ledger: Path,
    subject_id: str,
    absent: bool,
    proof_path: Path,
    form: Literal["bundle", "tlog-proof"],
    policy_path: Path | None,
    level: "Level",
    as_json: bool,
) -> None:
    """Write a proof of ID to anyone with the policy file.

    ID is the digest of a receipt, batch or hold, an account's id or name, or an account's key. For a
    tlog-proof it is the digest of any logged record, of a receipt, or an entry's index."""
    from creditledger.ledger.prove import prover
    from creditledger.transparency.trust_policy import TrustPolicy

    if absent and form == "tlog-proof":
        raise click.UsageError("--absent takes a bundle: a tlog-proof shows what is in the log only")
    policy = None if policy_path is None else TrustPolicy.load(policy_path)
    index: dict[str, int] = {}
    with reading(ledger) as opened, prover(opened, policy) as proving, output_file(proof_path) as write:
        if absent:
            subject, encoded = "absent", proving.absent(_digest(subject_id))
        elif form == "bundle":
            subject, encoded = _bundle(proving, subject_id, level)
        else:
            proof = proving.tlog_proof(_entry(subject_id))
            subject, encoded, index = "entry", proof.encode(), {"index": proof.index}
        write(encoded)
    answer = {"subject": subject, "id": subject_id, "file": proof_path, "bytes": len(encoded)}
    emit(answer | {"size": proving.size} | index, as_json=as_json)


def _entry(text: str) -> int | bytes:
    """The index or digest that ``text`` spells. Raises UnknownIdError."""
    from creditledger.transparency.checkpoint import parse_decimal

    digest = as_digest(text)
    if digest is not None:
        return digest
    try:
        return parse_decimal(text.encode("utf-8", "surrogateescape"))
    except MalformedRecordError:
        raise UnknownIdError(
            "no entry is called so", expected="a record's digest or an index", found=ascii(text)[:80]
        ) from None


def _bundle(proving: "Prover", text: str, level: "Level") -> tuple[str, bytes]:
    from creditledger.credits import reading as credits

    digest, state = as_digest(text), proving.state
    if digest is None:
        return "account", proving.account(account_id(state, text))
    if credits.receipt_state(state, digest) is not None:
        return "receipt", proving.receipt(digest, most=level)
    if credits.hold_state(state, digest) is not None:
        return "hold", proving.hold(digest)
    if credits.account_state(state, digest) is not None:
        return "account", proving.account(digest)
    if credits.key_state(state, digest) is not None:
        return "key", proving.key(digest)
    return "batch", proving.batch(_batch(proving, digest))


def _batch(proving: "Prover", digest: bytes) -> bytes:
    from creditledger.credits.reading import consumed_index
    from creditledger.records.entry import Entry
    from creditledger.records.receipt import Batch

    index = consumed_index(proving.state, digest)
    if index is None:
        raise UnknownIdError("nothing is known under this id", found=digest.hex())
    record = Entry.decode(proving.log.entry_bytes(index)).record
    if not isinstance(record, Batch):
        kind = record.KIND.name.lower()
        raise UnknownIdError(
            "there is no bundle for such a record", expected="receipt, batch, hold", found=kind
        )
    return digest


def _digest(text: str) -> bytes:
    digest = as_digest(text)
    if digest is None:
        raise click.UsageError("--absent takes a record's digest: 64 lower-case hex digits")
    return digest


@click.command()
@click.argument("bundle_path", metavar="BUNDLE", type=INPUT_FILE)
@click.option(
    "--policy", "policy_path", required=True, type=click.Path(path_type=Path), help="Whom to trust."
)
@click.option(
    "--now", "now_unix_ms", type=click.IntRange(0), metavar="MS", help="Default: this machine's clock."
)
@click.option(
    "--require",
    type=click.Choice(["signed", "logged", "upheld", "vested"]),
    default="logged",
    show_default=True,
)
@click.option("--model", "model_path", type=click.Path(path_type=Path), help="For evidence bundles only.")
@json_option
def verify(
    bundle_path: Path,
    policy_path: Path,
    now_unix_ms: int | None,
    require: "Requirement",
    model_path: Path | None,
    as_json: bool,
) -> None:
    """Check a bundle offline against a policy, and say what it proves and of when."""
    from creditledger.ledger.clock import system_clock
    from creditledger.transparency.bundle import BUNDLE_BYTES_MAX
    from creditledger.transparency.trust_policy import TrustPolicy
    from creditledger.transparency.verification import verify_bundle

    if model_path is not None:
        raise click.UsageError("--model re-executes evidence bundles, and there are none yet")
    policy = TrustPolicy.load(policy_path)
    if policy.ledger_id is None:
        raise MalformedRecordError("policy names no ledger", expected="a #creditledger ledger line")
    encoded = read_start(bundle_path, most=BUNDLE_BYTES_MAX + 1)
    now = system_clock() if now_unix_ms is None else now_unix_ms
    try:
        verified = verify_bundle(encoded, policy, require=require, now_unix_ms=now)
    except MalformedRecordError as error:
        # Whatever is wrong inside a bundle is the bundle's fault, not the caller's.
        raise MalformedBundleError(str(error), expected=error.expected, found=error.found) from error
    emit(_verified(verified, policy.ledger_id), as_json=as_json)


def _verified(verified: "Verified", ledger_id: bytes) -> dict[str, Any]:
    answer = {
        "ok": True,
        "subject": verified.subject.name.lower(),
        "work": verified.work,
        "reached": list(verified.reached),
        "size": verified.size,
        "time_unix_ms": verified.time_unix_ms,
        "round": None if verified.round is None else verified.round.number,
        "round_size": None if verified.round is None else verified.round.log_size,
        "delivered": verified.delivered,
    }
    if verified.record is not None:
        answer["id"] = verified.record.digest(ledger_id)
    return answer | _state(verified)


def _state(verified: "Verified") -> dict[str, Any]:
    """What the certified state says of a hold, an account or a key."""
    from creditledger.records.registration import Role
    from creditledger.records.state import AccountState, HoldState, HoldStatus, KeyState

    state = verified.state
    if isinstance(state, HoldState):
        return {
            "holder": state.holder,
            "queue": state.queue,
            "amount_micro": state.amount_micro,
            "captured_micro": state.captured_micro,
            "status": _name(HoldStatus, state.status),
            "expires_unix_ms": state.expires_unix_ms,
        }
    if isinstance(state, AccountState):
        return {
            "account": state.account,
            "name": state.name,
            "role": _name(Role, state.role),
            "available_micro": state.available_micro,
            "overdrawn_micro": state.overdrawn_micro,
            "held_micro": state.held_micro,
            "unvested_micro": state.unvested_micro,
        }
    if isinstance(state, KeyState):
        return {"key": state.key, "account": state.account, "role": _name(Role, state.role)}
    return {}


def _name(codes: Any, code: int) -> str:
    return str(codes(code).name.lower()) if code in tuple(codes) else str(code)

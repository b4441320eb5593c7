"""`verify`: what a file proves to a stranger who has a policy and no network. Source: specs/cli.md §8."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.evidence import verify_evidence
from creditledger.cli.options import INPUT_FILE, hex_id, json_option, read_input, read_start
from creditledger.cli.output import emit
from creditledger.errors import MalformedBundleError, MalformedRecordError

if TYPE_CHECKING:
    from creditledger.transparency.trust_policy import TrustPolicy
    from creditledger.transparency.verification import Requirement, Verified

ENTRY_BYTES_MAX = 65_535


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
@click.option("--entry", "entry_path", type=INPUT_FILE, help="For a tlog-proof: the entry it speaks of.")
@click.option(
    "--leaf-hash",
    "leaf",
    metavar="HEX",
    callback=hex_id(32),
    help="Or that entry's leaf hash, 64 hex digits.",
)
@click.option("--model", metavar="PATH", help="Of an evidence bundle: run the check again with this model.")
@json_option
def verify(
    bundle_path: Path,
    policy_path: Path,
    now_unix_ms: int | None,
    require: "Requirement",
    entry_path: Path | None,
    leaf: bytes | None,
    model: str | None,
    as_json: bool,
) -> int:
    """Check a file offline against a policy, and say what it proves and of when.

    FILE is a bundle, an evidence bundle (which --model repeats), a .tlog-proof (with the entry that it
    speaks of), or evidence of a fork."""
    from creditledger.ledger.clock import system_clock
    from creditledger.transparency import fork, tlog_proof
    from creditledger.transparency.bundle import BUNDLE_BYTES_MAX
    from creditledger.transparency.trust_policy import TrustPolicy
    from creditledger.validation import evidence_bundle

    policy = TrustPolicy.load(policy_path)
    longest = max(BUNDLE_BYTES_MAX, fork.FORK_SIZE_MAX, tlog_proof.TLOG_PROOF_SIZE_MAX)
    encoded = read_start(bundle_path, most=longest + 1)
    now = system_clock() if now_unix_ms is None else now_unix_ms
    is_proof, is_fork = encoded.startswith(tlog_proof.HEADER), encoded.startswith(fork.HEADER)
    is_evidence = encoded.startswith(evidence_bundle.MAGIC)
    if model is not None and not is_evidence:
        raise click.UsageError("--model repeats the check of an evidence bundle, which this file is not")
    if is_proof != (entry_path is not None or leaf is not None):
        raise click.UsageError(
            "--entry or --leaf-hash say which entry a tlog-proof speaks of, and go with one"
        )
    if require != "logged" and (is_proof or is_fork or is_evidence):
        raise click.UsageError("--require speaks of bundles: this file proves what it proves")
    if is_evidence:
        return verify_evidence(bundle_path, policy, model=model, now_unix_ms=now, as_json=as_json)
    if is_proof:
        answer = _entry(encoded, _leaf(entry_path, leaf), policy, now)
    elif is_fork:
        answer = _fork(encoded, policy)
    else:
        answer = _bundle(encoded[: BUNDLE_BYTES_MAX + 1], policy, require, now)
    emit(answer, as_json=as_json)
    return 0


def _bundle(
    encoded: bytes, policy: "TrustPolicy", require: "Requirement", now_unix_ms: int
) -> dict[str, Any]:
    from creditledger.transparency.verification import verify_bundle

    if policy.ledger_id is None:
        raise MalformedRecordError("policy names no ledger", expected="a #creditledger ledger line")
    try:
        verified = verify_bundle(encoded, policy, require=require, now_unix_ms=now_unix_ms)
    except MalformedRecordError as error:
        # Whatever is wrong inside a bundle is the bundle's fault, not the caller's.
        raise MalformedBundleError(str(error), expected=error.expected, found=error.found) from error
    return _verified(verified, policy.ledger_id)


def _leaf(entry_path: Path | None, leaf: bytes | None) -> bytes:
    from creditledger.transparency.merkle import leaf_hash

    if entry_path is None and leaf is not None:
        return leaf
    if entry_path is None or leaf is not None:
        raise click.UsageError("say --entry or --leaf-hash")
    return leaf_hash(read_input(entry_path, most=ENTRY_BYTES_MAX))


def _entry(encoded: bytes, leaf: bytes, policy: "TrustPolicy", now_unix_ms: int) -> dict[str, Any]:
    from creditledger.transparency.tlog_proof import verify_logged_leaf

    logged = verify_logged_leaf(encoded, leaf=leaf, policy=policy, now_unix_ms=now_unix_ms)
    return {
        "ok": True,
        "subject": "entry",
        "work": "unchecked",
        "index": logged.index,
        "leaf_hash": leaf,
        "size": logged.checkpoint.size,
        "time_unix_ms": logged.cosigned_unix_ms,
    }


def _fork(encoded: bytes, policy: "TrustPolicy") -> dict[str, Any]:
    from creditledger.transparency.fork import verify_fork

    found = verify_fork(encoded, policy)
    return {
        "ok": True,
        "subject": "fork",
        "work": "unchecked",
        "origin": found.first.origin,
        "first_size": found.first.size,
        "first_root": found.first.root,
        "size": found.second.size,
        "root": found.second.root,
        "time_unix_ms": None,
    }


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

"""`run`: one voucher, one job. Source: specs/cli.md §10."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.opening import cosigners_for, key_in, writing
from creditledger.cli.options import INPUT_FILE, json_option, key_file, ledger_argument, read_start
from creditledger.cli.output import emit
from creditledger.cli.rounds import complete
from creditledger.errors import BusyError, MalformedBundleError, RoleError

if TYPE_CHECKING:
    from creditledger.records.transfer import Hold
    from creditledger.redemption.queues.job_outcome import JobOutcome
    from creditledger.transparency.keys import Ed25519Signer
    from creditledger.transparency.trust_policy import TrustPolicy


@click.command()
@ledger_argument
@click.option("--queue", type=click.Choice(["local", "slurm"]), required=True)
@click.option("--voucher", "voucher_path", required=True, type=INPUT_FILE)
@click.option("--key", "key_path", type=INPUT_FILE, callback=key_file, help="Default: in LEDGER/keys.")
@click.option(
    "--gpus",
    "slots",
    type=click.IntRange(1, 4_096),
    help="GPUs of the queue. Default: as installed, else as paid for.",
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@json_option
def run(
    ledger: Path,
    queue: str,
    voucher_path: Path,
    key_path: Path | None,
    slots: int | None,
    command: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run COMMAND on the GPUs that a voucher bought; capture what it used, release the rest.

    The job's own exit code is in the answer: this exits 0 whenever the job ran and was settled. A
    voucher that is presented again starts nothing; the first job's outcome is the answer."""
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.redemption.ledger_access import LedgerAccess
    from creditledger.redemption.queues.local import LocalQueue
    from creditledger.redemption.queues.local_settings import LocalSettings
    from creditledger.transparency.trust_policy import TrustPolicy

    if queue == "slurm":
        raise click.UsageError("members of a slurm queue type sbatch: see `creditledger queue install`")
    if shutil.which(command[0]) is None:
        raise click.UsageError(f"no such command: {command[0]}")
    directory = LedgerDirectory(ledger)
    policy = TrustPolicy.load(directory.policy)
    encoded, hold = unverified_voucher(voucher_path)
    access = LedgerAccess(ledger)
    key = queue_signer(key_path or key_in(ledger, hold.queue), policy)
    account = access.account_of(key.public_key)
    if account != hold.queue:
        raise RoleError("voucher is for another queue", expected=account.hex(), found=hold.queue.hex())
    folder = directory.path / "queues" / hold.queue.hex()
    installed = LocalSettings.installed(folder)
    with LocalQueue(
        folder,
        ledger=ledger,
        key=key,
        policy=policy,
        slots=slots or (hold.gpus if installed is None else installed.slots),
        hardware=None if installed is None else installed.hardware,
        cosigners=cosigners_for(ledger),
    ) as opened:
        outcome = opened.run(encoded, command)
    if not outcome.settled:
        raise BusyError(f"the job ran, but the ledger could not be told: {outcome.problem}")
    with writing(ledger) as settled:
        complete(settled)
    emit(answer_of(outcome), as_json=as_json)


def unverified_voucher(path: Path) -> "tuple[bytes, Hold]":
    """The voucher's bytes and the hold it speaks of, not verified yet. Raises MalformedBundleError."""
    from creditledger.errors import MalformedRecordError
    from creditledger.records.transfer import decode_hold
    from creditledger.redemption.voucher import Voucher
    from creditledger.transparency.bundle import BUNDLE_BYTES_MAX, decode_bundle

    voucher = Voucher.load(read_start(path, most=BUNDLE_BYTES_MAX + 1))
    entries = decode_bundle(voucher.encoded).entry
    try:
        hold = decode_hold(entries[0].record if entries else b"")
    except MalformedRecordError as error:
        raise MalformedBundleError("voucher holds no hold", found=str(error)) from error
    return voucher.encoded, hold


def queue_signer(path: Path, policy: "TrustPolicy") -> "Ed25519Signer":
    from creditledger.ledger.keyring import KeyRole, load_key

    return load_key(path, roles=(KeyRole.QUEUE,), ledger_id=policy.ledger_id).ed25519()


def answer_of(outcome: "JobOutcome") -> dict[str, Any]:
    return {
        "hold": outcome.hold,
        "exit_code": outcome.exit_code,
        "ending": outcome.ending.value,
        "gpu_ms": outcome.gpu_ms,
        "captured_micro": outcome.captured_micro,
        "released_micro": outcome.released_micro,
        "settled": outcome.settled,
        "refusal": outcome.refusal,
        "stdout": outcome.stdout,
        "stderr": outcome.stderr,
    }

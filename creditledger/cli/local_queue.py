"""`queue install|run|submit LEDGER local`: this machine's GPUs, in turn. Source: specs/cli.md §21."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.opening import KEY_FILES_MAX, account_id, cosigners_for, key_in, reading, writing
from creditledger.cli.options import INPUT_FILE, json_option, key_file
from creditledger.cli.output import emit, note
from creditledger.cli.queues import answer_of, queue_signer, unverified_voucher
from creditledger.cli.rounds import complete
from creditledger.errors import BusyError, RoleError, StorageError, UnknownIdError

if TYPE_CHECKING:
    from creditledger.redemption.queues.local import LocalQueue
    from creditledger.redemption.queues.local_settings import LocalSettings
    from creditledger.redemption.queues.runner import Turn

RUNNER_LOCK = "runner.lock"

name_option = click.option(
    "--queue", "name", metavar="NAME", help="The queue's account. Default: the only one."
)
key_option = click.option(
    "--key", "key_path", type=INPUT_FILE, callback=key_file, help="Default: in LEDGER/keys."
)


@click.command()
@name_option
@key_option
@click.option("--slots", type=click.IntRange(1, 4_096), required=True, metavar="N", help="GPUs, from 0 on.")
@click.option("--class", "hardware", metavar="CLASS", help="Of the GPUs. Default: vouchers of any class.")
@json_option
@click.pass_obj
def install(
    ledger: Path, name: str | None, key_path: Path | None, slots: int, hardware: str | None, as_json: bool
) -> None:
    """Write down how many GPUs of which class a queue of this machine has. Again: replaces that."""
    from creditledger.redemption.queues.local_settings import LocalSettings

    queue = _account_to_install(ledger, name, key_path)
    _require_class(ledger, hardware)
    settings = LocalSettings(queue=queue.hex(), slots=slots, hardware=hardware)
    folder = _folder(ledger, queue)
    settings.save(folder)
    emit({"directory": folder, "queue": queue, "slots": slots, "class": hardware}, as_json=as_json)


@click.command()
@name_option
@key_option
@click.option("--once", is_flag=True, help="One turn, and end: what was launched runs on.")
@click.option("--interval", type=click.IntRange(1, 3_600), default=1, show_default=True, metavar="SECONDS")
@click.option("--shadow", is_flag=True, help="Charge nothing: say what was used and give every hold back.")
@json_option
@click.pass_obj
def run(
    ledger: Path,
    name: str | None,
    key_path: Path | None,
    once: bool,
    interval: int,
    shadow: bool,
    as_json: bool,
) -> None:
    """Launch waiting jobs as GPUs become free, settle those that end, have the ledger expire what is due.

    Killed at any point, the next one goes on. Interrupted, it ends; its jobs run on."""
    settings = _installed(ledger, name)
    with _opened(ledger, settings, key_path, shadow=shadow) as queue, _alone(ledger, settings):
        try:
            while True:
                turn = queue.turn()
                if turn.settled or turn.expired:
                    _certify(ledger)
                if once or turn.has_news:
                    emit(_answer(turn, settings, shadow=shadow), as_json=as_json)
                if once:
                    return
                time.sleep(interval)
        except KeyboardInterrupt:
            return


@click.command()
@key_option
@click.option("--voucher", "voucher_path", required=True, type=INPUT_FILE)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@json_option
@click.pass_obj
def submit(
    ledger: Path, key_path: Path | None, voucher_path: Path, command: tuple[str, ...], as_json: bool
) -> None:
    """Put COMMAND on the waiting list of the voucher's queue, with this folder and environment.

    Once the job has ended, the answer to the same voucher is what became of it."""
    if shutil.which(command[0]) is None:
        raise click.UsageError(f"no such command: {command[0]}")
    encoded, hold = unverified_voucher(voucher_path)
    settings = _settings_in(_folder(ledger, hold.queue))
    with _opened(ledger, settings, key_path) as queue:
        digest = queue.submit(encoded, command)
        order = [job.digest for job in queue.waiting()]
        try:
            outcome: dict[str, Any] | None = answer_of(queue.outcome(digest))
        except (BusyError, UnknownIdError):
            outcome = None
    place = order.index(digest) if digest in order else None
    status = "ended" if outcome else "started" if place is None else "waiting"
    answer = {"hold": digest, "queue": hold.queue, "status": status, "before": place, "outcome": outcome}
    emit(answer, as_json=as_json)


def _folder(ledger: Path, queue: bytes) -> Path:
    return ledger / "queues" / queue.hex()


def _account_to_install(ledger: Path, name: str | None, key_path: Path | None) -> bytes:
    """The queue that is named, or whose key is given, or whose key is the only one in ``LEDGER/keys``."""
    from creditledger.credits.reading import account_state
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.records.registration import Role

    with reading(ledger) as opened, opened.read() as state:
        if name is not None:
            queue = account_id(state, name)
        else:
            queue = _account_of_key(ledger, key_path, LedgerDirectory(ledger).keys)
        found = account_state(state, queue)
    if found is None or found.role != Role.QUEUE:
        raise RoleError("not a queue's account", expected="queue", found=(name or queue.hex())[:80])
    return queue


def _account_of_key(ledger: Path, key_path: Path | None, keys: Path) -> bytes:
    from creditledger.errors import CreditLedgerError
    from creditledger.ledger.keyring import KeyRole, load_key
    from creditledger.redemption.ledger_access import LedgerAccess

    found = set()
    for path in [key_path] if key_path else sorted(keys.glob("*.key"))[:KEY_FILES_MAX]:
        try:
            key = load_key(path, roles=(KeyRole.QUEUE,)).ed25519()
            found.add(LedgerAccess(ledger).account_of(key.public_key))
        except CreditLedgerError:
            if key_path:
                raise
    if len(found) != 1:
        raise click.UsageError(f"{len(found)} queues have a key in {keys}: name one with --queue or --key")
    return found.pop()


def _require_class(ledger: Path, hardware: str | None) -> None:
    from creditledger.credits.reading import parameters_in_force

    with reading(ledger) as opened, opened.read() as state:
        listed = parameters_in_force(state).hardware
    if hardware is not None and hardware not in [price.name for price in listed]:
        raise UnknownIdError(
            "hardware class has no price",
            expected=", ".join(price.name for price in listed) or "a listed class",
            found=ascii(hardware)[:80],
        )


def _installed(ledger: Path, name: str | None) -> "LocalSettings":
    """The settings of the queue that is named, or of the only one that is installed."""
    from creditledger.redemption.queues.local_settings import SETTINGS_FILE

    if name is not None:
        with reading(ledger) as opened, opened.read() as state:
            queue = account_id(state, name)
        return _settings_in(_folder(ledger, queue))
    folders = [path.parent for path in sorted((ledger / "queues").glob(f"*/{SETTINGS_FILE}"))]
    if len(folders) > 1:
        raise click.UsageError(f"{len(folders)} local queues are installed: name one with --queue")
    return _settings_in(folders[0] if folders else ledger / "queues")


def _settings_in(folder: Path) -> "LocalSettings":
    from creditledger.redemption.queues.local_settings import LocalSettings

    settings = LocalSettings.installed(folder)
    if settings is None:
        raise StorageError(
            "no local queue is installed here", expected="`creditledger queue install`", found=str(folder)
        )
    return settings


@contextmanager
def _opened(
    ledger: Path, settings: "LocalSettings", key_path: Path | None, *, shadow: bool = False
) -> "Iterator[LocalQueue]":
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.redemption.ledger_access import LedgerAccess
    from creditledger.redemption.queues.local import LocalQueue
    from creditledger.transparency.trust_policy import TrustPolicy

    directory, queue = LedgerDirectory(ledger), bytes.fromhex(settings.queue)
    policy = TrustPolicy.load(directory.policy)
    access = LedgerAccess(ledger)
    key = queue_signer(key_path or key_in(ledger, queue), policy)
    account = access.account_of(key.public_key)
    if account != queue:
        raise RoleError("key is of another queue", expected=queue.hex(), found=account.hex())
    with LocalQueue(
        _folder(ledger, queue),
        ledger=ledger,
        key=key,
        policy=policy,
        slots=settings.slots,
        hardware=settings.hardware,
        cosigners=cosigners_for(ledger),
        is_shadow=shadow,
    ) as opened:
        yield opened


@contextmanager
def _alone(ledger: Path, settings: "LocalSettings") -> Iterator[None]:
    """Nobody else runs this queue meanwhile. Raises BusyError."""
    from creditledger.ledger.directory import WriterLock

    path = _folder(ledger, bytes.fromhex(settings.queue)) / RUNNER_LOCK
    lock = WriterLock(path, taken="another process runs this queue")
    try:
        yield
    finally:
        lock.close()


def _certify(ledger: Path) -> None:
    try:
        with writing(ledger) as opened:
            complete(opened)
    except BusyError as error:
        note(f"no round could be certified: {error}")


def _answer(turn: "Turn", settings: "LocalSettings", *, shadow: bool) -> dict[str, Any]:
    return {
        "queue": settings.queue,
        "shadow": shadow,
        "started": list(turn.started),
        "settled": [answer_of(outcome) for outcome in turn.settled],
        "dropped": list(turn.dropped),
        "expired": turn.expired,
        "waiting": turn.waiting,
        "running": turn.running,
        "problems": list(turn.problems),
    }

"""Erasing what was sealed for checks, once nobody may ask for it any more. Source: specs/ledger.md §15.

Sealed sketches and inputs give prompts away to whoever comes to hold an audit key: what is gone cannot be
opened with a key that leaks next year."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.ledger.clock import Clock
from creditledger.ledger.directory import disk_errors, sync_directory
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.stored_log import StoredLog
from creditledger.records.entry import Entry
from creditledger.records.receipt import Batch, Receipt
from creditledger.records.transfer import Expire, Settlement
from creditledger.records.verdict import Outcome

KEPT_MS_MIN: Final = 24 * 60 * 60 * 1000
"""What was sealed stays at least so long after its job's end, however soon credits vest."""
_NAMED: Final = re.compile(r"([0-9a-f]{64})(-[0-9]+-[0-9]+|-by-[0-9a-f]{64})?(\.[a-z]+)?")

Files = dict[bytes, list[Path]]
"""Files by the digest that their names begin with."""
Jobs = dict[bytes, set[bytes]]
"""By the digest in a file's name, the jobs whose checks may ask for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """What one run erased."""

    sealed: int
    """Boxes of sketches."""
    evidence: int
    """Inputs, handovers and evidence bundles."""
    freed_bytes: int
    kept: int
    """Files that somebody may still ask for, or that belong to nothing logged yet."""


def erase_ended(ledger: Ledger, *, clock: Clock) -> Erased:
    """Erase what was sealed for checks of jobs that have ended and whose window is over.

    Stopped halfway, it is run again. Time is the witnesses' word where they cosigned the published
    checkpoint, else ``clock``'s: a clock that runs ahead erases nothing early. Raises StorageError,
    IntegrityError."""
    folders = (ledger.directory.sealed, ledger.directory.evidence)
    sealed, evidence = (_files(folder) for folder in folders)
    if not sealed and not evidence:
        return Erased(sealed=0, evidence=0, freed_bytes=0, kept=0)
    now = _witnessed_time(ledger, clock)
    with ledger.snapshot() as snapshot:
        state = snapshot.state
        users, ended = _read_log(snapshot.log, state, {*sealed, *evidence}, ledger_id=ledger.id)
        done = {job for job, end in ended.items() if is_over(state, job, ended_ms=end, now_unix_ms=now)}
    # A file that no logged batch names may belong to one that is on its way.
    gone = {name for name, jobs in users.items() if jobs <= done}
    boxes, inputs = (
        [path for name, paths in files.items() if name in gone for path in paths]
        for files in (sealed, evidence)
    )
    freed = sum(_erase(path) for path in (*boxes, *inputs))
    for folder in folders:
        if folder.is_dir():
            sync_directory(folder)
    there = sum(len(paths) for files in (sealed, evidence) for paths in files.values())
    return Erased(
        sealed=len(boxes), evidence=len(inputs), freed_bytes=freed, kept=there - len(boxes) - len(inputs)
    )


def is_over(state: StateView, job: bytes, *, ended_ms: int, now_unix_ms: int) -> bool:
    """Whether nobody may ask for evidence of a job that ended at ``ended_ms``: settled, or its hold expired.

    Its window is over, each of its receipts was drawn and judged as far as it will be, and no node is
    suspended for one of them: a quorum may still want to see why. Source: specs/ledger.md §15."""
    body = reading.job_body(state, job)
    terms = None if body is None else reading.parameters_with(state, body.parameters)
    if terms is None:
        return False
    window = max(KEPT_MS_MIN, terms.vesting_ms, reading.parameters_in_force(state).vesting_ms)
    if now_unix_ms < ended_ms + window:
        return False
    legs = reading.job_legs(state, job)
    receipts = [digest for leg in legs for _, digest in reading.job_receipts(state, job, leg.layer_start)]
    return all(_is_decided(state, digest) for digest in receipts)


def _is_decided(state: StateView, digest: bytes) -> bool:
    receipt = reading.receipt_state(state, digest)
    if receipt is None or receipt.round == 0:
        return False
    if not receipt.is_judged:
        return False
    if reading.awaits_validator(state, digest):
        return False
    node = reading.account_state(state, receipt.node)
    return receipt.outcome != Outcome.REFUTED or node is None or not node.suspended


def _read_log(
    log: StoredLog, state: StateView, names: set[bytes], *, ledger_id: bytes
) -> tuple[Jobs, dict[bytes, int]]:
    """Whose the files with these ``names`` are, and when each job ended that did: Unix milliseconds."""
    users: Jobs = {}
    ended: dict[bytes, int] = {}
    for index in range(log.size):
        entry = Entry.decode(log.entry_bytes(index))
        record = entry.record
        if isinstance(record, Settlement):
            ended[record.job] = entry.time_unix_ms
        elif isinstance(record, Expire):
            hold = reading.hold_state(state, record.hold)
            if hold is not None:
                ended[hold.job] = entry.time_unix_ms
        elif isinstance(record, Batch):
            for receipt in Receipt.decode_all(log.bodies(record)):
                for name in names & {record.sealed, receipt.input_root, receipt.digest(ledger_id)}:
                    users.setdefault(name, set()).add(receipt.job)
    return users, ended


def _witnessed_time(ledger: Ledger, clock: Clock) -> int:
    policy = ledger.policy().for_any_size()
    cosigned = policy.verify_checkpoint(ledger.checkpoint()).cosigned_unix_ms
    return clock() if cosigned is None else min(cosigned, clock())


def _files(folder: Path) -> Files:
    found: Files = {}
    with disk_errors(folder):
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in paths:
        named = _NAMED.fullmatch(path.name)
        if named:
            found.setdefault(bytes.fromhex(named[1]), []).append(path)
    return found


def _erase(path: Path) -> int:
    """Its size; 0 where another run was faster."""
    with disk_errors(path):
        try:
            size = path.stat().st_size
            path.unlink()
        except FileNotFoundError:
            return 0
    return size

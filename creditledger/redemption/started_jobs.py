"""The one durable set of holds a queue has started: every decision to start, end or charge is a row here.

Source: specs/redemption.md §5."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from pathlib import Path
from typing import Any, Final

from creditledger.errors import RefusedError, UnknownIdError
from creditledger.records.transfer import Hold, decode_hold
from creditledger.redemption.notebook import Notebook
from creditledger.redemption.process_identity import ProcessIdentity
from creditledger.redemption.waiting_jobs import WAITING_SCHEMA, WaitingJob, WaitingJobs

_SCHEMA_VERSION: Final = 2
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS started (
    hold BLOB PRIMARY KEY CHECK (length(hold) = 32),
    record BLOB NOT NULL,
    state INTEGER NOT NULL,
    slots TEXT NOT NULL,
    limit_ms INTEGER NOT NULL,
    queue_process TEXT NOT NULL,
    supervisor TEXT,
    elapsed_ms INTEGER NOT NULL DEFAULT 0,
    exit_code INTEGER,
    ending TEXT,
    captured_micro INTEGER NOT NULL DEFAULT 0,
    released_micro INTEGER NOT NULL DEFAULT 0,
    refusal TEXT,
    is_shadow INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID
"""
_COLUMNS: Final = (
    "hold, record, state, slots, limit_ms, queue_process, supervisor, elapsed_ms, exit_code, ending, "
    "captured_micro, released_micro, refusal, is_shadow"
)


class Stage(IntEnum):
    """How far a started hold has come. It only ever moves forward."""

    INTENT = 1
    """Slots are taken and the hold is spent here; no supervisor has begun."""
    RUNNING = 2
    """A supervisor has begun: from here on the job may have run."""
    ENDED = 3
    """Nothing of the job runs any more; what it used stands here."""
    CAPTURED = 4
    """The ledger has the capture, or has refused it for good."""
    SETTLED = 5
    """The hold has ended in the ledger."""


class Ending(StrEnum):
    """Why a job ended; the release carries it as its reason."""

    EXITED = "exited"
    OUT_OF_TIME = "out-of-time"
    CANCELLED = "cancelled"
    NOT_STARTED = "not-started"
    LOST = "lost"
    """Its supervisor died: it is charged up to the last heartbeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedJob:
    """One row."""

    digest: bytes
    """The hold's id, 32 bytes."""
    hold: Hold
    stage: Stage
    slots: tuple[int, ...]
    limit_ms: int
    """How long the job may run."""
    queue_process: ProcessIdentity
    supervisor: ProcessIdentity | None
    elapsed_ms: int
    """Wall time by the last heartbeat, or in all once ended."""
    exit_code: int | None
    """Minus the signal's number for a job that a signal ended; None where nobody saw it."""
    ending: Ending | None
    captured_micro: int
    released_micro: int
    refusal: str | None
    """Name of the error with which the ledger refused the capture or the release for good."""
    is_shadow: bool
    """Whether it costs nothing, whatever it used."""

    @property
    def used_gpu_ms(self) -> int:
        """GPU-milliseconds used: wall time, never more than the limit, times the GPUs held."""
        return min(self.elapsed_ms, self.limit_ms) * self.hold.gpus

    @property
    def gpu_ms(self) -> int:
        """GPU-milliseconds to charge."""
        return 0 if self.is_shadow else self.used_gpu_ms


@dataclass(frozen=True, slots=True)
class Claim:
    """A hold's row, and whether this call made it: only then may its job be launched."""

    job: StartedJob
    is_new: bool


class StartedJobs:
    """Rows in one SQLite file, shared by a queue's processes. Every change is durable on return.

    All methods raise StorageError when the disk fails and BusyError when the file stays locked."""

    def __init__(self, path: Path) -> None:
        self._notebook = Notebook(
            path, what="started set", schema=(_SCHEMA, WAITING_SCHEMA), version=_SCHEMA_VERSION
        )
        self.waiting = WaitingJobs(self._notebook)
        """Who has not begun yet."""

    def close(self) -> None:
        """Let go of the file. The rows stay."""
        self._notebook.close()

    def get(self, hold: bytes) -> StartedJob | None:
        """The row of this hold (32-byte digest), if it was ever started here."""
        return next(iter(self._select("WHERE hold = ?", hold)), None)

    def require(self, hold: bytes) -> StartedJob:
        """The row of this hold. Raises UnknownIdError if it was never started here."""
        found = self.get(hold)
        if found is None:
            raise UnknownIdError("this queue never started that hold", found=hold.hex())
        return found

    def unsettled(self) -> list[StartedJob]:
        """All rows whose hold has not ended in the ledger yet, by hold."""
        return self._select("WHERE state < ? ORDER BY hold", int(Stage.SETTLED))

    def claim(
        self,
        digest: bytes,
        hold: Hold,
        *,
        slots: Sequence[int],
        limit_ms: int,
        queue_process: ProcessIdentity,
        from_list: bool = False,
        is_shadow: bool = False,
    ) -> Claim | None:
        """Spend the hold here and take slots for it, in one transaction, unless it was spent before.

        The lowest free ones of ``slots`` are taken, as many as the hold has GPUs. None if too few are free,
        or if it waits in the list and is not started ``from_list``: then nothing has changed. ``is_shadow``:
        its job will cost nothing. Raises RefusedError if the hold has more GPUs than there are slots."""
        require_fits(hold, slots)
        with self._notebook.write() as write:
            is_new = write.execute("SELECT 1 FROM started WHERE hold = ?", (digest,)).fetchone() is None
            if is_new:
                waits = write.execute("SELECT 1 FROM waiting WHERE hold = ?", (digest,)).fetchone()
                if (waits is not None) != from_list:
                    return None
                free = sorted(set(slots) - _slots_in_use(write))[: hold.gpus]
                if len(free) < hold.gpus:
                    return None
                write.execute(
                    "INSERT INTO started (hold, record, state, slots, limit_ms, queue_process, is_shadow) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        digest,
                        hold.encode(),
                        int(Stage.INTENT),
                        json.dumps(free),
                        limit_ms,
                        str(queue_process),
                        int(is_shadow),
                    ),
                )
        return Claim(self.require(digest), is_new)

    def adopt(self, job: StartedJob, *, queue_process: ProcessIdentity) -> bool:
        """Take over a row at INTENT from a queue process that is gone, to launch what it may have launched.

        Whichever supervisor begins first is the only one that does. False if somebody else was first."""
        with self._notebook.write() as write:
            changed = write.execute(
                "UPDATE started SET queue_process = ? WHERE hold = ? AND state = ? AND queue_process = ?",
                (str(queue_process), job.digest, int(Stage.INTENT), str(job.queue_process)),
            ).rowcount
        return changed == 1

    def drop(
        self, job: WaitingJob, *, queue_process: ProcessIdentity, ending: Ending, refusal: str | None = None
    ) -> bool:
        """Take a job off the list that will not start: spent, ended, nothing used. False if it has left.

        ``refusal``: name of the error if the ledger has ended its hold already; else that is still due."""
        stage = Stage.ENDED if refusal is None else Stage.SETTLED
        with self._notebook.write() as write:
            is_claimed = write.execute("SELECT 1 FROM started WHERE hold = ?", (job.digest,)).fetchone()
            if is_claimed or not _leave_list(write, job.digest):
                return False
            write.execute(
                "INSERT INTO started (hold, record, state, slots, limit_ms, queue_process, ending, refusal) "
                "VALUES (?, ?, ?, '[]', 0, ?, ?, ?)",
                (job.digest, job.hold.encode(), int(stage), str(queue_process), str(ending), refusal),
            )
        return True

    def begin(self, hold: bytes, *, supervisor: ProcessIdentity) -> bool:
        """From INTENT to RUNNING. False if somebody else decided first: then the job must not start."""
        return self._advance(hold, Stage.INTENT, Stage.RUNNING, supervisor=str(supervisor))

    def heartbeat(self, hold: bytes, *, elapsed_ms: int) -> None:
        """Note how long the job has run."""
        self._advance(hold, Stage.RUNNING, Stage.RUNNING, elapsed_ms=elapsed_ms)

    def end(self, hold: bytes, *, ending: Ending, elapsed_ms: int, exit_code: int | None) -> bool:
        """From RUNNING to ENDED: nothing of it runs any more and its slots are free."""
        return self._advance(
            hold,
            Stage.RUNNING,
            Stage.ENDED,
            ending=str(ending),
            elapsed_ms=elapsed_ms,
            exit_code=exit_code,
        )

    def withdraw(self, hold: bytes) -> bool:
        """From INTENT to ENDED: it never started and, from now on, cannot."""
        return self._advance(hold, Stage.INTENT, Stage.ENDED, ending=str(Ending.NOT_STARTED))

    def lose(self, hold: bytes, *, elapsed_ms: int) -> bool:
        """From RUNNING to ENDED: its supervisor is gone, and ``elapsed_ms`` is what is known for certain."""
        return self._advance(hold, Stage.RUNNING, Stage.ENDED, ending=str(Ending.LOST), elapsed_ms=elapsed_ms)

    def captured(self, hold: bytes, *, amount_micro: int, refusal: str | None) -> bool:
        """From ENDED to CAPTURED."""
        return self._advance(hold, Stage.ENDED, Stage.CAPTURED, captured_micro=amount_micro, refusal=refusal)

    def settled(self, hold: bytes, *, released_micro: int, refusal: str | None) -> bool:
        """From CAPTURED to SETTLED."""
        return self._advance(
            hold, Stage.CAPTURED, Stage.SETTLED, released_micro=released_micro, refusal=refusal
        )

    def _advance(self, hold: bytes, old: Stage, new: Stage, **changes: int | str | None) -> bool:
        names = "".join(f", {name} = ?" for name in changes)
        with self._notebook.write() as write:
            changed = write.execute(
                f"UPDATE started SET state = ?{names} WHERE hold = ? AND state = ?",
                (int(new), *changes.values(), hold, int(old)),
            ).rowcount
            if changed == 1 and old == Stage.INTENT:
                _leave_list(write, hold)
        return changed == 1

    def _select(self, where: str, *values: bytes | int) -> list[StartedJob]:
        return [
            _row(row) for row in self._notebook.select(f"SELECT {_COLUMNS} FROM started {where}", *values)
        ]


def require_fits(hold: Hold, slots: Sequence[int]) -> None:
    """Raises RefusedError if the hold has more GPUs than there are slots."""
    if hold.gpus > len(slots):
        raise RefusedError(
            "job asks for more GPUs than this queue has",
            expected=f"at most {len(slots)}",
            found=str(hold.gpus),
        )


def _leave_list(connection: sqlite3.Connection, hold: bytes) -> bool:
    return connection.execute("DELETE FROM waiting WHERE hold = ?", (hold,)).rowcount == 1


def _slots_in_use(connection: sqlite3.Connection) -> set[int]:
    rows = connection.execute("SELECT slots FROM started WHERE state < ?", (int(Stage.ENDED),)).fetchall()
    return {slot for (slots,) in rows for slot in json.loads(slots)}


def _row(row: Sequence[Any]) -> StartedJob:
    return StartedJob(
        digest=row[0],
        hold=decode_hold(row[1]),
        stage=Stage(row[2]),
        slots=tuple(json.loads(row[3])),
        limit_ms=row[4],
        queue_process=ProcessIdentity.parse(row[5]),
        supervisor=None if row[6] is None else ProcessIdentity.parse(row[6]),
        elapsed_ms=row[7],
        exit_code=row[8],
        ending=None if row[9] is None else Ending(row[9]),
        captured_micro=row[10],
        released_micro=row[11],
        refusal=row[12],
        is_shadow=bool(row[13]),
    )

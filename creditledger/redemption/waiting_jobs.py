"""The durable waiting list of a queue: jobs that were handed in and have not begun.

Source: specs/redemption.md §9."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from creditledger.records.transfer import Hold, decode_hold
from creditledger.redemption.notebook import Notebook

WAITING_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS waiting (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    hold BLOB NOT NULL UNIQUE CHECK (length(hold) = 32),
    record BLOB NOT NULL,
    command TEXT NOT NULL,
    cwd TEXT NOT NULL,
    env TEXT NOT NULL
) STRICT
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingJob:
    """One row."""

    digest: bytes
    """The hold's id, 32 bytes."""
    hold: Hold
    place: int
    """Rises with every job that is handed in."""
    command: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    """All of the job's environment, as it was when it was handed in."""


class WaitingJobs:
    """The list, in the notebook of the started set. Every change is durable on return.

    A job leaves it in the transaction that decides of its start: see `StartedJobs`. Raises what
    `Notebook` does."""

    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook

    def add(
        self, digest: bytes, hold: Hold, *, command: Sequence[str], cwd: str, env: Mapping[str, str]
    ) -> bool:
        """Put a job last. False if its hold waits already or was ever started: nothing changes then."""
        texts = (json.dumps(list(command)), json.dumps(cwd), json.dumps(dict(env)))
        with self._notebook.write() as write:
            known = write.execute(
                "SELECT hold FROM started WHERE hold = ?1 UNION SELECT hold FROM waiting WHERE hold = ?1",
                (digest,),
            ).fetchone()
            if known is not None:
                return False
            write.execute(
                "INSERT INTO waiting (hold, record, command, cwd, env) VALUES (?, ?, ?, ?, ?)",
                (digest, hold.encode(), *texts),
            )
        return True

    def all(self) -> list[WaitingJob]:
        """Whoever waits, the first to come first."""
        return self._select("ORDER BY place")

    def get(self, hold: bytes) -> WaitingJob | None:
        """The row of this hold (32-byte digest), if it waits."""
        return next(iter(self._select("WHERE hold = ?", hold)), None)

    def _select(self, where: str, *values: bytes) -> list[WaitingJob]:
        columns = "hold, record, place, command, cwd, env"
        rows = self._notebook.select(f"SELECT {columns} FROM waiting {where}", *values)
        return [_row(row) for row in rows]


def _row(row: Sequence[Any]) -> WaitingJob:
    return WaitingJob(
        digest=row[0],
        hold=decode_hold(row[1]),
        place=row[2],
        command=tuple(json.loads(row[3])),
        cwd=json.loads(row[4]),
        env=json.loads(row[5]),
    )

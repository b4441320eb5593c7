"""What Slurm's accounting says an attempt used. Source: specs/redemption.md §10."""

import re
from dataclasses import dataclass
from typing import Final

from creditledger.errors import MalformedRecordError
from creditledger.redemption.queues.slurm.tres import gpus_by_type, processors

FIELDS: Final = ["Cluster", "DBIndex", "JobID", "State", "Submit", "Start", "End", "ElapsedRaw", "AllocTRES"]
_NOT_OVER: Final = frozenset(["PENDING", "RUNNING", "SUSPENDED", "RESIZING", "COMPLETING", "CONFIGURING"])
_STATE: Final = re.compile(r"[A-Z_]{1,32}", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountingRow:
    """One attempt, for ever known by its cluster and its index in the database."""

    cluster: str
    db_index: int
    job: str
    state: str
    submit_unix_s: int
    start_unix_s: int | None
    end_unix_s: int | None
    elapsed_s: int
    """Time it ran, without what it was suspended for."""
    tres: str
    """What it was given."""

    @property
    def has_ended(self) -> bool:
        """Whether what it used is known in full."""
        return self.end_unix_s is not None and self.state not in _NOT_OVER

    @property
    def gpus(self) -> int:
        """GPUs of every type."""
        return sum(gpus_by_type(self.tres).values())

    @property
    def units(self) -> int:
        """What is paid for: GPUs, or processors where there is none."""
        return self.gpus or processors(self.tres)

    @property
    def ending(self) -> str:
        """The state as a reason: ``timeout``."""
        return self.state.lower()


def read_rows(text: str) -> list[AccountingRow]:
    """The rows in the output of ``sacct -P -n --format=...`` with `FIELDS` and times in Unix seconds.

    Raises MalformedRecordError."""
    return [_row(line) for line in text.splitlines() if line]


def _row(line: str) -> AccountingRow:
    parts = line.split("|")
    if len(parts) != len(FIELDS):
        raise MalformedRecordError("not a row of sacct's", expected=f"{len(FIELDS)} fields", found=line[:80])
    cluster, index, job, state, submit, start, end, elapsed, tres = parts
    word = _STATE.match(state)  # "CANCELLED by 1000"
    if word is None:
        raise MalformedRecordError("not a state", expected="like TIMEOUT", found=ascii(state)[:40])
    return AccountingRow(
        cluster=cluster,
        db_index=_number(index),
        job=job,
        state=word[0],
        submit_unix_s=_number(submit),
        start_unix_s=_time(start),
        end_unix_s=_time(end),
        elapsed_s=_number(elapsed),
        tres=tres,
    )


def _time(text: str) -> int | None:
    return None if text in ("Unknown", "None", "", "0") else _number(text)


def _number(text: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise MalformedRecordError("not a number", expected="digits", found=ascii(text)[:40])
    return int(text)

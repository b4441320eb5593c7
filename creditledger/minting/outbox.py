"""Signed batches on their way to the log: written down first, delivered once.

Source: specs/minting.md §5."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

from creditledger.errors import BusyError, CreditLedgerError, IntegrityError, StorageError
from creditledger.ledger.directory import disk_errors, read_file, replace_file, sync_directory
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records.canonical import FRAME_BYTES_MAX
from creditledger.records.entry import Submission

Submit = Callable[[Submission], Acknowledgement]
"""Has a submission logged, durably before it returns; a repeat answers with its first index."""
SubmitAll = Callable[[Sequence[Submission]], Sequence[Outcome]]
"""The log's last word on each, in order. One that is busy or broken leaves its submission open, as an
exception leaves all of them."""

OUTBOX_BYTES_MAX: Final = 1 << 30
WAITING: Final = ".submission"
REFUSED: Final = ".refused"
_DIGITS: Final = 16
_BLOCK_BYTES: Final = 4_096
_OPEN: Final = (BusyError, StorageError, IntegrityError)
"""No answers: the submission is sent again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of the waiting submissions."""

    acknowledgements: list[Acknowledgement] = field(default_factory=list)
    refused: list[tuple[Submission, CreditLedgerError]] = field(default_factory=list)
    """The log said no for good; these are not sent again."""
    stopped_by: Exception | None = None
    """Why the rest still waits, if it does."""


class SubmissionQueue(Protocol):
    """Submissions in order, each until the log has answered it for good."""

    def put(self, submission: Submission) -> None:
        """Add one at the end. Raises StorageError; it is then not in the queue."""

    def deliver(self, submit: SubmitAll, *, at_once: int = 1) -> Delivered:
        """Submit all in order, up to ``at_once`` in a group, until one can not be answered; those answered
        are gone."""

    def require_room(self, size: int) -> None:
        """Raises StorageError if ``size`` bytes more would be too much."""

    def __len__(self) -> int:
        """How many wait."""


class Outbox:
    """A `SubmissionQueue` in a directory: one synced file per submission, numbered in order.

    The file goes only after the acknowledgement, which comes only after the log is durable: a crash
    between the two sends it again, and the log answers the repeat with the first index. One process
    at a time. What the log refuses stays beside as ``.refused``, for people."""

    def __init__(self, directory: Path, *, bytes_max: int = OUTBOX_BYTES_MAX) -> None:
        """``bytes_max``: of what waits; beyond, nothing more is taken, and nothing is dropped either.

        Raises StorageError if the directory cannot be used."""
        self._directory = directory
        self._most = bytes_max
        self._turn = Lock()
        with disk_errors(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            numbers = [_number(path) for path in directory.iterdir()]
            self._bytes = sum(_room(path.stat().st_size) for path in waiting_in(directory))
        self._next = 1 + max((number for number in numbers if number is not None), default=0)

    def put(self, submission: Submission) -> None:
        encoded = submission.encode()
        with self._turn:
            self.require_room(len(encoded))
            replace_file(self._directory / f"{self._next:0{_DIGITS}d}{WAITING}", encoded, mode=0o600)
            self._next += 1
            self._bytes += _room(len(encoded))

    def deliver(self, submit: SubmitAll, *, at_once: int = 1) -> Delivered:
        done = Delivered()
        waiting = waiting_in(self._directory)
        while waiting:
            try:
                group = self._group(waiting, at_once)
                stopped_by = self._deliver(group, submit, done)
            except Exception as error:
                stopped_by = error
            if stopped_by is not None:
                return Delivered(
                    acknowledgements=done.acknowledgements, refused=done.refused, stopped_by=stopped_by
                )
            waiting = waiting[len(group) :]
        return done

    def require_room(self, size: int) -> None:
        if self._bytes + _room(size) > self._most:
            raise StorageError(
                "the outbox is full: the log has not taken what waits",
                expected=f"at most {self._most} bytes",
                found=f"{self._bytes} bytes in {self._directory}"[-200:],
            )

    def __len__(self) -> int:
        return len(waiting_in(self._directory))

    def _group(self, waiting: Sequence[Path], at_once: int) -> list[tuple[Path, Submission]]:
        """The first of ``waiting``, together at most one submission's bytes, if they are more than one."""
        group: list[tuple[Path, Submission]] = []
        room = FRAME_BYTES_MAX
        for path in waiting[:at_once]:
            encoded = read_file(path, what="submission", most=FRAME_BYTES_MAX)
            room -= len(encoded)
            if group and room < 0:
                break
            group.append((path, Submission.decode(encoded)))
        return group

    def _deliver(
        self, group: Sequence[tuple[Path, Submission]], submit: SubmitAll, done: Delivered
    ) -> Exception | None:
        """Why the rest waits, if it does. A refusal behind one that is open may be for its absence."""
        answers = submit([submission for _, submission in group])
        stopped_by: Exception | None = None
        for (path, submission), answer in zip(group, answers, strict=True):
            if isinstance(answer, _OPEN):
                stopped_by = stopped_by or answer
            elif stopped_by is None:
                self._settle(path, answer)
                _note(done, submission, answer)
        return stopped_by

    def _settle(self, path: Path, answer: Outcome) -> None:
        with self._turn, disk_errors(path):
            self._bytes -= _room(path.stat().st_size)
            if isinstance(answer, CreditLedgerError):
                os.rename(path, path.with_suffix(REFUSED))
            else:
                path.unlink()
            sync_directory(self._directory)


class MemoryOutbox:
    """A `SubmissionQueue` for nodes that may lose what was not delivered when they stop."""

    def __init__(self) -> None:
        self._queue: list[Submission] = []

    def put(self, submission: Submission) -> None:
        self._queue.append(submission)

    def deliver(self, submit: SubmitAll, *, at_once: int = 1) -> Delivered:
        done = Delivered()
        while self._queue:
            submission = self._queue[0]
            try:
                (answer,) = submit([submission])
                if isinstance(answer, _OPEN):
                    raise answer
            except Exception as error:
                return Delivered(
                    acknowledgements=done.acknowledgements, refused=done.refused, stopped_by=error
                )
            del self._queue[0]
            _note(done, submission, answer)
        return done

    def require_room(self, size: int) -> None:
        """There is as much as the process has."""

    def __len__(self) -> int:
        return len(self._queue)


def one_by_one(submit: Submit) -> SubmitAll:
    """``submit``, for each in turn: what it raises is the log's answer, or leaves it open."""

    def submit_all(submissions: Sequence[Submission]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for submission in submissions:
            try:
                outcomes.append(submit(submission))
            except CreditLedgerError as error:
                outcomes.append(error)
        return outcomes

    return submit_all


def waiting_in(directory: Path) -> list[Path]:
    """The files of submissions that wait in an outbox, in order. Raises StorageError."""
    return _files(directory, WAITING)


def refused_in(directory: Path) -> list[Path]:
    """Those that the log refused for good. Raises StorageError."""
    return _files(directory, REFUSED)


def _files(directory: Path, suffix: str) -> list[Path]:
    with disk_errors(directory):
        files = [path for path in directory.iterdir() if path.suffix == suffix]
    return sorted(path for path in files if _number(path) is not None)


def _note(done: Delivered, submission: Submission, answer: Outcome) -> None:
    if isinstance(answer, CreditLedgerError):
        done.refused.append((submission, answer))
    else:
        done.acknowledgements.append(answer)


def _number(path: Path) -> int | None:
    is_ours = path.suffix in (WAITING, REFUSED) and len(path.stem) == _DIGITS and path.stem.isdigit()
    return int(path.stem) if is_ours else None


def _room(size: int) -> int:
    """What a file of ``size`` bytes takes on the disk."""
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES

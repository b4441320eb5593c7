"""Signed batches on their way to the log: written down first, delivered once.

Source: specs/minting.md §5."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from creditledger.errors import BusyError, CreditLedgerError, IntegrityError, StorageError
from creditledger.ledger.directory import disk_errors, read_file, replace_file, sync_directory
from creditledger.ledger.ledger import Acknowledgement
from creditledger.records.canonical import FRAME_BYTES_MAX
from creditledger.records.entry import Submission

Submit = Callable[[Submission], Acknowledgement]
"""Has a submission logged, durably before it returns; a repeat answers with its first index."""

_WAITING: Final = ".submission"
_REFUSED: Final = ".refused"
_DIGITS: Final = 16


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

    def deliver(self, submit: Submit) -> Delivered:
        """Submit all in order until one can not be answered; those answered are gone."""

    def __len__(self) -> int:
        """How many wait."""


class Outbox:
    """A `SubmissionQueue` in a directory: one synced file per submission, numbered in order.

    The file goes only after the acknowledgement, which comes only after the log is durable: a crash
    between the two sends it again, and the log answers the repeat with the first index. One process
    at a time. What the log refuses stays beside as ``.refused``, for people."""

    def __init__(self, directory: Path) -> None:
        """Raises StorageError if the directory cannot be used."""
        self._directory = directory
        with disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            numbers = [_number(path) for path in directory.iterdir()]
        self._next = 1 + max((number for number in numbers if number is not None), default=0)

    def put(self, submission: Submission) -> None:
        replace_file(self._directory / f"{self._next:0{_DIGITS}d}{_WAITING}", submission.encode(), mode=0o600)
        self._next += 1

    def deliver(self, submit: Submit) -> Delivered:
        done = Delivered()
        for path in self._waiting():
            try:
                submission = Submission.decode(read_file(path, what="submission", most=FRAME_BYTES_MAX))
                answer = _answer(submit, submission)
                self._settle(path, answer)
            except Exception as error:
                return Delivered(
                    acknowledgements=done.acknowledgements, refused=done.refused, stopped_by=error
                )
            _note(done, submission, answer)
        return done

    def __len__(self) -> int:
        return len(self._waiting())

    def _settle(self, path: Path, answer: "Acknowledgement | CreditLedgerError") -> None:
        with disk_errors(path):
            if isinstance(answer, CreditLedgerError):
                os.rename(path, path.with_suffix(_REFUSED))
            else:
                path.unlink()
            sync_directory(self._directory)

    def _waiting(self) -> list[Path]:
        with disk_errors(self._directory):
            files = [path for path in self._directory.iterdir() if path.suffix == _WAITING]
        return sorted(path for path in files if _number(path) is not None)


class MemoryOutbox:
    """A `SubmissionQueue` for nodes that may lose what was not delivered when they stop."""

    def __init__(self) -> None:
        self._queue: list[Submission] = []

    def put(self, submission: Submission) -> None:
        self._queue.append(submission)

    def deliver(self, submit: Submit) -> Delivered:
        done = Delivered()
        while self._queue:
            submission = self._queue[0]
            try:
                answer = _answer(submit, submission)
            except Exception as error:
                return Delivered(
                    acknowledgements=done.acknowledgements, refused=done.refused, stopped_by=error
                )
            del self._queue[0]
            _note(done, submission, answer)
        return done

    def __len__(self) -> int:
        return len(self._queue)


def _answer(submit: Submit, submission: Submission) -> "Acknowledgement | CreditLedgerError":
    """The log's last word on it; raises what leaves it open."""
    try:
        return submit(submission)
    except (BusyError, StorageError, IntegrityError):
        raise
    except CreditLedgerError as error:
        return error


def _note(done: Delivered, submission: Submission, answer: "Acknowledgement | CreditLedgerError") -> None:
    if isinstance(answer, CreditLedgerError):
        done.refused.append((submission, answer))
    else:
        done.acknowledgements.append(answer)


def _number(path: Path) -> int | None:
    is_ours = path.suffix in (_WAITING, _REFUSED) and len(path.stem) == _DIGITS and path.stem.isdigit()
    return int(path.stem) if is_ours else None

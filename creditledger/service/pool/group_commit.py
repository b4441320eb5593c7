"""Group commit: what is in flight at once becomes durable together. Source: specs/service.md §1."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from creditledger.credits.state import StateView
from creditledger.errors import BusyError
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.writer import Acknowledgement, Beside, Outcome
from creditledger.records.entry import Submission
from creditledger.service.pool.steward import Steward

GROUP_SUBMISSIONS_MAX: Final = 1_024
GROUP_BYTES_MAX: Final = 8 * 1024 * 1024
WAITING_SUBMISSIONS_MAX: Final = 16 * 1_024
WAITING_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(slots=True, kw_only=True, eq=False)
class _Waiting:
    """One request's share of a group."""

    submissions: Sequence[Submission]
    size: int
    also: Beside | None
    outcomes: "Future[list[Outcome]]" = field(default_factory=Future)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """What one commit came to."""

    logged: int
    repeated: int
    refused: int
    requests: int
    seconds: float
    """From the first look at the records until they were durable."""


class GroupCommit:
    """One thread that commits what all requests have handed in since it last did."""

    def __init__(
        self, steward: Steward, *, on_commit: Callable[[Commit], None] = lambda commit: None
    ) -> None:
        """``on_commit`` hears of every commit once it is durable, before it is answered."""
        self._steward = steward
        self._on_commit = on_commit
        self._queue: deque[_Waiting] = deque()
        self._submissions = self._bytes = 0
        self._change = threading.Condition()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="group-commit")

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def stop(self) -> None:
        """Commit what waits, then end."""
        with self._change:
            self._is_ending = True
            self._change.notify_all()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Submissions that no commit has taken yet."""
        return self._submissions

    def submit(
        self, submissions: Sequence[Submission], *, size: int, also: Beside | None = None
    ) -> "Future[list[Outcome]]":
        """The outcomes of ``submissions``, once they are durable, in order; raises what `Ledger.submit` does.

        ``size``: their bytes. ``also`` sees the outcomes of these alone, and writes in their commit.
        Raises BusyError at once where too much waits already, or the server is ending."""
        share = _Waiting(submissions=submissions, size=size, also=also)
        with self._change:
            if self._is_ending:
                raise BusyError("the server is ending")
            room = WAITING_SUBMISSIONS_MAX - self._submissions
            if len(submissions) > room or (self._queue and self._bytes + size > WAITING_BYTES_MAX):
                raise BusyError(
                    "too many records wait to be logged",
                    expected=f"at most {WAITING_SUBMISSIONS_MAX}, {WAITING_BYTES_MAX} bytes",
                    found=f"{self._submissions}, {self._bytes} bytes",
                )
            self._queue.append(share)
            self._submissions += len(submissions)
            self._bytes += size
            self._change.notify_all()
        return share.outcomes

    def _run(self) -> None:
        while group := self._next():
            try:
                self._commit(group)
            except BaseException as error:
                for share in group:
                    share.outcomes.set_exception(error)

    def _next(self) -> list[_Waiting]:
        """What is to be committed together; empty when all is done and the end has come."""
        with self._change:
            group: list[_Waiting] = []
            while not group:
                self._change.wait_for(lambda: self._queue or self._is_ending)
                if not self._queue:
                    break
                group = self._taken()
            return group

    def _taken(self) -> list[_Waiting]:
        """As much of the queue as one commit bears, without those that are not waiting any more."""
        group: list[_Waiting] = []
        count = size = 0
        while self._queue:
            share = self._queue[0]
            count, size = count + len(share.submissions), size + share.size
            if group and (count > GROUP_SUBMISSIONS_MAX or size > GROUP_BYTES_MAX):
                break
            self._queue.popleft()
            self._submissions -= len(share.submissions)
            self._bytes -= share.size
            # From here on nobody can cancel it: an outcome that cannot be set would end this thread.
            if share.outcomes.set_running_or_notify_cancel():
                group.append(share)
        return group

    def _commit(self, group: Sequence[_Waiting]) -> None:
        submissions = [submission for share in group for submission in share.submissions]

        def also(kept: StateView, outcomes: Sequence[Outcome]) -> None:
            for share, own in zip(group, _shares(group, outcomes), strict=True):
                if share.also is not None:
                    share.also(kept, own)

        def submit(ledger: Ledger) -> list[Outcome]:
            return ledger.submit(submissions, also=also)

        began = time.perf_counter()
        outcomes = self._steward.write(submit)
        self._on_commit(_report(group, outcomes, time.perf_counter() - began))
        for share, own in zip(group, _shares(group, outcomes), strict=True):
            share.outcomes.set_result(own)


def _report(group: Sequence[_Waiting], outcomes: Sequence[Outcome], seconds: float) -> Commit:
    there = [one for one in outcomes if isinstance(one, Acknowledgement)]
    repeated = sum(one.repeated for one in there)
    return Commit(
        logged=len(there) - repeated,
        repeated=repeated,
        refused=len(outcomes) - len(there),
        requests=len(group),
        seconds=seconds,
    )


def _shares(group: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """The outcomes of each share."""
    shares, at = [], 0
    for share in group:
        shares.append(list(outcomes[at : at + len(share.submissions)]))
        at += len(share.submissions)
    return shares

"""Group commit over several processes: every front end checks and stages, one integrates: the sequencer.

Source: specs/postgres.md §4."""

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from creditledger.credits.fold import TransparencyVerifier
from creditledger.credits.state import StateView
from creditledger.errors import BusyError, CreditLedgerError, IntegrityError, StorageError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.signatures_ahead import check_ahead, checked_key
from creditledger.ledger.staging import OUTCOMES, Staging, StagingKey
from creditledger.ledger.standby import StandbyLedger
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records.entry import Submission
from creditledger.service.pool.event_log import EventLog
from creditledger.service.pool.group_commit import WAITING_BYTES_MAX, WAITING_SUBMISSIONS_MAX, Commit
from creditledger.service.pool.keeping import Keeping
from creditledger.service.pool.staged_request import StagedRequest, decode_outcomes, encode_outcomes
from creditledger.service.pool.steward import Steward

POLL_SECONDS: Final = 0.2
"""How long news may go unheard, and how often a standby tries to take over."""
ANSWER_SECONDS: Final = 30.0
"""So long a request waits for its outcome; then its client is told to send it again."""
PAUSE_SECONDS: Final = 0.5
SWEEP_SECONDS: Final = 600.0


@dataclass(slots=True, kw_only=True, eq=False)
class _Share:
    """One request on its way."""

    submissions: Sequence[Submission]
    size: int
    also: Keeping | None
    until: float
    outcomes: "Future[list[Outcome]]" = field(default_factory=Future)


class StagedCommit:
    """Two threads: one checks signatures, one stages, integrates where it is the sequencer, and answers."""

    def __init__(
        self,
        steward: Steward,
        ledger: StandbyLedger,
        *,
        clock: Clock,
        events: EventLog,
        on_commit: Callable[[Commit], None] = lambda commit: None,
        on_news: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_commit`` hears of every commit made here, ``on_news`` whenever the log may have grown."""
        self._steward = steward
        self._ledger = ledger
        self._clock = clock
        self._events = events
        self._on_commit = on_commit
        self._on_news = on_news
        self._change = threading.Condition()
        self._unchecked: list[_Share] = []
        self._checked: list[tuple[_Share, bytes]] = []
        self._staged: dict[int, _Share] = {}
        self._submissions = self._bytes = 0
        self._is_ending = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._staging: Staging | None = None
        self._pause_until = self._sweep_after = 0.0
        self._checker = threading.Thread(target=self._check, name="checking")
        self._thread = threading.Thread(target=self._run, name="staging")

    def start(self) -> None:
        """Take over if nobody else has, and begin. Raises StorageError, RollbackError."""
        self._staging = Staging(self._ledger.database.url)
        self._take_over()
        self._checker.start()
        self._thread.start()

    def stop(self) -> None:
        """Answer what is in flight, then end."""
        with self._change:
            self._is_ending = True
            self._change.notify_all()
        self._checker.join()
        self._wake()
        self._thread.join()
        for descriptor in (self._wake_read, self._wake_write):
            os.close(descriptor)

    @property
    def waiting(self) -> int:
        """Submissions that wait for an outcome."""
        return self._submissions

    def submit(
        self, submissions: Sequence[Submission], *, size: int, also: Keeping | None = None
    ) -> "Future[list[Outcome]]":
        """As `GroupCommit.submit`: whoever integrates them. Raises BusyError at once."""
        share = _Share(submissions=submissions, size=size, also=also, until=time.monotonic() + ANSWER_SECONDS)
        with self._change:
            if self._is_ending:
                raise BusyError("the server is ending")
            room = WAITING_SUBMISSIONS_MAX - self._submissions
            if len(submissions) > room or (self._bytes and self._bytes + size > WAITING_BYTES_MAX):
                raise BusyError("too many records wait to be logged", found=str(self._submissions))
            self._submissions += len(submissions)
            self._bytes += size
            self._unchecked.append(share)
            self._change.notify_all()
        return share.outcomes

    # The checking thread.

    def _check(self) -> None:
        while shares := self._next_unchecked():
            for share in shares:
                try:
                    row = self._row(share)
                except CreditLedgerError as error:
                    self._fail([share], error)
                    continue
                with self._change:
                    self._checked.append((share, row))
            self._wake()

    def _next_unchecked(self) -> list[_Share]:
        with self._change:
            self._change.wait_for(lambda: self._unchecked or self._is_ending)
            shares, self._unchecked = self._unchecked, []
            return shares

    def _row(self, share: _Share) -> bytes:
        return self._key().seal(staged_row(self._ledger, share.submissions, share.also))

    def _key(self) -> StagingKey:
        return StagingKey(self._ledger.operator_signer(), self._ledger.id)

    # The staging thread.

    def _run(self) -> None:
        while not self._is_done():
            try:
                self._turn()
            except (StorageError, IntegrityError) as error:
                self._give_up(error)
            except CreditLedgerError as error:
                self._events.error("staging waits", error)
                self._pause_until = time.monotonic() + PAUSE_SECONDS
        assert self._staging is not None
        self._staging.close()

    def _is_done(self) -> bool:
        with self._change:
            return self._is_ending and not (self._unchecked or self._checked or self._staged)

    def _turn(self) -> None:
        staging = self._staging
        assert staging is not None
        self._stage(staging)
        is_full = False
        if time.monotonic() >= self._pause_until:
            is_full = self._take_over() and self._integrate(staging)
        self._answer(staging)
        if not is_full and staging.wait(self._wake_read, seconds=POLL_SECONDS):
            self._on_news()
        self._drain()

    def _take_over(self) -> bool:
        if self._ledger.is_writer:
            if not self._ledger.database.is_sequencer and self._steward.shortage is None:
                raise StorageError("the sequencer's session has ended", expected="a ledger opened anew")
            return True
        taken = self._steward.write(lambda ledger: self._ledger.take_over())
        if taken:
            self._events.note("sequencer", term=self._ledger.database.term)
        return taken

    def _stage(self, staging: Staging) -> None:
        with self._change:
            checked, self._checked = self._checked, []
        if not checked:
            return
        try:
            numbers = staging.stage([row for _, row in checked])
        except CreditLedgerError as error:
            self._fail([share for share, _ in checked], error)
            raise
        for number, (share, _) in zip(numbers, checked, strict=True):
            self._staged[number] = share

    def _integrate(self, staging: Staging) -> bool:
        """Log the next group of what anybody has staged; whether there was one."""
        rows = staging.waiting()
        if not rows:
            self._sweep(staging)
            return False
        requests, strange = self._opened(rows)
        if strange:
            staging.answer(strange)
        if requests:
            self._commit(staging, requests)
        return True

    def _opened(self, rows: Sequence[tuple[int, bytes]]) -> tuple[dict[int, StagedRequest], dict[int, bytes]]:
        """The requests in ``rows``, and outcomes for rows that hold none."""
        key, requests, strange = self._key(), {}, {}
        for number, body in rows:
            try:
                content = key.open(body)
                requests[number] = StagedRequest.decode(content, ledger_id=self._ledger.id, clock=self._clock)
            except CreditLedgerError as error:
                self._events.error("a staged row is not ours", error)
                busy = BusyError("the request was staged under another key of the operator: send it again")
                strange[number] = encode_outcomes([busy])
        return requests, strange

    def _commit(self, staging: Staging, requests: dict[int, StagedRequest]) -> None:
        submissions = [one for request in requests.values() for one in request.submissions]
        self._take_words(requests)

        def also(kept: StateView, outcomes: Sequence[Outcome]) -> None:
            rows, at = {}, 0
            for number, request in requests.items():
                own = outcomes[at : at + len(request.submissions)]
                at += len(request.submissions)
                if request.keeping is not None:
                    request.keeping(kept, own)
                rows[number] = encode_outcomes(own)
            self._ledger.database.beside(OUTCOMES, [list(rows), list(rows.values())])

        def submit(ledger: Ledger) -> list[Outcome]:
            return ledger.submit(submissions, also=also)

        began = time.perf_counter()
        outcomes = self._steward.write(submit)
        staging.tell()
        there = [one for one in outcomes if isinstance(one, Acknowledgement)]
        repeated = sum(one.repeated for one in there)
        self._on_commit(
            Commit(
                logged=len(there) - repeated,
                repeated=repeated,
                refused=len(outcomes) - len(there),
                requests=len(requests),
                seconds=time.perf_counter() - began,
            )
        )

    def _take_words(self, requests: dict[int, StagedRequest]) -> None:
        verifier = self._ledger.verifier
        if not isinstance(verifier, TransparencyVerifier):
            return
        for request in requests.values():
            for one, key in zip(request.submissions, request.keys, strict=True):
                if key:
                    verifier.take_word(key, one.record.signing_bytes(self._ledger.id), one.signature)

    def _answer(self, staging: Staging) -> None:
        """Answer what has an outcome, once this directory's head is as far; give up on what is late."""
        if not self._staged:
            return
        found = staging.fetch(list(self._staged))
        if found and not self._ledger.is_writer:
            self._ledger.move_head_on()
        for number, content in found.items():
            self._settle(self._staged.pop(number), content)
        now = time.monotonic()
        late = [number for number, share in self._staged.items() if now >= share.until]
        self._fail(
            [self._staged.pop(number) for number in late],
            BusyError("no sequencer has answered in time: send the same again"),
        )

    def _settle(self, share: _Share, content: bytes) -> None:
        outcomes = decode_outcomes(content)
        self._leave(share)
        if not share.outcomes.set_running_or_notify_cancel():
            return
        if len(outcomes) == len(share.submissions):
            share.outcomes.set_result(outcomes)
        else:
            error = outcomes[0] if outcomes and isinstance(outcomes[0], CreditLedgerError) else None
            share.outcomes.set_exception(error or IntegrityError("a staged request has other outcomes"))

    def _fail(self, shares: Sequence[_Share], error: BaseException) -> None:
        for share in shares:
            self._leave(share)
            if share.outcomes.set_running_or_notify_cancel():
                share.outcomes.set_exception(error)

    def _leave(self, share: _Share) -> None:
        with self._change:
            self._submissions -= len(share.submissions)
            self._bytes -= share.size

    def _give_up(self, error: CreditLedgerError) -> None:
        """Whoever waits is told; without room this goes on later, after anything else it ends the server."""
        shares, self._staged = list(self._staged.values()), {}
        self._fail(shares, error)
        self._pause_until = time.monotonic() + PAUSE_SECONDS
        if self._steward.shortage is None:
            self._steward.fail(error)
            self._end_all(error)

    def _end_all(self, error: CreditLedgerError) -> None:
        with self._change:
            self._is_ending = True
            shares = [*self._unchecked, *(share for share, _ in self._checked)]
            self._unchecked, self._checked = [], []
            self._change.notify_all()
        self._fail(shares, error)

    def _sweep(self, staging: Staging) -> None:
        if time.monotonic() >= self._sweep_after:
            staging.forget_left_over()
            self._sweep_after = time.monotonic() + SWEEP_SECONDS

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"w")
        except BlockingIOError:
            return  # it is awake

    def _drain(self) -> None:
        try:
            os.read(self._wake_read, 4_096)
        except BlockingIOError:
            return


def staged_row(ledger: Ledger, submissions: Sequence[Submission], keeping: Keeping | None) -> bytes:
    """What a front end stages, once it has checked the signatures of accounts."""
    verifier, keys = ledger.verifier, tuple(b"" for _ in submissions)
    if isinstance(verifier, TransparencyVerifier):
        with ledger.read() as state:
            check_ahead(state, submissions, ledger_id=ledger.id, verifier=verifier)
            keys = tuple(
                checked_key(state, one, ledger_id=ledger.id, verifier=verifier) for one in submissions
            )
    return StagedRequest(submissions=tuple(submissions), keys=keys, keeping=keeping).encode()

"""Every order in which up to four parties can act on one hold comes to exactly one end. Threat H2."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import pytest
from msgspec import structs

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.credits.fold import apply_entry
from creditledger.credits.state import Overlay, StateView
from creditledger.errors import ConflictError, HoldClosedError, HoldExpiredError, RefusedError
from creditledger.records.entry import Entry, Submission
from creditledger.records.state import HoldStatus
from creditledger.records.transfer import Hold
from fakes.pool import Pool

FUNDS: Final = 4_000_000
GRACE_MS: Final = 60_000
ENDED: Final = (HoldStatus.RELEASED, HoldStatus.EXPIRED)
REFUSED: Final = (ConflictError, HoldClosedError, HoldExpiredError, RefusedError)

Action: TypeAlias = Submission | int
"""What somebody does: submits a record, or lets the clock reach a time (Unix milliseconds)."""


@dataclass(kw_only=True)
class Tally:
    """What all schedules came to."""

    schedules: int = 0
    ends: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(status, captured) of the hold, by how often."""


@dataclass(kw_only=True)
class Table:
    """A pool with one open hold, and all that can be done to it."""

    pool: Pool
    hold: bytes
    expiry: int
    first: Submission
    """A capture of a part, and one of more under another id."""
    second: Submission
    release: Submission
    expire: Submission
    other: Submission
    """Another hold of the same holder, for all that is left."""

    def walk(self, actors: Sequence[Sequence[Action]]) -> Tally:
        """Go through every interleaving of the actors, each in its own order."""
        tally = Tally()
        self._step(
            self.pool.view, self.pool.now, len(self.pool.entries), tuple(map(tuple, actors)), (), tally
        )
        return tally

    def _step(
        self,
        view: StateView,
        now: int,
        index: int,
        left: tuple[tuple[Action, ...], ...],
        logged: tuple[Submission, ...],
        tally: Tally,
    ) -> None:
        if not any(left):
            self._check_end(view, now, index, logged, tally)
            return
        for place, actions in enumerate(left):
            if not actions:
                continue
            rest = (*left[:place], actions[1:], *left[place + 1 :])
            action, branch = actions[0], Overlay(view)
            if isinstance(action, int):
                self._step(branch, max(now, action), index, rest, logged, tally)
            elif self._admits(branch, action, now, index):
                check_invariant(branch)
                self._step(branch, now, index + 1, rest, (*logged, action), tally)
            else:
                assert not branch.changes
                self._step(branch, now, index, rest, logged, tally)

    def _admits(self, view: StateView, submission: Submission, now: int, index: int) -> bool:
        entry = Entry(time_unix_ms=now, record=submission.record, signature=submission.signature)
        try:
            apply_entry(view, entry, (), structs.replace(self.pool.context, index=index))
        except REFUSED:
            return False
        return True

    def _check_end(
        self, view: StateView, now: int, index: int, logged: tuple[Submission, ...], tally: Tally
    ) -> None:
        """Once time is up and the operator has had its turn, the hold ended once, for what was captured."""
        after = max(now, self.expiry + GRACE_MS)
        ended_late = self._admits(view, self.expire, after, index)
        state = reading.hold_state(view, self.hold)
        assert state is not None
        assert state.status in ENDED
        enders = [one for one in logged if one in (self.release, self.expire)]
        assert len(enders) + ended_late == 1
        captures = [one.record for one in logged if one in (self.first, self.second)]
        assert len(captures) <= 1
        assert state.captured_micro == sum(capture.amount_micro for capture in captures)  # type: ignore[attr-defined]
        totals = check_invariant(view)
        others = [one for one in logged if one is self.other]
        account = reading.account_state(view, self.pool.client.public_key)
        assert account is not None
        held = sum(one.record.amount_micro for one in others)  # type: ignore[attr-defined]
        assert account.held_micro == held == totals.held_micro
        assert account.available_micro == FUNDS - state.captured_micro - held
        tally.schedules += 1
        tally.ends[HoldStatus(state.status).name.lower(), state.captured_micro] += 1


@pytest.fixture(scope="module")
def table() -> Table:
    pool = Pool(grace_ms=GRACE_MS, levy_ppm=0)
    pool.fund(pool.client, FUNDS)
    papers, queue = pool.papers, pool.queue
    opened = papers.voucher_hold(pool.client, queue.public_key)
    hold = pool.submit(opened)
    record = opened.record
    assert isinstance(record, Hold)
    return Table(
        pool=pool,
        hold=hold,
        expiry=record.expires_unix_ms,
        first=papers.capture(queue, record, 500, tag="first"),
        second=papers.capture(queue, record, 900, tag="second"),
        release=papers.release(queue, hold),
        expire=papers.expire(hold),
        other=papers.voucher_hold(pool.client, queue.public_key, tag="other"),
    )


Cast: TypeAlias = Callable[[Table], Mapping[str, Sequence[Action]]]

CASTS: Final[dict[str, Cast]] = {
    "a queue against expiry": lambda it: {
        "queue": [it.first, it.release],
        "operator": [it.expire, it.expire],
        "clock": [it.expiry - 1, it.expiry, it.expiry + GRACE_MS],
    },
    "two processes of one queue against expiry": lambda it: {
        "queue": [it.first, it.release],
        "its twin": [it.first, it.release],
        "operator": [it.expire],
        "clock": [it.expiry, it.expiry + GRACE_MS],
    },
    "a queue that captures twice, its holder and expiry": lambda it: {
        "queue": [it.first, it.second, it.release],
        "holder": [it.other],
        "operator": [it.expire],
        "clock": [it.expiry, it.expiry + GRACE_MS],
    },
    "four of two actions each": lambda it: {
        "queue": [it.first, it.release],
        "its twin": [it.second, it.release],
        "operator": [it.expire, it.expire],
        "clock": [it.expiry, it.expiry + GRACE_MS],
    },
}
LONG_CASTS: Final[Mapping[str, Cast]] = {
    "four of three actions each": lambda it: {
        "queue": [it.first, it.second, it.release],
        "its twin": [it.second, it.release, it.other],
        "operator": [it.expire, it.expire, it.expire],
        "clock": [it.expiry - 1, it.expiry, it.expiry + GRACE_MS],
    },
    "a queue that gives up first": lambda it: {
        "queue": [it.release, it.first, it.second],
        "its twin": [it.first, it.release, it.release],
        "operator": [it.expire, it.expire, it.expire],
        "clock": [it.expiry, it.expiry + GRACE_MS - 1, it.expiry + GRACE_MS],
    },
    "a holder in need": lambda it: {
        "queue": [it.first, it.release, it.second],
        "holder": [it.other, it.other, it.other],
        "operator": [it.expire, it.expire, it.expire],
        "clock": [it.expiry - 1, it.expiry, it.expiry + GRACE_MS],
    },
}
"""1,108,800 schedules, eight minutes: CREDITLEDGER_THOROUGH=1."""
if os.environ.get("CREDITLEDGER_THOROUGH"):
    CASTS.update(LONG_CASTS)


@pytest.mark.parametrize("name", CASTS)
def test_every_schedule_comes_to_one_end(name: str, table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    tally = table.walk(list(CASTS[name](table).values()))
    with capsys.disabled():
        print(f"\n{name}: {tally.schedules} schedules, ends {dict(tally.ends)}")
    assert tally.schedules >= 200
    assert {status for status, _ in tally.ends} == {"released", "expired"}
    assert len({captured for _, captured in tally.ends}) > 1

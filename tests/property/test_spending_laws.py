"""A delegate never passes its cap, and a budget's window is a plain sum, whatever the order of things."""

from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.credits.spending import DAY_MS, WHOLE_ACCOUNT
from creditledger.errors import CreditLedgerError, LimitError
from creditledger.records.entry import Submission
from creditledger.records.transfer import Hold
from fakes.cast import ed25519
from fakes.pool import Pool

MACHINE = ed25519("machine")
PRICE = 10
"""Micro-credits per millisecond of the class ``cpu``: 10,000 per second."""
CAP, LIMIT, OWN_LIMIT, DAYS = 2_000, 1_500, 3_000, 3
ACTS = st.tuples(
    st.sampled_from(["machine", "own", "transfer", "capture", "release", "refund", "expire", "wait", "cap"]),
    st.integers(0, 7),
    st.integers(1, 120),
)


@cache
def founded() -> Pool:
    pool = Pool(rule_set=4, grace_ms=0)
    pool.fund(pool.client, 10**7)
    papers, queue = pool.papers, pool.queue.public_key
    until = pool.now + 1_000 * DAY_MS
    pool.submit(papers.delegation(pool.client, MACHINE.public_key, queue, cap_micro=CAP, until_unix_ms=until))
    pool.submit(papers.budget(pool.client, LIMIT, days=DAYS, delegate=MACHINE.public_key))
    pool.submit(papers.budget(pool.client, OWN_LIMIT, days=DAYS))
    return pool


@dataclass(kw_only=True)
class Spent:
    """One thing that was spent, in the plain model."""

    by_machine: bool
    day: int
    amount: int
    hold: Hold | None = None
    capture: bytes = b""
    captured: int = 0
    refunded: int = 0
    is_over: bool = False

    @property
    def net(self) -> int:
        came_back = self.amount - self.captured if self.is_over else 0
        return self.amount - came_back - self.refunded


@dataclass
class Model:
    """All that was spent, and sums over it; the pool beside it."""

    pool: Pool = field(default_factory=lambda: deepcopy(founded()))
    all: list[Spent] = field(default_factory=list)
    cap: int = CAP

    def window(self, *, only_machine: bool) -> int:
        today = self.pool.now // DAY_MS
        return sum(
            one.net
            for one in self.all
            if today - DAYS < one.day <= today and (one.by_machine or not only_machine)
        )

    def used(self) -> int:
        return sum(one.net for one in self.all if one.by_machine)

    def may(self, amount: int, *, by_machine: bool) -> bool:
        if self.window(only_machine=False) + amount > OWN_LIMIT:
            return False
        within = self.window(only_machine=True) + amount <= LIMIT and self.used() + amount <= self.cap
        return within or not by_machine

    def try_to(self, submission: Submission, spent: Spent) -> None:
        if self.may(spent.amount, by_machine=spent.by_machine):
            self.pool.submit(submission)
            self.all.append(spent)
        else:
            self.pool.refuse(submission, LimitError)

    def act(self, step: int, what: str, pick: int, size: int) -> None:
        pool, papers, queue = self.pool, self.pool.papers, self.pool.queue.public_key
        day, amount = pool.now // DAY_MS, size * PRICE
        if what in ("machine", "own"):
            terms = {"tag": step, "duration_ms": size, "expires_unix_ms": pool.now + DAY_MS}
            made = (
                papers.delegated_hold(MACHINE, pool.client.public_key, queue, **terms)
                if what == "machine"
                else papers.voucher_hold(pool.client, queue, **terms)
            )
            spent = Spent(by_machine=what == "machine", day=day, amount=amount, hold=made.record)
            self.try_to(made, spent)
        elif what == "transfer":
            made = papers.transfer(pool.client, pool.node.public_key, amount + step)
            self.try_to(made, Spent(by_machine=False, day=day, amount=amount + step))
        elif what == "wait":
            pool.now += pick * DAY_MS // 4
        elif what == "cap":
            self.cap = size * 25
            until = pool.now + (2_000 + step) * DAY_MS
            key = MACHINE.public_key
            pool.submit(papers.delegation(pool.client, key, queue, cap_micro=self.cap, until_unix_ms=until))
        elif holds := [one for one in self.all if one.hold is not None]:
            self.touch(step, what, holds[pick % len(holds)], size)

    def touch(self, step: int, what: str, spent: Spent, size: int) -> None:
        """Whatever the rules allow; what they refuse changes neither side."""
        papers, queue, hold = self.pool.papers, self.pool.queue, spent.hold
        digest = hold.digest(self.pool.ledger_id)
        try:
            if what == "capture":
                spent.capture = self.pool.submit(papers.capture(queue, hold, size, tag=step))
                spent.captured = size * PRICE
            elif what == "refund" and spent.capture:
                self.pool.submit(papers.refund(queue, spent.capture, size, tag=step))
                spent.refunded += size
            elif what == "release":
                self.pool.submit(papers.release(queue, digest, tag=step))
                spent.is_over = True
            elif what == "expire":
                self.pool.submit(papers.expire(digest))
                spent.is_over = True
        except CreditLedgerError:
            return


@given(st.lists(ACTS, min_size=8, max_size=40))
def test_caps_and_budgets_are_what_a_plain_model_says(acts: list[tuple[str, int, int]]) -> None:
    model = Model()
    client, queue = model.pool.client.public_key, model.pool.queue.public_key
    for step, (what, pick, size) in enumerate(acts):
        before = model.used()
        model.act(step, what, pick, size)
        view, now = model.pool.view, model.pool.now
        row = reading.delegation(view, client, MACHINE.public_key, queue)
        assert (row.used_micro, row.cap_micro) == (model.used(), model.cap)
        # A cap that was lowered since may be below what was used; then nothing more is.
        assert row.used_micro <= max(row.cap_micro, before)
        for delegate in (WHOLE_ACCOUNT, MACHINE.public_key):
            found = reading.budget_of(view, client, delegate).spent_micro(view, now)
            assert found == model.window(only_machine=delegate != WHOLE_ACCOUNT)
    check_invariant(model.pool.view)

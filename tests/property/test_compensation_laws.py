"""Refunds, clawbacks and levies in whatever order: a plain model predicts each, and nothing is made or lost.

Every entry's postings sum to zero: `Pool.submit` checks them."""

from collections.abc import Mapping
from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from credit_machine import LEVY_PPM, VESTING_ROUNDS, Conservation, ModelJob, ModelLot, Purse
from creditledger.credits.levies import levy_shares
from creditledger.errors import (
    AmountError,
    CreditLedgerError,
    RefusedError,
    UnknownIdError,
)
from creditledger.records.parameters import Admission, LevyUse
from creditledger.records.transfer import LevyShare
from creditledger.records.verdict import Outcome

POOL = "levy-pool"


@dataclass
class ModelMember:
    taken: int = 0
    returned: int = 0
    vested: int = 0


class Compensation(Conservation):
    """Rule set 4, one validator: whom it refutes or hides from, nobody is left to confirm."""

    rule_set = 4
    use = LevyUse.BURN

    def begin(self) -> None:
        super().begin()
        self.purses[POOL] = Purse()
        self.members = {name: ModelMember() for name in self.signers}
        self.disputed: set[bytes] = set()
        self.checks = self.missed = self.last_levy = 0
        self.payee: str | None = None
        for name in self.signers:
            self.grant(name, 3_000_000)
        self.run_round()

    def terms(self) -> dict[str, object]:
        admission = Admission.APPROVAL if self.use == LevyUse.MEMBERS else Admission.OPEN
        return {"levy_use": self.use, "admission": admission}

    def take_levy(self, payee: str, amount: int) -> None:
        if self.use == LevyUse.BURN:
            super().take_levy(payee, amount)
        else:
            self.purses[POOL].net += amount
            self.members[payee].taken += amount

    def note_checks(self, given: Mapping[bytes, Outcome], *, is_hidden: bool, missed: int) -> None:
        self.checks += len(given)
        self.missed += missed
        for digest, outcome in given.items():
            if outcome == Outcome.REFUTED or (outcome == Outcome.INCONCLUSIVE and is_hidden):
                self.disputed.add(digest)

    def is_judged(self, job: ModelJob) -> bool:
        return super().is_judged(job) and not self.disputed & job.verdicts.keys()

    def is_burned(self, job: ModelJob) -> bool:
        return False

    def run_round(self) -> int:
        self.disputed.clear()
        return super().run_round()

    def vest_lot(self, lot: ModelLot) -> None:
        super().vest_lot(lot)
        self.members["node"].vested += lot.amount

    def take_effect(self, kind: str, name: str, amount: int) -> None:
        if kind != "clawback":
            super().take_effect(kind, name, amount)
            return
        for lot in [lot for lot in self.lots if lot.job.hex() == name]:
            taken = min(amount, lot.amount)
            lot.amount -= taken
            self.purses["node"].unvested -= taken
            self.purses["client"].net += taken

    def let_pass(self) -> None:
        """A round in which whatever is due is upheld."""
        self.certify([Outcome.UPHELD], False, False)

    @rule(share=st.integers(1, 100), duration_ms=st.integers(100, 30_000))
    def rent(self, share: int, duration_ms: int) -> None:
        """A hold and its capture, so that there is something to refund."""
        self.hold("client", duration_ms)
        self.capture(len(self.holds) - 1, share)

    @rule(outcome=st.sampled_from([Outcome.UPHELD, Outcome.UPHELD, Outcome.REFUTED]), is_silent=st.booleans())
    def earn(self, outcome: Outcome, is_silent: bool) -> None:
        """A job to its end, so that there is something to claw back, and a levy."""
        self.order(300_000, 700)
        self.certify([outcome], False, is_silent)
        self.let_pass()
        if self.jobs:
            self.settle(len(self.jobs) - 1)

    @precondition(lambda self: self.holds)
    @rule(pick=st.integers(0, 50), percent=st.sampled_from([0, 40, 100, 101]))
    def refund(self, pick: int, percent: int) -> None:
        hold = self.holds[pick % len(self.holds)]
        left = hold.captured - hold.refunded
        amount = left + 1 if percent > 100 else left * percent // 100
        queue = self.signers["queue"]
        paper = self.pool.papers.refund(queue, hold.capture or hold.digest, amount, tag=self.tag())
        error: type[CreditLedgerError] | None = UnknownIdError
        if hold.capture:
            error = self.lacks("queue", amount) if 0 < amount <= left else AmountError
        if self.attempt(paper, error):
            most = hold.captured - hold.captured * LEVY_PPM // 10**6
            before, hold.refunded = hold.refunded, hold.refunded + amount
            self.purses["queue"].net -= amount
            self.purses["queue"].metered -= min(hold.refunded, most) - min(before, most)
            self.purses[hold.holder].net += amount

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 50), amount=st.integers(0, 60_000), is_vested=st.booleans())
    def claw_back(self, pick: int, amount: int, is_vested: bool) -> None:
        job = self.jobs[-1 - pick % len(self.jobs)]
        for _ in range(is_vested * VESTING_ROUNDS):
            self.let_pass()
        paper = self.pool.papers.clawback(job.digest, self.keys["node"], amount, tag=self.tag())
        if self.attempt(paper, None if self.has_lot(job) else UnknownIdError):
            self.pending.append(("clawback", job.digest.hex(), amount))
            self.let_pass()

    def has_lot(self, job: ModelJob) -> bool:
        return job.status == "settled" and job.paid > 0

    @rule(who=st.sampled_from(["client", "node", "queue"]))
    def name_payee(self, who: str) -> None:
        self.pool.submit(self.pool.papers.levy_payee(0, self.keys[who], tag=self.tag()))
        self.payee = who

    @rule(excess=st.sampled_from([0, 0, 0, 1]), back=st.sampled_from([0, 0, 0, 1]), is_new=st.booleans())
    def pay_levy(self, excess: int, back: int, is_new: bool) -> None:
        """What the rules give is paid, once a round; one micro-credit more is refused."""
        if is_new:
            self.rent(50, 9_000)
            self.earn(Outcome.UPHELD, False)
            self.let_pass()
        number, share = max(0, self.rounds - back), self.share()
        shares = tuple(
            LevyShare(account=self.keys[name], amount_micro=amount + excess) for name, amount in share.items()
        )
        paper = self.pool.papers.levy(number, shares, tag=self.tag())
        if number == 0:
            self.attempt(paper, UnknownIdError)
        elif self.use == LevyUse.BURN or number <= self.last_levy or not share or excess:
            self.attempt(paper, RefusedError)
        else:
            assert levy_shares(self.pool.view, number) == shares
            self.attempt(paper, None)
            self.last_levy = number
            for name, amount in share.items():
                self.purses[POOL].net -= amount
                self.purses[name].net += amount
                self.members[name].returned += amount

    def share(self) -> dict[str, int]:
        """One validator, and one node at work: either has the whole pool for its part."""
        pool, node = self.purses[POOL].net, self.members["node"]
        if self.use == LevyUse.VALIDATORS:
            is_at_fault = self.missed * 10 > self.missed + self.checks
            return {self.payee: pool} if pool and self.payee and not is_at_fault else {}
        due = min(pool, node.taken - node.returned) if node.vested else 0
        return {"node": due} if due and self.use == LevyUse.MEMBERS else {}


class ToValidators(Compensation):
    """Levies wait for validators."""

    use = LevyUse.VALIDATORS


class ToMembers(Compensation):
    """Levies wait for members."""

    use = LevyUse.MEMBERS


SETTINGS = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestBurned = Compensation.TestCase
TestBurned.settings = SETTINGS
TestToValidators = ToValidators.TestCase
TestToValidators.settings = SETTINGS
TestToMembers = ToMembers.TestCase
TestToMembers.settings = SETTINGS

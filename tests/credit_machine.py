"""A pool in which people try things in any order, and a plain model that predicts what comes of each.

The model keeps balances in dicts and knows nothing of the fold's code, not even the tariff."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from creditledger.credits import reading
from creditledger.credits.account import all_accounts, check_invariant
from creditledger.credits.fold import due_expiries, due_settlements
from creditledger.errors import (
    BusyError,
    CreditLedgerError,
    HoldClosedError,
    HoldExpiredError,
    InsufficientCreditError,
    RefusedError,
    SignatureError,
)
from creditledger.ledger.store import Store
from creditledger.records.entry import Submission
from creditledger.records.verdict import Outcome, Reason
from fakes.cast import MODEL, Successor, ed25519, fake_id
from fakes.pool import Pool

LEVY_PPM = 30_000
VESTING_ROUNDS = 2
NAMES = ("client", "node", "queue")
WHO = st.sampled_from(NAMES)
AMOUNTS = st.integers(1, 400_000)
OUTCOMES = st.lists(
    st.sampled_from([Outcome.UPHELD, Outcome.UPHELD, Outcome.REFUTED, Outcome.INCONCLUSIVE]), min_size=1
)


@dataclass
class Purse:
    net: int = 0
    held: int = 0
    unvested: int = 0
    line: int = 0
    metered: int = 0


@dataclass
class ModelHold:
    digest: bytes
    holder: str
    amount: int
    record: object
    expires: int
    captured: int = 0
    status: str = "open"
    capture: bytes = b""
    refunded: int = 0


@dataclass
class ModelJob:
    digest: bytes
    hold: bytes
    bound: int
    windows: list[tuple[int, int, bytes]]
    """First position, positions, receipt digest."""
    verdicts: dict[bytes, tuple[Outcome, bool] | None] = field(default_factory=dict)
    """None for a check that nobody did in time."""
    status: str = "open"
    paid: int = 0
    """What its node got of it, less the levy."""


@dataclass
class ModelLot:
    round: int
    job: bytes
    amount: int


class Conservation(RuleBasedStateMachine):
    """Random commands; each is predicted, tried, and compared."""

    store: Store | None = None
    rule_set = 2

    def open_store(self) -> Store | None:
        """Where the state is kept; None is a plain dict."""
        return None

    def terms(self) -> dict[str, object]:
        """Of the pool's parameters, those that differ."""
        return {}

    def take_levy(self, payee: str, amount: int) -> None:
        """Where a levy on ``payee``'s pay goes."""
        self.burned += amount

    def teardown(self) -> None:
        if self.store is not None:
            self.store.close()

    @initialize()
    def found(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A new pool, and a model of it."""
        self.store = self.open_store()
        self.pool = Pool(
            levy_ppm=LEVY_PPM,
            vesting_rounds=VESTING_ROUNDS,
            grace_ms=1_000,
            store=self.store,
            rule_set=self.rule_set,
            committed=True,
            **self.terms(),
        )
        self.signers = {name: getattr(self.pool, name) for name in NAMES}
        self.keys = {name: signer.public_key for name, signer in self.signers.items()}
        self.present = dict(self.signers)
        self.next = {name: ed25519(f"next {name}") for name in NAMES}
        self.purses = {name: Purse() for name in NAMES}
        self.granted = self.burned = self.rounds = self.count = 0
        self.pending: list[tuple[str, str, int]] = []
        self.holds: list[ModelHold] = []
        self.jobs: list[ModelJob] = []
        self.lots: list[ModelLot] = []

    def attempt(self, submission: Submission, error: type[CreditLedgerError] | None) -> bool:
        """Whether it was accepted, which is exactly when no error was predicted."""
        if error is None:
            self.pool.submit(submission)
        else:
            self.pool.refuse(submission, error)
        return error is None

    def tag(self) -> bytes:
        self.count += 1
        return fake_id("tag", self.count)

    def lacks(self, name: str, amount: int) -> type[CreditLedgerError] | None:
        purse = self.purses[name]
        return InsufficientCreditError if purse.net - amount < -purse.line else None

    @rule(name=WHO, amount=AMOUNTS)
    def grant(self, name: str, amount: int) -> None:
        self.pool.submit(self.pool.papers.grant(self.keys[name], amount, id=self.tag()))
        self.pending.append(("grant", name, amount))

    @rule(name=WHO, limit=st.integers(0, 200_000))
    def credit_line(self, name: str, limit: int) -> None:
        self.pool.submit(self.pool.papers.credit_line(self.keys[name], limit, id=self.tag()))
        self.pending.append(("line", name, limit))

    @rule(amount=st.integers(1, 30_000))
    def slash(self, amount: int) -> None:
        self.pool.submit(self.pool.papers.slash(self.keys["node"], amount, id=self.tag()))
        self.pending.append(("slash", "node", amount))

    @rule(payer=WHO, payee=WHO, amount=AMOUNTS)
    def transfer(self, payer: str, payee: str, amount: int) -> None:
        if payer == payee:
            return
        paper = self.pool.papers.transfer(self.signers[payer], self.keys[payee], amount, id=self.tag())
        if self.attempt(paper, self.lacks(payer, amount)):
            self.purses[payer].net -= amount
            self.purses[payee].net += amount

    @rule(holder=WHO, duration_ms=st.integers(100, 30_000))
    def hold(self, holder: str, duration_ms: int) -> None:
        expires = self.pool.now + 10_000
        paper = self.pool.papers.voucher_hold(
            self.signers[holder],
            self.keys["queue"],
            tag=self.tag(),
            duration_ms=duration_ms,
            expires_unix_ms=expires,
        )
        amount = duration_ms * 10_000 // 1_000
        if self.attempt(paper, self.lacks(holder, amount)):
            self.purses[holder].net -= amount
            self.purses[holder].held += amount
            digest = paper.record.digest(self.pool.ledger_id)
            self.holds.append(ModelHold(digest, holder, amount, paper.record, expires))

    @precondition(lambda self: self.holds)
    @rule(pick=st.integers(0, 50), share=st.integers(0, 110))
    def capture(self, pick: int, share: int) -> None:
        hold = self.holds[pick % len(self.holds)]
        gpu_ms = hold.amount // 10 * share // 100
        amount = gpu_ms * 10_000 // 1_000
        paper = self.pool.papers.capture(self.signers["queue"], hold.record, gpu_ms, tag=self.tag())
        if hold.status != "open":
            self.attempt(paper, HoldClosedError)
        elif self.pool.now >= hold.expires:
            self.attempt(paper, HoldExpiredError)
        elif amount <= hold.amount:
            hold.capture = self.pool.submit(paper)
            levy = amount * LEVY_PPM // 10**6
            self.purses[hold.holder].held -= amount
            self.purses["queue"].net += amount - levy
            self.purses["queue"].metered += amount - levy
            self.take_levy("queue", levy)
            hold.captured, hold.status = amount, "captured"

    @precondition(lambda self: self.holds)
    @rule(pick=st.integers(0, 50))
    def release(self, pick: int) -> None:
        hold = self.holds[pick % len(self.holds)]
        paper = self.pool.papers.release(self.signers["queue"], hold.digest, tag=self.tag())
        if self.attempt(paper, HoldClosedError if hold.status == "ended" else None):
            self.give_back(hold)

    def give_back(self, hold: ModelHold) -> None:
        self.purses[hold.holder].held -= hold.amount - hold.captured
        self.purses[hold.holder].net += hold.amount - hold.captured
        hold.status = "ended"

    @rule(name=WHO)
    def rotate(self, name: str) -> None:
        """Keys change hands and nothing else: balances, holds and jobs go on under the new key."""
        self.count += 1
        first, old, new = self.keys[name], self.present[name], self.next[name]
        later = ed25519(f"{name}'s key {self.count}")
        self.attempt(self.pool.papers.rotation(first, new, later), SignatureError)
        self.pool.submit(self.pool.papers.rotation(first, old, new, next_key=later))
        retired = self.signers[name]
        self.present[name], self.next[name] = new, later
        self.signers[name] = Successor(retired, new)
        setattr(self.pool, name, self.signers[name])
        stolen = self.pool.papers.transfer(retired, self.pool.other_node.public_key, 1, id=self.tag())
        self.attempt(stolen, SignatureError)

    @rule(step_ms=st.integers(1, 6_000))
    def wait(self, step_ms: int) -> None:
        self.pool.now += step_ms

    @rule()
    def expire_what_is_due(self) -> None:
        due = {
            hold.digest
            for hold in self.holds
            if hold.status != "ended" and self.pool.now >= hold.expires + 1_000
        }
        assert set(due_expiries(self.pool.view, self.pool.now)) == due
        for hold in self.holds:
            if hold.digest in due:
                self.pool.submit(self.pool.papers.expire(hold.digest))
                self.give_back(hold)
            elif hold.status == "open":
                self.attempt(self.pool.papers.expire(hold.digest), RefusedError)

    @rule(bound=st.integers(20_000, 300_000), positions=st.sampled_from([1, 256, 300, 700]))
    def order(self, bound: int, positions: int) -> None:
        papers, expires = self.pool.papers, self.pool.now + 10**9
        ordered = papers.job(
            self.pool.client,
            [self.keys["node"]],
            parameters=self.pool.parameters_digest,
            tag=self.tag(),
            max_price_micro=bound,
            expires_unix_ms=expires,
        )
        self.pool.submit(ordered)
        held = papers.job_hold(self.pool.client, ordered.record)
        if not self.attempt(held, self.lacks("client", bound)):
            return
        self.purses["client"].net -= bound
        self.purses["client"].held += bound
        (chain,) = self.pool.work(ordered.record, positions)
        self.pool.deliver([chain])
        ledger_id = self.pool.ledger_id
        windows = [(r.window_start, r.positions, r.digest(ledger_id)) for r in chain]
        self.jobs.append(
            ModelJob(ordered.record.digest(ledger_id), held.record.digest(ledger_id), bound, windows)
        )

    @rule(outcomes=OUTCOMES, is_hidden=st.booleans(), is_silent=st.booleans())
    def certify(self, outcomes: list[Outcome], is_hidden: bool, is_silent: bool) -> None:
        """A round with its effects, and the verdicts on everything it covered; or nobody gives them in time,
        and the next round has nobody left to ask."""
        number = self.run_round()
        due = reading.duties_of(self.pool.view, 0, number)
        chosen = {digest: outcomes[at % len(outcomes)] for at, digest in enumerate(due)}
        reason = Reason.NO_DATA if is_hidden else Reason.MATCH
        if is_silent:
            self.pool.now += 2_000
            self.run_round()
        else:
            self.pool.check_round(number, outcomes=chosen, reason=reason)
        for job in self.jobs:
            for _, _, digest in job.windows:
                if digest in chosen:
                    job.verdicts[digest] = None if is_silent else (chosen[digest], is_hidden)
        self.note_checks({} if is_silent else chosen, is_hidden=is_hidden, missed=len(due) * is_silent)

    def note_checks(self, given: Mapping[bytes, Outcome], *, is_hidden: bool, missed: int) -> None:
        """What the validator said, and how many checks it let lie."""

    def run_round(self) -> int:
        """Certify a round; what was pending takes effect, and lots vest."""
        self.rounds = self.pool.run_round().number
        for kind, name, amount in self.pending:
            self.take_effect(kind, name, amount)
        self.pending = []
        self.vest(self.rounds)
        return self.rounds

    def take_effect(self, kind: str, name: str, amount: int) -> None:
        if kind == "grant":
            self.purses[name].net += amount
            self.granted += amount
        elif kind == "line":
            self.purses[name].line = amount
        else:
            for lot in sorted(self.lots, key=lambda lot: (lot.round, lot.job), reverse=True):
                taken = min(amount, lot.amount)
                lot.amount -= taken
                amount -= taken
                self.purses[name].unvested -= taken
                self.burned += taken

    def vest(self, number: int) -> None:
        for lot in [lot for lot in self.lots if number >= lot.round + VESTING_ROUNDS]:
            self.vest_lot(lot)

    def vest_lot(self, lot: ModelLot) -> None:
        self.purses["node"].unvested -= lot.amount
        self.purses["node"].net += lot.amount
        self.lots.remove(lot)

    @precondition(lambda self: self.jobs)
    @rule(pick=st.integers(0, 50))
    def settle(self, pick: int) -> None:
        job = self.jobs[pick % len(self.jobs)]
        is_due = job.status == "open" and self.is_judged(job)
        assert (job.digest in due_settlements(self.pool.view, self.pool.now)) == is_due
        body = reading.job_body(self.pool.view, job.digest)
        assert body is not None
        if not is_due:
            error = HoldClosedError if job.status == "settled" else BusyError
            with pytest.raises(error):
                self.pool.settle(body)
            return
        self.pool.settle(body)
        job.status = "settled"
        self.pay(job)

    def is_judged(self, job: ModelJob) -> bool:
        return len(job.verdicts) == len(job.windows)

    def is_burned(self, job: ModelJob) -> bool:
        """Whether nobody was shown any data."""
        judged = [verdict for verdict in job.verdicts.values() if verdict]
        return bool(judged) and all(hidden for _, hidden in judged)

    def pay(self, job: ModelJob) -> None:
        judged = {digest: verdict for digest, verdict in job.verdicts.items() if verdict}
        is_burned = self.is_burned(job)
        upheld = {digest for digest, (outcome, _) in judged.items() if outcome == Outcome.UPHELD}
        paid = [w for w in job.windows if is_burned or w[2] in upheld]
        flops = sum(
            MODEL.layers * self.position_flops(p) for first, n, _ in paid for p in range(first, first + n)
        )
        amount = min(flops * MODEL.micro_per_tflop // 10**12, job.bound)
        levy = 0 if is_burned else amount * LEVY_PPM // 10**6
        self.purses["client"].held -= job.bound
        self.purses["client"].net += job.bound - amount
        if is_burned:
            self.burned += amount
        else:
            self.take_levy("node", levy)
            self.purses["node"].unvested += amount - levy
            job.paid = amount - levy
            self.lots.append(ModelLot(self.rounds, job.digest, amount - levy))

    @staticmethod
    def position_flops(position: int) -> int:
        width = MODEL.heads * MODEL.head_dim
        projections = 2 * MODEL.hidden * width + 2 * MODEL.hidden * MODEL.kv_heads * MODEL.head_dim
        return 2 * (projections + 3 * MODEL.hidden * MODEL.ff) + 4 * width * (position + 1)

    @invariant()
    def credits_are_conserved_and_as_modelled(self) -> None:
        if not hasattr(self, "pool"):
            return
        totals = check_invariant(self.pool.view)
        assert (totals.granted_micro, totals.burned_micro) == (self.granted, self.burned)
        for account in all_accounts(self.pool.view):
            purse = self.purses.get(account.name, Purse())
            assert account.available_micro == max(purse.net, 0), account.name
            assert account.overdrawn_micro == max(-purse.net, 0), account.name
            assert account.held_micro == purse.held, account.name
            assert account.unvested_micro == purse.unvested, account.name
            assert account.credit_line_micro == purse.line, account.name
            assert account.metered_micro == purse.metered, account.name

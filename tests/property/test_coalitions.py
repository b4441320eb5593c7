"""Nobody earns by paying itself: every random pool is lived twice, with and without a coalition's own deals.

Threats E6 and E20. ``CREDITLEDGER_COALITIONS`` sets how many histories of each levy use are lived."""

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import pytest

from creditledger.credits import levies, reading, tariff
from creditledger.credits.account import all_accounts, check_invariant
from creditledger.credits.levies import levy_shares
from creditledger.errors import RefusedError
from creditledger.records.job import Job
from creditledger.records.parameters import Admission, LevyUse
from creditledger.records.registration import Role
from creditledger.records.transfer import Hold, Settlement
from creditledger.transparency.keys import Ed25519Signer
from fakes.cast import MODEL, ed25519
from fakes.committee import FakeBlsVerifier
from fakes.pool import Pool

HISTORIES: Final = int(os.environ.get("CREDITLEDGER_COALITIONS", "8"))
SEATS: Final = 3
FUNDS: Final = 100_000_000
ROLES: Final = {"c": Role.CLIENT, "n": Role.NODE, "q": Role.QUEUE, "p": Role.CLIENT}
NAMES: Final = ("c0", "c1", "c2", "n0", "n1", "n2", "q0", "q1", "p0", "p1", "p2")
"""Clients, nodes, queues, and the payees of the validators."""


@dataclass(frozen=True, kw_only=True)
class Deal:
    """Somebody pays somebody: for a job, for GPU time, or for nothing."""

    kind: str
    payer: str
    payee: str
    size: int
    refunded: int
    clawed_back: int

    def is_within(self, coalition: frozenset[str]) -> bool:
        return {self.payer, self.payee} <= coalition


@dataclass(frozen=True, kw_only=True)
class History:
    """What happens in a pool, and who is in league."""

    use: LevyUse
    levy_ppm: int
    vesting_micro: int
    deals: tuple[tuple[Deal, ...], ...]
    """By period; after each there is a round, and a levy is paid."""
    coalition: frozenset[str]


class TrustingVerifier(FakeBlsVerifier):
    """Takes every Ed25519 signature: who signs what is not what is tried here."""

    def ed25519(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Never raises."""


class Unsigned:
    """Signs in no time, and badly."""

    def __init__(self, signer: Ed25519Signer) -> None:
        self.public_key = signer.public_key

    def sign(self, message: bytes) -> bytes:
        return bytes(64)


@dataclass(kw_only=True)
class Life:
    """One pool, lived through to its end."""

    history: History
    pool: Pool = field(init=False)
    signers: dict[str, Unsigned] = field(init=False)
    count: int = 0
    settled: list[Settlement] = field(default_factory=list)

    def __post_init__(self) -> None:
        use = self.history.use
        self.pool = Pool(
            rule_set=4,
            members=SEATS,
            registered=False,
            levy_use=use,
            levy_ppm=self.history.levy_ppm,
            vesting_micro=self.history.vesting_micro,
            admission=Admission.APPROVAL if use == LevyUse.MEMBERS else Admission.OPEN,
        )
        self.pool.verifier = TrustingVerifier()
        self.signers = {name: Unsigned(ed25519(name)) for name in NAMES}
        for name, signer in self.signers.items():
            papers = self.pool.papers
            admitted = use == LevyUse.MEMBERS
            self.pool.submit(papers.registration(signer, name, ROLES[name[0]], admitted=admitted))  # type: ignore[arg-type]
        for seat in range(SEATS):
            self.pool.submit(self.pool.papers.levy_payee(seat, self.key(f"p{seat}")))
        for name in NAMES:
            self.pool.submit(self.pool.papers.grant(self.key(name), FUNDS, id=self.tag()))
        self.pool.run_round()

    def key(self, name: str) -> bytes:
        return self.signers[name].public_key

    def tag(self) -> bytes:
        self.count += 1
        return self.count.to_bytes(16, "big")

    def live(self, deals: Sequence[Sequence[Deal]]) -> None:
        for period in deals:
            jobs = [(deal, self.work(deal)) for deal in period if deal.kind == "job"]
            number = self.pool.run_round().number
            self.pool.check_round(number)
            for deal, job in jobs:
                self.settle(deal, job)
            for deal in period:
                if deal.kind == "gpu":
                    self.rent(deal)
                elif deal.kind == "gift":
                    self.give(deal)
            self.pay_levy(self.pool.run_round().number)
        for _ in range(2):
            self.pay_levy(self.pool.run_round().number)
        check_invariant(self.pool.view)

    def work(self, deal: Deal) -> Job:
        papers, payer, node = self.pool.papers, self.signers[deal.payer], self.signers[deal.payee]
        ordered = papers.job(
            payer,  # type: ignore[arg-type]
            [node.public_key],
            parameters=self.pool.parameters_digest,
            tag=self.tag(),
        )
        self.pool.submit(ordered)
        job = ordered.record
        assert isinstance(job, Job)
        self.pool.submit(papers.job_hold(payer, job))  # type: ignore[arg-type]
        chain = papers.receipts(job, job.plan[0], deal.size)
        self.pool.submit(papers.batch(node, chain))  # type: ignore[arg-type]
        self.pool.submit(papers.delivery(payer, [chain[-1]]))  # type: ignore[arg-type]
        return job

    def settle(self, deal: Deal, job: Job) -> None:
        self.pool.settle(job)
        settlement = self.pool.entries[-1].record
        assert isinstance(settlement, Settlement)
        due = tariff.span_price(MODEL, tariff.span_flops(MODEL, MODEL.layers, 0, deal.size))
        # E20: the price follows from model, span and positions, whatever anybody claims.
        assert [payment.amount_micro for payment in settlement.payments] == [due]
        assert settlement.released_micro == job.max_price_micro - due
        if deal.clawed_back:
            digest, node = job.digest(self.pool.ledger_id), self.key(deal.payee)
            self.pool.submit(self.pool.papers.clawback(digest, node, deal.clawed_back, tag=self.tag()))
        self.settled.append(settlement)

    def rent(self, deal: Deal) -> None:
        papers, queue = self.pool.papers, self.signers[deal.payee]
        held = papers.voucher_hold(self.signers[deal.payer], queue.public_key, tag=self.tag())  # type: ignore[arg-type]
        hold = self.pool.submit(held)
        assert isinstance(held.record, Hold)
        capture = self.pool.submit(papers.capture(queue, held.record, deal.size))  # type: ignore[arg-type]
        self.pool.submit(papers.release(queue, hold))  # type: ignore[arg-type]
        if deal.refunded:
            self.pool.submit(papers.refund(queue, capture, min(deal.refunded, deal.size * 10)))  # type: ignore[arg-type]

    def give(self, deal: Deal) -> None:
        paper = self.pool.papers.transfer(
            self.signers[deal.payer],  # type: ignore[arg-type]
            self.key(deal.payee),
            deal.size,
            id=self.tag(),
        )
        self.pool.submit(paper)

    def pay_levy(self, number: int) -> None:
        if self.history.use == LevyUse.BURN:
            with pytest.raises(RefusedError, match="burned"):
                levy_shares(self.pool.view, number)
            return
        shares = levy_shares(self.pool.view, number)
        if shares:
            self.pool.submit(self.pool.papers.levy(number, shares))

    def wealth(self, coalition: frozenset[str]) -> int:
        """All that the members have, vested or not."""
        accounts = {account.name: account for account in all_accounts(self.pool.view)}
        return sum(
            accounts[name].available_micro
            - accounts[name].overdrawn_micro
            + accounts[name].held_micro
            + accounts[name].unvested_micro
            for name in coalition
        )

    def left_in_pool(self) -> int:
        pool = reading.account_state(self.pool.view, levies.levy_pool_account(self.pool.ledger_id))
        return 0 if pool is None else pool.available_micro


def random_history(seed: int, use: LevyUse) -> History:
    """Everything about a history follows from its seed."""
    chance = random.Random(f"{seed} {use}")
    coalition = frozenset(name for name in NAMES if chance.random() < 0.5) | {"c0", "n0"}

    def deal() -> Deal:
        kind = chance.choice(["job", "job", "gpu", "gift"])
        payee = {"job": "n", "gpu": "q"}.get(kind)
        payer = chance.choice([name for name in NAMES if kind != "job" or name[0] == "c"])
        others = [name for name in NAMES if name != payer and (payee is None or name[0] == payee)]
        return Deal(
            kind=kind,
            payer=payer,
            payee=chance.choice(others),
            size=chance.choice([1, 255, 256, 700]) if kind == "job" else chance.randint(1, 9_999),
            refunded=chance.choice([0, 0, 1, 10_000]),
            clawed_back=chance.choice([0, 0, 0, 5_000, 10**9]),
        )

    return History(
        use=use,
        levy_ppm=chance.choice([1, 10_000, 333_333]),
        vesting_micro=chance.choice([0, 100_000]),
        deals=tuple(tuple(deal() for _ in range(chance.randint(1, 5))) for _ in range(chance.randint(1, 4))),
        coalition=coalition,
    )


def gain(history: History) -> int:
    """What the coalition has more, in micro-credits, for its deals with itself."""
    honest = [
        tuple(deal for deal in period if not deal.is_within(history.coalition)) for period in history.deals
    ]
    with_them, without = Life(history=history), Life(history=history)
    with_them.live(history.deals)
    without.live(honest)
    return with_them.wealth(history.coalition) - without.wealth(history.coalition) - _dust(history, without)


def _dust(history: History, life: Life) -> int:
    """What no division paid out yet, below one micro-credit for each who shares: it is due to them anyway."""
    if history.use == LevyUse.BURN:
        return 0
    sharers = SEATS if history.use == LevyUse.VALIDATORS else sum(name[0] == "n" for name in NAMES)
    return min(sharers - 1, life.left_in_pool())


@pytest.mark.parametrize("use", LevyUse)
def test_no_coalition_gains_from_paying_itself(use: LevyUse) -> None:
    histories = [random_history(seed, use) for seed in range(HISTORIES)]
    gains = [gain(history) for history in histories]
    assert max(gains) <= 0, [seed for seed, found in enumerate(gains) if found > 0]
    dealt = [any(d.is_within(h.coalition) for period in h.deals for d in period) for h in histories]
    assert sum(dealt) > HISTORIES // 3
    if use == LevyUse.BURN:
        assert min(gains) < 0
    deals = sum(len(period) for history in histories for period in history.deals)
    print(f"\n{use.name.lower()}: {HISTORIES} histories, {deals} deals, best gain {max(gains)}")


def test_a_levy_by_work_done_would_be_worth_a_wash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same test finds a rule under which paying oneself pays: parts as large as the pool allows."""

    def uncapped(found: levies.MemberLevies) -> int:
        return found.vested_micro

    monkeypatch.setattr(levies, "_owed", uncapped)
    found = [gain(random_history(seed, LevyUse.MEMBERS)) for seed in range(max(HISTORIES, 40))]
    assert max(found) > 0

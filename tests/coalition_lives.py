"""Random pools in which some are in league, and what they have in the end. Everything follows from a seed."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import pytest

from creditledger.credits import levies, tariff
from creditledger.credits.account import all_accounts, check_invariant
from creditledger.credits.levies import levy_shares
from creditledger.credits.state import State
from creditledger.errors import RefusedError
from creditledger.records.job import Job
from creditledger.records.parameters import Admission, LevyUse
from creditledger.records.registration import Role
from creditledger.records.transfer import Hold, Settlement
from creditledger.transparency.keys import Ed25519Signer
from fakes.cast import MODEL, ed25519, fake_id
from fakes.committee import FakeBlsVerifier
from fakes.pool import Pool

SEATS: Final = 3
QUIET_MAX: Final = 200
FUNDS: Final = 100_000_000
ROLES: Final = {"c": Role.CLIENT, "n": Role.NODE, "q": Role.QUEUE, "p": Role.CLIENT}
NAMES: Final = ("c0", "c1", "c2", "n0", "n1", "n2", "q0", "q1", "p0", "p1", "p2")
"""Clients, nodes, queues, and the payees of the validators."""


@dataclass(frozen=True, kw_only=True)
class Deal:
    """Somebody pays somebody: for a job, for GPU time, or for nothing."""

    kind: str
    payer: str
    payees: tuple[str, ...]
    """One, or for a job the nodes of its spans."""
    size: int
    refunded: int = 0
    clawed_back: int = 0
    is_late: bool = False
    """Clawed back a round later, when its pay may have vested."""

    def is_within(self, coalition: frozenset[str]) -> bool:
        return {self.payer, *self.payees} <= coalition


@dataclass(frozen=True, kw_only=True)
class Period:
    """What happens between two rounds."""

    deals: tuple[Deal, ...]
    slashed: tuple[tuple[str, int], ...] = ()
    absent: int = SEATS
    """The seat that does not attest; `SEATS` for none."""

    def without(self, coalition: frozenset[str]) -> "Period":
        kept = tuple(deal for deal in self.deals if not deal.is_within(coalition))
        return Period(deals=kept, slashed=self.slashed, absent=self.absent)


@dataclass(frozen=True, kw_only=True)
class History:
    """What happens in a pool, and who is in league."""

    use: LevyUse
    levy_ppm: int
    vesting_micro: int
    periods: tuple[Period, ...]
    coalition: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Wealth:
    """What a coalition has at the end of a life, in micro-credits."""

    owned: int
    """Of all its members, vested or not."""
    owed: int
    """Taken from its nodes' pay as levies and not returned yet, where they are returned to members."""
    penalties: int
    """What slashes and clawbacks cost it."""


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


SIGNERS: Final = {name: Unsigned(ed25519(name)) for name in NAMES}
KEYS: Final = {name: signer.public_key for name, signer in SIGNERS.items()}


@lru_cache(maxsize=32)
def founded(use: LevyUse, levy_ppm: int, vesting_micro: int) -> Pool:
    """A pool in which everybody has the same and every validator has named its payee."""
    is_closed = use == LevyUse.MEMBERS
    pool = Pool(
        rule_set=4,
        members=SEATS,
        quorum=SEATS - 1,
        registered=False,
        levy_use=use,
        levy_ppm=levy_ppm,
        vesting_micro=vesting_micro,
        admission=Admission.APPROVAL if is_closed else Admission.OPEN,
    )
    pool.verifier = TrustingVerifier()
    for name, signer in SIGNERS.items():
        pool.submit(pool.papers.registration(signer, name, ROLES[name[0]], admitted=is_closed))  # type: ignore[arg-type]
        pool.submit(pool.papers.grant(KEYS[name], FUNDS, id=fake_id("funds", name)))
    for seat in range(SEATS):
        pool.submit(pool.papers.levy_payee(seat, KEYS[f"p{seat}"]))
    pool.run_round()
    return pool


@dataclass(kw_only=True)
class Life:
    """One pool, lived through to its end. What a deal is called does not depend on the others."""

    history: History
    pool: Pool = field(init=False)
    penalties: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        history = self.history
        self.pool = deepcopy(founded(history.use, history.levy_ppm, history.vesting_micro))

    def live(self, periods: Sequence[Period]) -> "Life":
        late: list[Callable[[], None]] = []
        for number, period in enumerate(periods):
            tagged = [(deal, (number, name)) for deal, name in _named(period.deals)]
            jobs = [(deal, tag, self.work(deal, tag)) for deal, tag in tagged if deal.kind == "job"]
            self.pool.check_round(self.certify(period.absent))
            for deal, tag, job in jobs:
                late += self.settle(deal, tag, job)
            for deal, tag in tagged:
                if deal.kind == "gpu":
                    self.rent(deal, tag)
                elif deal.kind == "gift":
                    self.give(deal, tag)
            for name, amount in period.slashed:
                self.pool.submit(self.pool.papers.slash(KEYS[name], amount, id=fake_id(number, name)))
            self.pay_levy(self.certify(period.absent))
            for claw_back in late:
                claw_back()
            late = []
        quiet = (self.pay_levy(self.certify(SEATS)) for _ in range(QUIET_MAX))
        assert not all(quiet)
        check_invariant(self.pool.view)
        return self

    def certify(self, absent: int) -> int:
        """One round; what its certificate takes from somebody is a penalty."""
        record = self.pool.close_round()
        self.pool.attest(record, *(seat for seat in range(SEATS) if seat != absent))
        before = self.owned()
        self.pool.certify(record)
        self.penalties.update({name: before[name] - owned for name, owned in self.owned().items()})
        return record.number

    def work(self, deal: Deal, tag: object) -> Job:
        papers, payer = self.pool.papers, SIGNERS[deal.payer]
        ordered = papers.job(
            payer,  # type: ignore[arg-type]
            [KEYS[name] for name in deal.payees],
            parameters=self.pool.parameters_digest,
            tag=tag,
        )
        self.pool.submit(ordered)
        job = ordered.record
        assert isinstance(job, Job)
        self.pool.submit(papers.job_hold(payer, job))  # type: ignore[arg-type]
        chains = [papers.receipts(job, span, deal.size) for span in job.plan]
        for name, chain in zip(deal.payees, chains, strict=True):
            self.pool.submit(papers.batch(SIGNERS[name], chain))  # type: ignore[arg-type]
        self.pool.submit(papers.delivery(payer, [chain[-1] for chain in chains]))  # type: ignore[arg-type]
        return job

    def settle(self, deal: Deal, tag: object, job: Job) -> list[Callable[[], None]]:
        """What is still to be done about it once a round has passed."""
        self.pool.settle(job)
        settlement = self.pool.entries[-1].record
        assert isinstance(settlement, Settlement)
        layers = MODEL.layers // len(job.plan)
        due = tariff.span_price(MODEL, tariff.span_flops(MODEL, layers, 0, deal.size))
        # E20: the price follows from model, span and positions, whatever anybody claims.
        assert [payment.amount_micro for payment in settlement.payments] == [due for _ in job.plan]
        assert settlement.released_micro == job.max_price_micro - due * len(job.plan) >= 0
        if not deal.clawed_back:
            return []
        paper = self.pool.papers.clawback(
            job.digest(self.pool.ledger_id), KEYS[deal.payees[0]], deal.clawed_back, tag=tag
        )
        if deal.is_late:
            return [lambda: self.pool.submit(paper) and None]
        self.pool.submit(paper)
        return []

    def rent(self, deal: Deal, tag: object) -> None:
        papers, queue = self.pool.papers, SIGNERS[deal.payees[0]]
        held = papers.voucher_hold(SIGNERS[deal.payer], queue.public_key, tag=tag)  # type: ignore[arg-type]
        hold = self.pool.submit(held)
        assert isinstance(held.record, Hold)
        capture = self.pool.submit(papers.capture(queue, held.record, deal.size))  # type: ignore[arg-type]
        self.pool.submit(papers.release(queue, hold))  # type: ignore[arg-type]
        if deal.refunded:
            self.pool.submit(papers.refund(queue, capture, min(deal.refunded, deal.size * 10)))  # type: ignore[arg-type]

    def give(self, deal: Deal, tag: object) -> None:
        payer, payee = SIGNERS[deal.payer], KEYS[deal.payees[0]]
        self.pool.submit(self.pool.papers.transfer(payer, payee, deal.size, id=fake_id("gift", tag)))  # type: ignore[arg-type]

    def pay_levy(self, number: int) -> bool:
        """Whether anything was paid out."""
        if self.history.use == LevyUse.BURN:
            with pytest.raises(RefusedError, match="burned"):
                levy_shares(self.pool.view, number)
            return False
        shares = levy_shares(self.pool.view, number)
        if shares:
            self.pool.submit(self.pool.papers.levy(number, shares))
        return bool(shares)

    def owned(self) -> dict[str, int]:
        """What each account has, vested or not."""
        return {
            found.name: found.available_micro
            - found.overdrawn_micro
            + found.held_micro
            + found.unvested_micro
            for found in all_accounts(self.pool.view)
        }

    def wealth(self) -> Wealth:
        """The coalition's."""
        owned, state, coalition = self.owned(), State(self.pool.view), self.history.coalition
        found = [levies.member_levies(state, KEYS[name]) for name in coalition if name[0] == "n"]
        owed = sum(max(0, own.taken_micro - own.returned_micro) for own in found)
        return Wealth(
            owned=sum(owned[name] for name in coalition),
            owed=owed if self.history.use == LevyUse.MEMBERS else 0,
            penalties=sum(self.penalties[name] for name in coalition),
        )

    def left_in_pool(self) -> int:
        return self.owned().get(levies.POOL_NAME, 0)


def _named(deals: Sequence[Deal]) -> list[tuple[Deal, str]]:
    """Each deal with a name of its own, which it keeps when others are left out."""
    count: Counter[str] = Counter()
    named = []
    for deal in deals:
        name = repr(deal)
        count[name] += 1
        named.append((deal, f"{name} {count[name]}"))
    return named


def random_history(seed: int, use: LevyUse) -> History:
    """Everything about a history follows from its seed."""
    chance = random.Random(f"{seed} {use}")
    coalition = frozenset(name for name in NAMES if chance.random() < 0.5) | {"c0", "n0"}

    def deal() -> Deal:
        kind = chance.choice(["job", "job", "gpu", "gift"])
        payer = chance.choice([name for name in NAMES if kind != "job" or name[0] == "c"])
        role = {"job": "n", "gpu": "q"}.get(kind, payer)
        others = [name for name in NAMES if name != payer and (role == payer or name[0] == role)]
        return Deal(
            kind=kind,
            payer=payer,
            payees=tuple(chance.sample(others, chance.choice([1, 1, 2]) if kind == "job" else 1)),
            size=chance.choice([1, 255, 256, 700]) if kind == "job" else chance.randint(1, 9_999),
            refunded=chance.choice([0, 0, 1, 10_000]),
            clawed_back=chance.choice([0, 0, 0, 5_000, 10**9]),
            is_late=chance.random() < 0.5,
        )

    def period() -> Period:
        slashed = {
            f"n{chance.randrange(3)}": chance.choice([1, 7_000, 10**9])
            for _ in range(chance.choice([0, 0, 1]))
        }
        return Period(
            deals=tuple(deal() for _ in range(chance.randint(1, 5))),
            slashed=tuple(slashed.items()),
            absent=chance.choice([0, 1, 2, SEATS, SEATS, SEATS]),
        )

    return History(
        use=use,
        levy_ppm=chance.choice([1, 10_000, 333_333]),
        vesting_micro=chance.choice([0, 0, 100_000, 400_000]),
        periods=tuple(period() for _ in range(chance.randint(1, 6))),
        coalition=coalition,
    )

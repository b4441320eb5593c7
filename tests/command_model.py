"""Random commands at a real ledger, and the same in plain integers: what each account must have.

The model keeps balances in dicts and knows nothing of the fold's code, not even the tariff."""

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from creditledger.credits import reading
from creditledger.credits.account import all_accounts, check_invariant
from creditledger.credits.context import TransparencyVerifier
from creditledger.credits.state import StateView
from creditledger.errors import (
    AmountError,
    CreditLedgerError,
    HoldClosedError,
    HoldExpiredError,
    InsufficientCreditError,
    RefusedError,
    RoleError,
)
from creditledger.ledger.ledger import Acknowledgement, Ledger
from creditledger.records.entry import Submission
from creditledger.records.registration import Role
from creditledger.records.transfer import Hold
from creditledger.simulation.hashed_keys import signature_of
from fakes.cast import HARDWARE, MODEL, Papers, ed25519, fake_id, pool_parameters, real_validator
from ledger_pools import OPERATOR, FixedClock, found

GRACE_MS: Final = 1_000
LEVY_PPM: Final = 30_000
VESTING_ROUNDS: Final = 2
AT_ONCE: Final = 64
"""Commands in one commit."""
GROUPS_A_ROUND: Final = 12
CLIENTS: Final = ("ann", "bob", "cho", "dev", "eve", "fay")
QUEUES: Final = ("queue-1", "queue-2")
NODES: Final = ("node-1", "node-2")
ROLES: Final = {
    **dict.fromkeys(CLIENTS, Role.CLIENT),
    **dict.fromkeys(QUEUES, Role.QUEUE),
    **dict.fromkeys(NODES, Role.NODE),
}
OLD_HOLDS: Final = 400
"""How many of the latest holds are still spoken of."""
Error = type[CreditLedgerError] | None


class HashedSigner:
    """Somebody's key, whose signatures are hashes: anybody could make them, but in a microsecond."""

    def __init__(self, public_key: bytes) -> None:
        self.public_key = public_key

    def sign(self, message: bytes) -> bytes:
        return signature_of(self.public_key, message)


class HashedOrReal(TransparencyVerifier):
    """Takes hashed Ed25519 signatures as well as real ones. BLS is real."""

    def ed25519(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        if signature != signature_of(public_key, message):
            super().ed25519(public_key, message, signature)


@dataclass
class Purse:
    net: int = 0
    held: int = 0
    unvested: int = 0


@dataclass
class KnownHold:
    record: Hold
    digest: bytes
    holder: str
    queue: str
    price: int
    captured: int = 0
    status: str = "open"

    @property
    def amount(self) -> int:
        return self.record.amount_micro


@dataclass
class Order:
    hold: int
    node: str
    client: str
    bound: int
    flops: int


@dataclass(kw_only=True)
class CommandModel:
    """One ledger, its model, and a stream of commands drawn from a seed."""

    folder: Path
    seed: int
    is_signed: bool
    """Real signatures; else hashed ones, which take a hundredth of the time."""
    store: str | None = None
    """The URL of a database to keep the ledger in."""
    tried: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.clock = FixedClock()
        self.verifier = TransparencyVerifier() if self.is_signed else HashedOrReal()
        terms = {
            "committee": pool_parameters(members=1).committee,
            "models": (MODEL,),
            "hardware": HARDWARE,
            "levy_ppm": LEVY_PPM,
            "vesting_rounds": VESTING_ROUNDS,
            "vesting_ms": 0,
            "vesting_micro": 0,
            "grace_ms": GRACE_MS,
        }
        found(self.folder / "pool", self.clock, store=self.store, **terms).close()
        self.ledger = Ledger.open(self.folder / "pool", clock=self.clock, verifier=self.verifier)
        operator: Any = OPERATOR.ed25519() if self.is_signed else HashedSigner(OPERATOR.ed25519().public_key)
        self.papers = Papers(genesis=self.ledger.genesis, operator=operator)
        self.signers: dict[str, Any] = {
            name: ed25519(name) if self.is_signed else HashedSigner(ed25519(name).public_key)
            for name in ROLES
        }
        self.purses = {name: Purse() for name in ROLES}
        self.granted = self.burned = self.count = self.rounds = 0
        self.pending: list[tuple[str, int]] = []
        self.holds: list[KnownHold] = []
        self.logged: list[tuple[Submission, int]] = []
        self.orders: list[Order] = []
        self.lots: list[tuple[int, str, int]] = []
        self.begin()

    def begin(self) -> None:
        papers = [self.papers.registration(self.signers[name], name, role) for name, role in ROLES.items()]
        self.require_logged(papers)
        for name in CLIENTS:
            self.require_logged([self.grant(name, 5_000_000)])
        self.certify()

    def require_logged(self, papers: list[Submission]) -> None:
        for outcome in self.ledger.submit(papers):
            assert isinstance(outcome, Acknowledgement), outcome

    def tag(self) -> bytes:
        self.count += 1
        return fake_id("command", self.count)

    # Commands: each gives what is submitted, and the error it must meet.

    def run(self, commands: int) -> None:
        """Submit that many commands, with rounds, work and settlements in between; check all outcomes."""
        groups = 0
        while commands > 0:
            size = min(AT_ONCE, commands)
            self.submit_group(size)
            commands -= size
            groups += 1
            self.clock.now += self.chance.choice((0, 1, 500, 3_000))
            if groups % GROUPS_A_ROUND == 0 or commands == 0:
                self.work()
                self.certify()
                self.judge_and_settle()
                self.check(self.ledger)
        self.certify()
        self.check(self.ledger)

    def submit_group(self, size: int) -> None:
        makers = {
            self.a_hold: 30, self.a_capture: 20, self.a_release: 15, self.an_expire: 8,
            self.a_transfer: 20, self.a_grant: 3, self.a_repeat: 4,
        }  # fmt: skip
        chosen = self.chance.choices(list(makers), list(makers.values()), k=size)
        papers, expected = [], []
        for maker in chosen:
            paper, error = maker()
            papers.append(paper)
            expected.append(error)
            self.tried[maker.__name__] += 1
        for paper, error, outcome in zip(papers, expected, self.ledger.submit(papers), strict=True):
            if isinstance(error, int):
                assert isinstance(outcome, Acknowledgement), outcome
                assert (outcome.repeated, outcome.index) == (True, error)
            elif error is None:
                assert isinstance(outcome, Acknowledgement), outcome
                assert not outcome.repeated
                self.logged.append((paper, outcome.index))
            else:
                assert type(outcome) is error, (outcome, error)
                self.refused[error.__name__] += 1
        del self.logged[:-OLD_HOLDS]
        del self.holds[:-OLD_HOLDS]

    def a_repeat(self) -> tuple[Submission, Any]:
        return self.chance.choice(self.logged) if self.logged else self.a_grant()

    def a_grant(self) -> tuple[Submission, Error]:
        return self.grant(self.chance.choice(CLIENTS), self.chance.randint(1, 400_000)), None

    def grant(self, name: str, amount: int) -> Submission:
        self.pending.append((name, amount))
        return self.papers.grant(self.signers[name].public_key, amount, id=self.tag())

    def a_transfer(self) -> tuple[Submission, Error]:
        payer, payee = self.chance.sample(list(ROLES), 2)
        purse = self.purses[payer]
        amount = self.chance.randint(1, max(1, purse.net // 3) if self.chance.random() < 0.9 else 10**7)
        paper = self.papers.transfer(
            self.signers[payer], self.signers[payee].public_key, amount, id=self.tag()
        )
        if amount > purse.net:
            return paper, InsufficientCreditError
        purse.net -= amount
        self.purses[payee].net += amount
        return paper, None

    def a_hold(self) -> tuple[Submission, Error]:
        holder, queue = self.chance.choice(CLIENTS), self.chance.choice(QUEUES)
        hardware, gpus = self.chance.choice(HARDWARE), self.chance.randint(1, 3)
        duration = self.chance.randint(1, 20_000 if hardware.name == "cpu" else 200)
        paper = self.papers.voucher_hold(
            self.signers[holder],
            self.signers[queue].public_key,
            tag=self.tag(),
            gpus=gpus,
            duration_ms=duration,
            hardware=hardware,
            expires_unix_ms=self.clock.now + self.chance.randint(1, 30_000),
        )
        amount = gpus * duration * hardware.micro_per_gpu_second // 1_000
        if amount > self.purses[holder].net:
            return paper, InsufficientCreditError
        self.purses[holder].net -= amount
        self.purses[holder].held += amount
        assert isinstance(paper.record, Hold)
        digest = paper.record.digest(self.ledger.id)
        self.holds.append(KnownHold(paper.record, digest, holder, queue, hardware.micro_per_gpu_second))
        return paper, None

    def some_hold(self) -> KnownHold | None:
        """An open one, four times of five."""
        live = [hold for hold in self.holds[-60:] if hold.status != "ended"]
        among = live if live and self.chance.random() < 0.8 else self.holds
        return self.chance.choice(among) if among else None

    def a_capture(self) -> tuple[Submission, Error]:
        hold = self.some_hold()
        if hold is None:
            return self.a_hold()
        most = hold.record.gpus * hold.record.duration_ms
        gpu_ms = self.chance.randint(0, most + most // 8 + 1)
        amount = gpu_ms * hold.price // 1_000
        queue = hold.queue if self.chance.random() < 0.95 else "queue-1"
        paper = self.papers.capture(self.signers[queue], hold.record, gpu_ms, tag=self.tag())
        if queue != hold.queue:
            return paper, RoleError
        if hold.status != "open":
            return paper, HoldClosedError
        if self.clock.now >= hold.record.expires_unix_ms:
            return paper, HoldExpiredError
        if amount > hold.amount:
            return paper, AmountError
        levy = amount * LEVY_PPM // 10**6
        self.purses[hold.holder].held -= amount
        self.purses[queue].net += amount - levy
        self.burned += levy
        hold.captured, hold.status = amount, "captured"
        return paper, None

    def a_release(self) -> tuple[Submission, Error]:
        hold = self.some_hold()
        if hold is None:
            return self.a_hold()
        paper = self.papers.release(self.signers[hold.queue], hold.digest, tag=self.tag())
        if hold.status == "ended":
            return paper, HoldClosedError
        self.give_back(hold)
        return paper, None

    def an_expire(self) -> tuple[Submission, Error]:
        overdue = [hold for hold in self.holds if hold.status != "ended" and self.is_over(hold)]
        hold = self.chance.choice(overdue) if overdue else self.some_hold()
        if hold is None:
            return self.a_hold()
        paper = self.papers.expire(hold.digest)
        if hold.status == "ended":
            return (paper, HoldClosedError) if hold.captured >= 0 else self.a_release()
        if not self.is_over(hold):
            return paper, RefusedError
        self.give_back(hold)
        hold.captured = -1  # An expire has no id: the same again is a repeat, not a second end.
        return paper, None

    def is_over(self, hold: KnownHold) -> bool:
        return self.clock.now >= hold.record.expires_unix_ms + GRACE_MS

    def give_back(self, hold: KnownHold) -> None:
        self.purses[hold.holder].held -= hold.amount - hold.captured
        self.purses[hold.holder].net += hold.amount - hold.captured
        hold.status = "ended"

    # Rounds and work.

    def work(self) -> None:
        """A client orders from a node, which does it all; both sign for it."""
        client, node = self.chance.choice(CLIENTS), self.chance.choice(NODES)
        bound, positions = self.chance.randint(1, 300_000), self.chance.choice((1, 256, 700))
        if bound > self.purses[client].net:
            return
        with self.ledger.read() as state:
            parameters = reading.parameters_digest(state)
        signer = self.signers[client]
        ordered = self.papers.job(
            signer,
            [self.signers[node].public_key],
            parameters=parameters,
            tag=self.tag(),
            max_price_micro=bound,
            expires_unix_ms=self.clock.now + 10**9,
        )
        job: Any = ordered.record
        chain = self.papers.receipts(job, job.plan[0], positions)
        batch = self.papers.batch(self.signers[node], chain, sealed=b"sealed")
        held = self.papers.job_hold(signer, job)
        self.require_logged([ordered, held, batch, self.papers.delivery(signer, [chain[-1]])])
        self.purses[client].net -= bound
        self.purses[client].held += bound
        flops = MODEL.layers * sum(map(position_flops, range(positions)))
        self.orders.append(Order(len(chain), node, client, bound, flops))

    def certify(self) -> None:
        standing = self.ledger.complete_round({0: real_validator(0)})
        assert standing.is_certified
        self.rounds = standing.number
        for name, amount in self.pending:
            self.purses[name].net += amount
            self.granted += amount
        self.pending = []
        for lot in [lot for lot in self.lots if self.rounds >= lot[0] + VESTING_ROUNDS]:
            _, node, amount = lot
            self.purses[node].unvested -= amount
            self.purses[node].net += amount
            self.lots.remove(lot)

    def judge_and_settle(self) -> None:
        """Every duty is done, all work was right, and what is due is settled."""
        for number in range(1, self.rounds + 1):
            with self.ledger.read() as state:
                due = reading.duties_of(state, 0, number)
            if due:
                verdicts = self.papers.verdicts(number, 0, due)
                self.require_logged([self.papers.commit(0, verdicts)])
                self.require_logged([self.papers.reveal(0, verdicts)])
        assert len(self.ledger.settle_due()) == len(self.orders)
        assert self.ledger.settle_due() == []
        self.tried["settlement"] += len(self.orders)
        for order in self.orders:
            amount = min(order.flops * MODEL.micro_per_tflop // 10**12, order.bound)
            levy = amount * LEVY_PPM // 10**6
            self.purses[order.client].held -= order.bound
            self.purses[order.client].net += order.bound - amount
            self.purses[order.node].unvested += amount - levy
            self.burned += levy
            self.lots.append((self.rounds, order.node, amount - levy))
        self.orders = []

    # Comparing.

    def check(self, ledger: Ledger) -> None:
        with ledger.read() as state:
            self.check_state(state)

    def check_state(self, state: StateView) -> None:
        """Every account, to the micro-credit, and the sums."""
        totals = check_invariant(state)
        assert (totals.granted_micro, totals.burned_micro) == (self.granted, self.burned)
        found = {account.name: account for account in all_accounts(state)}
        assert set(found) >= set(ROLES)
        for name, account in found.items():
            purse = self.purses.get(name, Purse())
            said = (account.available_micro, account.overdrawn_micro, account.held_micro)
            assert said == (purse.net, 0, purse.held), name
            assert account.unvested_micro == purse.unvested, name


def position_flops(position: int) -> int:
    width = MODEL.heads * MODEL.head_dim
    projections = 2 * MODEL.hidden * width + 2 * MODEL.hidden * MODEL.kv_heads * MODEL.head_dim
    return 2 * (projections + 3 * MODEL.hidden * MODEL.ff) + 4 * width * (position + 1)

"""A small real ledger in which something of every kind has happened, and a bundle of each."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from creditledger.credits import reading
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.prove import prover
from creditledger.records.job import Job
from creditledger.records.receipt import Receipt
from creditledger.records.registration import Role
from creditledger.records.transfer import Hold
from creditledger.records.verdict import Canary, Outcome, Reason
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.trust_policy import TrustPolicy
from fakes.cast import START_MS, Papers, Successor, ed25519, fake_id, pool_parameters
from fakes.committee import fake_digest, real_validator

MEMBERS, QUORUM = 3, 2
VESTING_MS = 600_000
_OUTCOMES = {"U": Outcome.UPHELD, "R": Outcome.REFUTED, "D": Outcome.INCONCLUSIVE}
ABSENT = fake_digest("never logged")
_POSITIONS = {"good": 512, "bad": 256, "unsure": 300}


@dataclass(slots=True)
class StillClock:
    """Says what it is told."""

    now: int = START_MS

    def __call__(self) -> int:
        return self.now


class ShownPool:
    """A ledger with a committee of three, of whom two certify; every step is the same in every run."""

    def __init__(
        self,
        folder: Path,
        *,
        origin: str = "pool.example/shown",
        committed: bool = False,
        start_unix_ms: int = START_MS,
        **changes: object,
    ) -> None:
        """``committed``: each account may rotate to the key called "next " and its name."""
        self.clock = StillClock(start_unix_ms)
        self.batches: dict[bytes, bytes] = {}
        """Digest of the last batch of each job."""
        self.client, self.queue = ed25519("client"), ed25519("queue")
        self.node, self.other_node = ed25519("node"), ed25519("other-node")
        self.ledger = Ledger.create(
            folder,
            origin=origin,
            operator=ed25519("operator"),
            parameters=pool_parameters(members=MEMBERS, quorum=QUORUM, **changes),
            witness=ed25519("witness"),
            clock=self.clock,
        )
        self.papers = Papers(genesis=self.ledger.genesis)
        for signer, name, role in (
            (self.client, "client", Role.CLIENT),
            (self.node, "node", Role.NODE),
            (self.other_node, "other-node", Role.NODE),
            (self.queue, "queue", Role.QUEUE),
        ):
            next_key = ed25519(f"next {name}") if committed else None
            self.ledger.append(self.papers.registration(signer, name, role, next_key=next_key))
        self.ledger.append(self.papers.grant(self.client.public_key, 10**9))
        self.certify()

    def rotate(self, name: str) -> None:
        """``client``, ``node``, ``other_node`` or ``queue`` hands over to the key it committed to."""
        first: Ed25519Signer = getattr(self, name)
        new = ed25519(f"next {name.replace('_', '-')}")
        self.ledger.append(self.papers.rotation(first.public_key, first, new))
        setattr(self, name, Successor(first, new))

    def rotate_operator(self) -> None:
        """The operator registers, hands over, and signs with its new key."""
        old, new = self.papers.operator, ed25519("next operator")
        self.ledger.append(self.papers.registration(old, "operator", Role.OPERATOR, next_key=new))
        self.ledger.rotate_operator(new)
        self.papers.operator = new

    def certify(self, *members: int) -> None:
        """Certify everything, by all members if none is named, a minute later; publish."""
        self.clock.now += 60_000
        chosen = members or tuple(range(MEMBERS))
        self.ledger.complete_round({index: real_validator(index) for index in chosen})

    def order(self, tag: object, *nodes: Ed25519Signer, **changes: object) -> Job:
        """A logged job under its hold."""
        with self.ledger.read() as state:
            parameters = reading.parameters_digest(state)
        submission = self.papers.job(
            self.client,
            [node.public_key for node in nodes],
            parameters=parameters,
            tag=tag,
            **changes,  # type: ignore[arg-type]
        )
        job = submission.record
        assert isinstance(job, Job)
        self.ledger.append(submission)
        self.ledger.append(self.papers.job_hold(self.client, job))
        return job

    def work(self, job: Job, positions: int = 256) -> list[list[Receipt]]:
        """Every span's node logs its receipts in one batch."""
        signers = {signer.public_key: signer for signer in (self.node, self.other_node)}
        chains = [self.papers.receipts(job, span, positions) for span in job.plan]
        for span, chain in zip(job.plan, chains, strict=True):
            batch = self.papers.batch(signers[span.node], chain, sealed=b"sealed sketches")
            self.ledger.append(batch)
            self.batches[chain[0].job] = batch.record.digest(self.ledger.id)
        return chains

    def deliver(self, heads: Sequence[Receipt], *, closes: bool = True) -> None:
        """The client accepts up to ``heads``."""
        self.ledger.append(self.papers.delivery(self.client, heads, closes=closes))

    def judge(self, outcomes: Mapping[bytes, Outcome] | None = None, *, step_micro: int = 0) -> None:
        """Everybody commits to and reveals what is due of the latest certified round."""
        with self.ledger.read() as state:
            info = reading.latest_certified_round(state)
            assert info is not None
            due = {
                (number, member): self.papers.verdicts(
                    number,
                    member,
                    reading.duties_of(state, member, number),
                    outcomes=outcomes,
                    step_micro=step_micro,
                )
                for number in range(1, info.round.number + 1)
                for member, duty in reading.members_on_duty(state, number).items()
                if not duty.reveal_index and not duty.missed
            }
        for (_, member), verdicts in due.items():
            self.ledger.append(self.papers.commit(member, verdicts))
        for (_, member), verdicts in due.items():
            self.ledger.append(self.papers.reveal(member, verdicts))

    def one_receipt(self, tag: str) -> bytes:
        """A delivered job of one receipt by ``node``; its digest."""
        chain = self.work(self.order(tag, self.node))[0]
        self.deliver(chain)
        return self.digest(chain[0])

    def say(self, receipt: bytes, words: str) -> None:
        """Those last drawn to check ``receipt`` say one letter each: Upheld, Refuted, no Data."""
        if not words:
            return
        with self.ledger.read() as state:
            number = reading.checks_of(state, receipt)[-1][0]
            due = {
                member: reading.duties_of(state, member, number)
                for member in reading.members_on_duty(state, number)
            }
        left = iter(words)
        said = {
            member: self.papers.verdicts(
                number,
                member,
                receipts,
                outcomes={receipt: _OUTCOMES[word]},
                reason=Reason.NO_DATA if word == "D" else Reason.MATCH,
            )
            for member, receipts in due.items()
            for word in (next(left) if receipt in receipts else "U")
        }
        for member, verdicts in said.items():
            self.ledger.append(self.papers.commit(member, verdicts))
        for member, verdicts in said.items():
            self.ledger.append(self.papers.reveal(member, verdicts))
        assert not list(left)

    def open_canary(self, receipt: bytes, salt: bytes) -> None:
        """The operator says that the receipt was wrong on purpose."""
        with self.ledger.read() as state:
            found = reading.receipt_state(state, receipt)
        assert found is not None
        self.ledger.append(self.ledger.sign(Canary(receipt=receipt, round=found.round, salt=salt)))

    def digest(self, receipt: Receipt | Hold) -> bytes:
        return receipt.digest(self.ledger.id)

    def receipt(self, receipt: Receipt, **level: str) -> bytes:
        """Its bundle now."""
        with prover(self.ledger) as prove:
            return prove.receipt(self.digest(receipt), **level)  # type: ignore[arg-type]

    def fill(self, count: int) -> None:
        """Make the log ``count`` entries longer."""
        account = self.other_node.public_key
        self.ledger.submit([self.papers.grant(account, 1, id=fake_id("fill", i)) for i in range(count)])

    def wait(self, duration_ms: int) -> None:
        """Let time pass, and log something that a next round can speak of."""
        self.clock.now += duration_ms
        self.ledger.append(self.papers.grant(self.node.public_key, 1, id=fake_id("waited", self.clock.now)))


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One ledger's policy, and bundles by what they show."""

    policy: TrustPolicy
    bundles: Mapping[str, bytes]
    now_unix_ms: int
    papers: Papers
    """Signs for everybody in that ledger."""

    def __getitem__(self, name: str) -> bytes:
        return self.bundles[name]


@cache
def shown() -> Shown:
    """The main ledger, about 1,000 entries: bundles by name, each taken when what it shows was so."""
    return _tell(lambda folder: ShownPool(folder, vesting_ms=VESTING_MS), _main_story)


@cache
def elsewhere() -> Shown:
    """Another ledger of the same people, where no check is ever drawn."""
    return _tell(
        lambda folder: ShownPool(folder, origin="pool.example/other", check_floor_ppm=0, probation_micro=0),
        _other_story,
    )


def _tell(found: Callable[[Path], ShownPool], story: Callable[[ShownPool], dict[str, bytes]]) -> Shown:
    with tempfile.TemporaryDirectory() as folder:
        pool = found(Path(folder) / "ledger")
        bundles = story(pool)
        told = Shown(
            policy=pool.ledger.policy(), bundles=bundles, now_unix_ms=pool.clock.now, papers=pool.papers
        )
        pool.ledger.close()
    return told


def _main_story(pool: ShownPool) -> dict[str, bytes]:
    pool.fill(900)
    made: dict[str, bytes] = {}
    jobs = {name: pool.order(name, node) for name, node in _workers(pool)}
    chains = {name: pool.work(job, _POSITIONS[name])[0] for name, job in jobs.items()}
    good, bad, unsure = chains["good"], chains["bad"], chains["unsure"]
    made["signed"] = pool.receipt(good[0], most="signed")
    for chain in chains.values():
        pool.deliver(chain[-1:])
    pool.ledger.publish()
    made["logged"] = pool.receipt(good[0], most="logged")
    made["logged bad"] = pool.receipt(bad[0], most="logged")
    pool.certify()
    made["certified"] = pool.receipt(good[0])
    pool.judge({pool.digest(bad[0]): Outcome.REFUTED, pool.digest(unsure[1]): Outcome.INCONCLUSIVE})
    pool.certify(0, 2)
    made["upheld"], made["upheld last"] = pool.receipt(good[0]), pool.receipt(good[1])
    made["refuted"], made["inconclusive"] = pool.receipt(bad[0]), pool.receipt(unsure[1])
    pool.ledger.settle_due()
    hold = _voucher(pool)
    pool.certify()
    made["settled"] = pool.receipt(good[0])
    made |= _balances(pool)
    with prover(pool.ledger) as prove:
        made["hold open"] = prove.hold(pool.digest(hold))
        made["batch"] = prove.batch(pool.batches[good[0].job])
        made["batch of one"] = prove.batch(pool.batches[bad[0].job])
    pool.ledger.append(pool.papers.release(pool.queue, pool.digest(hold)))
    pool.wait(VESTING_MS)
    pool.certify()
    made["vested"] = pool.receipt(good[0])
    with prover(pool.ledger) as prove:
        made["hold released"] = prove.hold(pool.digest(hold))
    return made


def _other_story(pool: ShownPool) -> dict[str, bytes]:
    chain = pool.work(pool.order("good", pool.node), 512)[0]
    pool.deliver(chain[:1])
    hold = _voucher(pool)
    pool.certify()
    pool.ledger.settle_due()
    pool.wait(1)
    pool.certify()
    made = _balances(pool)
    made["undrawn vested"], made["undelivered"] = pool.receipt(chain[0]), pool.receipt(chain[1])
    made["signed"] = pool.receipt(chain[0], most="signed")
    made["logged"] = pool.receipt(chain[0], most="logged")
    with prover(pool.ledger) as prove:
        made["hold open"] = prove.hold(pool.digest(hold))
        made["batch"] = prove.batch(pool.batches[chain[0].job])
    return made


def _workers(pool: ShownPool) -> list[tuple[str, Ed25519Signer]]:
    return [("good", pool.node), ("bad", pool.other_node), ("unsure", pool.other_node)]


def _voucher(pool: ShownPool) -> Hold:
    submission = pool.papers.voucher_hold(pool.client, pool.queue.public_key)
    pool.ledger.append(submission)
    assert isinstance(submission.record, Hold)
    return submission.record


def _balances(pool: ShownPool) -> dict[str, bytes]:
    with prover(pool.ledger) as prove:
        return {
            "account": prove.account(pool.client.public_key),
            "key": prove.key(pool.client.public_key),
            "absent": prove.absent(ABSENT),
        }

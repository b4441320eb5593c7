"""The same lives through the real fold: jobs, holds, batches, deliveries, rounds, verdicts, settlements and
slashes are entries that `apply_entry` admits or refuses. Source: specs/simulation.md §4."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from creditledger.credits import reading
from creditledger.credits.fold import (
    FoldContext,
    apply_entry,
    due_settlements,
    propose_round,
    propose_settlement,
)
from creditledger.credits.standing import node_rate_ppm
from creditledger.credits.state import MemoryState, Overlay, State
from creditledger.quantities import AMOUNT_MAX
from creditledger.records.entry import Entry
from creditledger.records.parameters import Genesis, Parameters
from creditledger.records.registration import Role
from creditledger.records.round import draw_seed
from creditledger.simulation.career import Career, Finding
from creditledger.simulation.chance import LoggedHashes
from creditledger.simulation.hashed_keys import HashedSignatures, account_seed
from creditledger.simulation.pool_papers import Paper, PoolPapers
from creditledger.simulation.world import FIRST_ROUND, START_MS, World
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes


@dataclass(slots=True, kw_only=True, eq=False)
class FoldedLife:
    """What the pool's log knows of one node."""

    career: Career
    hashes: LoggedHashes
    names: list[bytes] = field(default_factory=list)
    """Its accounts: the last one works."""
    failures: dict[bytes, int] = field(default_factory=dict)
    """Confirmed failures by account, as last seen."""
    jobs: dict[bytes, list[bool]] = field(default_factory=dict)
    """Which receipts of a job are fake, by its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Whose receipt it is."""

    life: FoldedLife
    receipt: int
    is_fake: bool


class FoldedPool:
    """A pool in memory: the operator, the committee, one client, and a node for each career."""

    def __init__(self, world: World, parameters: Parameters, careers: Sequence[Career], *, seed: int) -> None:
        self.world, self._seed = world, seed
        operator, self.client = self._key("operator"), self._key("client")
        genesis = Genesis(
            origin="simulated.example/pool",
            operator=operator,
            created_unix_ms=START_MS,
            parameters=world.parameters(parameters),
        )
        self.papers = PoolPapers(world=world, genesis=genesis, client=self.client)
        self.view = MemoryState()
        self._leaves: list[bytes] = []
        self._seeds: list[dict[int, bytes]] = []
        self._now = START_MS
        self._jobs = self._slashes = 0
        self._places: dict[bytes, _Place] = {}
        self._job_lives: dict[bytes, FoldedLife] = {}
        self.lives = [self._life(career) for career in careers]

    @property
    def entries(self) -> int:
        """How many were folded."""
        return len(self._leaves)

    def play(self, show: Callable[[int, int], None] = lambda done, of: None) -> None:
        """Found the pool, live through all rounds, count what is left. ``show``: rounds done, of how many."""
        self._found()
        for round_index in range(self.world.rounds):
            self._play_round(round_index)
            show(round_index + 1, self.world.rounds)
        self._finish()

    def _key(self, name: str) -> bytes:
        return Ed25519Signer(account_seed(self._seed, name)).public_key

    def _life(self, career: Career) -> FoldedLife:
        hashes = LoggedHashes(
            seeds=self._seeds, receipts={}, jobs={}, receipts_a_round=self.world.receipts_a_round
        )
        return FoldedLife(career=career, hashes=hashes)

    def _submit(self, paper: Paper) -> bytes:
        record, signature, bodies = paper
        context = FoldContext(
            ledger_id=self.papers.genesis.ledger_id,
            index=len(self._leaves),
            log_root=lambda: root_from_leaf_hashes(self._leaves),
            verifier=HashedSignatures(),
        )
        entry = Entry(time_unix_ms=self._now, record=record, signature=signature)
        apply_entry(self.view, entry, bodies, context)
        self._leaves.append(leaf_hash(entry.encode()))
        return record.digest(self.papers.genesis.ledger_id)

    def _found(self) -> None:
        self._submit(self.papers.signed(self.papers.operator, self.papers.genesis))
        self._submit(self.papers.registration(self.client, "client", Role.CLIENT))
        for number, life in enumerate(self.lives):
            self._register(life, number)
        self._submit(self.papers.grant())
        self._certify()
        self._seeds.clear()

    def _register(self, life: FoldedLife, number: int) -> None:
        name = f"node-{number}-{len(life.names)}"
        key = self._key(name)
        self._submit(self.papers.registration(key, name, Role.NODE))
        life.names.append(key)
        life.failures[key] = 0

    def _play_round(self, round_index: int) -> None:
        self._now = self.world.now(round_index)
        for life in self.lives:
            if not self._is_suspended(life.names[-1]):
                self._work(life, round_index)
        self._certify()
        judged = self._judge(round_index + FIRST_ROUND)
        for job in due_settlements(self.view, self._now):
            self._settle(job)
        for number, life in enumerate(self.lives):
            if id(life) in judged:
                self._react(life, number)

    def _work(self, life: FoldedLife, round_index: int) -> None:
        node, fakes = life.names[-1], life.career.work(round_index)
        parameters = self.papers.genesis.parameters
        value = self.world.price_micro(1)
        rate = node_rate_ppm(State(self.view), parameters, node, value_micro=value)
        life.career.trace.note(b"R", round_index, rate)
        order, hold = self.papers.order(node, self._jobs, self._now)
        self._jobs += 1
        job = self._submit(order)
        self._submit(hold)
        batch, delivery, digests = self.papers.work(node, job)
        self._submit(batch)
        self._submit(delivery)
        first = round_index * len(fakes)
        for place, (digest, is_fake) in enumerate(zip(digests, fakes, strict=True)):
            life.hashes.receipts[first + place] = digest
            self._places[digest] = _Place(life=life, receipt=first + place, is_fake=is_fake)
        life.hashes.jobs[round_index] = job
        life.jobs[job] = fakes
        self._job_lives[job] = life

    def _certify(self) -> None:
        context = FoldContext(
            ledger_id=self.papers.genesis.ledger_id,
            index=len(self._leaves),
            log_root=lambda: root_from_leaf_hashes(self._leaves),
            verifier=HashedSignatures(),
        )
        record = propose_round(Overlay(self.view), context)
        self._submit(self.papers.round(record))
        signatures, papers = self.papers.certification(record)
        for paper in papers:
            self._submit(paper)
        self._seeds.append({member: draw_seed(signature) for member, signature in signatures.items()})

    def _judge(self, number: int) -> set[int]:
        """All commits, then all reveals; whose receipts were judged."""
        planned: dict[bytes, int] = {}
        judged: set[int] = set()
        found = []
        for member in reading.members_on_duty(self.view, number):
            findings = {
                receipt: self._find(member, receipt, planned, judged)
                for receipt in reading.duties_of(self.view, member, number)
            }
            found.append(self.papers.verdicts(number, member, findings))
        for commit, _ in found:
            self._submit(commit)
        for _, reveal in found:
            self._submit(reveal)
        return judged

    def _find(self, member: int, digest: bytes, planned: dict[bytes, int], judged: set[int]) -> Finding:
        place, known = self._places[digest], reading.receipt_state(self.view, digest)
        refuted = planned.get(digest, 0) + (0 if known is None else known.refuted)
        career = place.life.career
        finding = career.finds(
            member,
            place.receipt,
            is_fake=place.is_fake,
            refuted=refuted,
        )
        planned[digest] = planned.get(digest, 0) + finding.is_refuting
        career.trace.note(b"V", place.receipt, member, *finding.codes)
        career.tally.checks += 1
        judged.add(id(place.life))
        return finding

    def _settle(self, job: bytes) -> None:
        record = propose_settlement(self.view, job, self.papers.genesis.ledger_id, now_unix_ms=self._now)
        self._submit(self.papers.settlement(record))
        life = self._job_lives[job]
        paid = sum(payment.amount_micro for payment in record.payments)
        accepted = 0 if record.burned_micro else sum(map(self._is_accepted_fake, self._receipts_of(job)))
        round_index = next(index for index, known in life.hashes.jobs.items() if known == job)
        life.career.trace.note(b"S", round_index, paid, paid + record.burned_micro)
        life.career.settled(paid, paid + record.burned_micro, accepted)

    def _receipts_of(self, job: bytes) -> list[bytes]:
        return [digest for _, digest in reading.job_receipts(self.view, job, 0)]

    def _is_accepted_fake(self, digest: bytes) -> bool:
        known = reading.receipt_state(self.view, digest)
        return self._places[digest].is_fake and known is not None and known.has_passed

    def _is_suspended(self, node: bytes) -> bool:
        found = reading.account_state(self.view, node)
        return found is not None and bool(found.suspended)

    def _react(self, life: FoldedLife, number: int) -> None:
        """As `Life` does: the slash is logged at once, and in force with the next certificate."""
        current = life.names[-1]
        for place, node in enumerate(life.names):
            confirmed = reading.node_probation(self.view, node).confirmed
            if confirmed > life.failures[node]:
                life.failures[node] = confirmed
                if node == current:
                    life.career.failed()
            if self._is_suspended(node):
                life.career.trace.note(b"X", place)
                self._submit(self.papers.slash(node, self._slashes, AMOUNT_MAX))
                self._slashes += 1
        if self._is_suspended(current) and life.career.strategy.renames:
            self._register(life, number)

    def _finish(self) -> None:
        for life in self.lives:
            unvested = 0
            for node in life.names:
                found = reading.account_state(self.view, node)
                if found is None:
                    continue
                unvested = found.unvested_micro
                life.career.tally.income_micro += found.available_micro
                settled = reading.node_standing(self.view, node).settled_micro
                life.career.trace.note(b"E", found.available_micro, unvested, settled)
            life.career.tally.income_micro += unvested

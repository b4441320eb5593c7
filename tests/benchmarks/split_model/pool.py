"""The operator's process: its ledger, the client, the validators, and the two nodes' processes beside it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from creditledger.activations.bf16 import to_bf16_bits
from creditledger.activations.delivered import boundary_key, delivered_root
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel
from creditledger.cli.demonstration import founding
from creditledger.cli.demonstration.cast import Cast, Party
from creditledger.cli.demonstration.chance import stream
from creditledger.cli.demonstration.profiles import span_profiles
from creditledger.cli.demonstration.prompts import prompt_tokens
from creditledger.credits import reading
from creditledger.credits.context import TransparencyVerifier
from creditledger.credits.tariff import levy, span_flops, span_price
from creditledger.ledger.clock import system_clock
from creditledger.ledger.keyring import KeyFile, KeyRole
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.prove import prover
from creditledger.minting.handover import require_handover, sign_handover
from creditledger.records.job import PlanSpan
from creditledger.records.receipt import Handover
from creditledger.records.transfer import Grant
from creditledger.redemption.client_id import new_client_id
from creditledger.redemption.order import Order
from creditledger.redemption.wallet import Wallet
from creditledger.validation.judgement import Judgement
from creditledger.validation.validator import Committed, Validator
from creditledger.validation.validator_key import ValidatorKey
from tests.benchmarks.split_model.kernels import HONEST, NUMPY, TORCH
from tests.benchmarks.split_model.node_process import Crossing, NodeSetup, Service, Work
from tests.benchmarks.split_model.processes import Lines, node_processes

VALIDATORS: Final = 3
ENGINES: Final = (TORCH, NUMPY)
GRANT_MICRO: Final = 10**15


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A job to be done: who runs its two spans, and on what."""

    nodes: tuple[Party, Party]
    tokens: Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A task with its order, logged and held."""

    task: Task
    order: Order


@dataclass(slots=True, kw_only=True)
class SplitPool:
    """A pool of two processes that serve one model between them, and a committee of three."""

    folder: Path
    model: LoadedModel
    spans: tuple[tuple[int, int], tuple[int, int]]
    cheats: Mapping[str, Sequence[str]]
    """By engine: the cheats that its process runs under accounts of their own."""
    seed: int
    tell: Callable[[str], None]
    services: dict[str, tuple[Service, ...]] = field(init=False)
    cast: Cast = field(init=False)
    ledger: Ledger = field(init=False)
    client: Wallet = field(init=False)
    validators: list[Validator] = field(init=False)
    lines: Lines = field(init=False)
    judgements: list[tuple[bytes, Judgement]] = field(default_factory=list)
    """What validators of this pool came to, each by running a span again, with the receipt's digest."""
    _opened: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "SplitPool":
        try:
            self._found()
            setups = [self._setup(number, engine) for number, engine in enumerate(ENGINES)]
            self.lines = self._opened.enter_context(node_processes(setups, self.ledger))
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def party(self, engine: str, cheat: str = HONEST) -> Party:
        """The account that runs ``cheat`` in a process."""
        return next(one.party for one in self.services[engine] if one.cheat == cheat)

    def prompt(self, name: str, positions: int) -> list[int]:
        """Tokens of a passage that nobody else asks for."""
        return prompt_tokens(self.model, positions, draw=stream(self.seed, f"prompt {name}"))

    def run(self, tasks: Sequence[Task]) -> list[Order]:
        """Everything from the orders to the pay: each job is worked, countersigned, checked and settled."""
        jobs = [self._ordered(task) for task in tasks]
        self.certify()
        delivered = list(self._work(jobs))
        for flushed in self.lines.flush():
            if flushed.refused or flushed.waiting or flushed.failures:
                raise RuntimeError(f"a node could not mint: {flushed}")
        for job, outputs in zip(jobs, delivered, strict=True):
            self.client.confirm(job.order, outputs)
        self.settle()
        return [job.order for job in jobs]

    def settle(self) -> None:
        """A round over everything; what it asks of validators is done, and what is then due is paid."""
        self.certify()
        self._check()
        self.ledger.settle_due()

    def certify(self) -> None:
        """Close a round over everything; each validator attests it on its own replica."""
        self.ledger.publish()
        self.ledger.close_round()
        for validator in self.validators:
            validator.step()
        self.ledger.certify()
        self.ledger.publish()

    def size(self) -> tuple[int, int]:
        """Entries in the log, and rounds certified."""
        with self.ledger.read() as state:
            latest = reading.latest_certified_round(state)
        return self.ledger.size, 0 if latest is None else latest.round.number

    def _check(self) -> None:
        """All due spans are run again; verdicts are committed to, then shown."""
        while actions := [action for validator in self.validators for action in validator.step()]:
            for one in actions:
                self.judgements += one.judgements.items() if isinstance(one, Committed) else ()

    def _ordered(self, task: Task) -> Job:
        plan = [
            PlanSpan(layer_start=start, layer_stop=stop, node=party.account)
            for (start, stop), party in zip(self.spans, task.nodes, strict=True)
        ]
        positions = len(task.tokens)
        price = sum(self.prices(positions))
        order = self.client.order(self.model.description.digest, plan, positions, price)
        return Job(task=task, order=order)

    def prices(self, positions: int) -> list[int]:
        """What each span of one job costs."""
        terms = founding.model_terms(self.model.description)
        return [
            span_price(terms, span_flops(terms, stop - start, 0, positions)) for start, stop in self.spans
        ]

    def nets(self, positions: int) -> list[int]:
        """What each span's node gets of that."""
        with self.ledger.read() as state:
            levy_ppm = reading.parameters_in_force(state).levy_ppm
        return [price - levy(price, levy_ppm) for price in self.prices(positions)]

    def _work(self, jobs: Sequence[Job]) -> Iterator[dict[int, Any]]:
        """The rows that the client saw at each boundary, job by job; two jobs are under way at a time."""
        with prover(self.ledger) as prove:
            holds = [prove.hold(_hold_digest(job, self.ledger)) for job in jobs]
        sent: list[Any] = []
        for number, (job, hold) in enumerate(zip(jobs, holds, strict=True)):
            sent.append(self._send(job, hold))
            if number:
                yield self._received(jobs[number - 1], sent[number - 1])
        if jobs:
            yield self._received(jobs[-1], sent[-1])

    def _send(self, job: Job, hold: bytes) -> Any:
        rows = to_bf16_bits(self.model.embedding(job.task.tokens))
        works = [
            Work(node=party.account, order=job.order.work_order(start).encode(), hold=hold)
            for (start, _), party in zip(self.spans, job.task.nodes, strict=True)
        ]
        word = Handover(
            job=job.order.job.digest(self.ledger.id),
            sender=self.client.account,
            boundary=self.spans[0][0],
            window_start=0,
            positions=len(rows),
            root=self._root(job, rows, self.spans[0][0]),
        )
        key = self.cast.client.key.ed25519()
        signed = sign_handover(word, key=key, ledger_id=self.ledger.id)
        self.lines.send(works, Crossing(rows=rows, handover=signed))
        return rows

    def _received(self, job: Job, rows: Any) -> dict[int, Any]:
        """The answer, if the last node signed for it."""
        answer = self.lines.answer()
        stop = self.spans[-1][1]
        require_handover(
            answer.handover,
            ledger_id=self.ledger.id,
            job=job.order.job.digest(self.ledger.id),
            sender=job.task.nodes[-1].account,
            boundary=stop,
            window_start=0,
            root=self._root(job, answer.rows, stop),
        )
        return {self.spans[0][0]: rows, stop: answer.rows}

    def _root(self, job: Job, rows: Any, boundary: int) -> bytes:
        return delivered_root(rows, boundary_key=boundary_key(job.order.secret, boundary), first_position=0)

    def _found(self) -> None:
        place = self.folder / "ledger"
        self.services = {
            engine: tuple(
                Service(party=self._party(place, KeyRole.NODE, f"{engine}-{cheat or 'honest'}"), cheat=cheat)
                for cheat in (HONEST, *self.cheats.get(engine, ()))
            )
            for engine in ENGINES
        }
        self.cast = Cast(
            client=self._party(place, KeyRole.CLIENT, "client"),
            queue=self._party(place, KeyRole.QUEUE, "queue"),
            nodes=tuple(one.party for services in self.services.values() for one in services),
            operator=self._key(KeyRole.OPERATOR, "operator"),
            log=self._key(KeyRole.LOG, "log"),
            witness=self._key(KeyRole.WITNESS, "witness"),
            validators=tuple(self._key(KeyRole.VALIDATOR, f"validator-{n}") for n in range(VALIDATORS)),
        )
        description = self.model.description
        profiles = span_profiles(
            self.model, self.spans, progress=lambda done, all_: self.tell(f"calibrate: {done} of {all_}")
        )
        self.ledger = founding.found_pool(place, self.cast, description, profiles, system_clock)
        self._opened.callback(self.ledger.close)
        for party in self.cast.parties:
            founding.register(self.ledger, party)
        verifier = TransparencyVerifier()
        self.validators = [self._validator(number, verifier) for number in range(VALIDATORS)]
        grant = Grant(
            id=new_client_id(now_unix_ms=system_clock(), random_bytes=stream(self.seed, "grant")),
            account=self.cast.client.account,
            amount_micro=GRANT_MICRO,
            reason="allocation",
        )
        self.ledger.append(self.ledger.sign(grant))
        for _ in range(2):
            self.certify()
        self.client = Wallet(self.ledger, key=self.cast.client.file, random_bytes=stream(self.seed, "wallet"))

    def _validator(self, number: int, verifier: TransparencyVerifier) -> Validator:
        path = self.ledger.directory.keys / f"validator-{number}.key"
        validator = Validator(
            self.ledger,
            key=ValidatorKey.load(path, ledger_id=self.ledger.id),
            runner=NumpyLlama(self.model),
            journal=self.folder / "journals" / f"validator-{number}",
            random_bytes=stream(self.seed, f"validator {number}"),
            verifier=verifier,
        )
        self._opened.callback(validator.close)
        return validator

    def _setup(self, number: int, engine: str) -> NodeSetup:
        return NodeSetup(
            engine=engine,
            span=self.spans[number],
            ledger=self.ledger.path,
            outboxes=self.folder / "outboxes",
            services=self.services[engine],
            seed=self.seed,
        )

    def _party(self, place: Path, role: KeyRole, name: str) -> Party:
        return Party(name=name, role=role, key=self._key(role, name), file=place / "keys" / f"{name}.key")

    def _key(self, role: KeyRole, name: str) -> KeyFile:
        return KeyFile.new(role, random_bytes=stream(self.seed, f"key of {name}"))


def _hold_digest(job: Job, ledger: Ledger) -> bytes:
    with ledger.read() as view:
        progress = reading.job_status(view, job.order.job.digest(ledger.id))
    return b"" if progress is None else progress.hold

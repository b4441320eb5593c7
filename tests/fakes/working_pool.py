"""A pool that works: a real ledger on disk, a tiny model that really runs, nodes honest and not."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np

from creditledger.activations.delivered import boundary_key
from creditledger.activations.model import ModelShape
from creditledger.activations.runners.degraded import degrade_model
from creditledger.activations.runners.numerics import FUSED, YARDSTICK, Numerics
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel
from creditledger.activations.sealing import AuditKey
from creditledger.credits import reading
from creditledger.credits.context import TransparencyVerifier
from creditledger.ledger.ledger import Ledger
from creditledger.minting.minter import Minter
from creditledger.minting.work_order import WorkOrder
from creditledger.records.job import Job, PlanSpan
from creditledger.records.parameters import Member, ModelTerms, Parameters, ProfileTerms
from creditledger.records.receipt import Receipt
from creditledger.records.registration import Role
from creditledger.records.state import ReceiptState
from creditledger.transparency.bls import BlsSigner, key_from_seed
from creditledger.transparency.keys import Ed25519Signer
from creditledger.validation.validator import Action, Validator
from creditledger.validation.validator_key import ValidatorKey
from fakes.cast import HOUR_MS, START_MS, Papers, ed25519, fake_id, pool_parameters
from fakes.committee import fake_digest
from fakes.tiny_llama import SHAPE, inputs_of, profile_of, tiny_llama

Spans = tuple[tuple[int, int], ...]
SPANS: Spans = ((0, 2), (2, 4))
Kernel = Callable[[np.ndarray, int, int], np.ndarray]
"""What a node runs: input rows, layer_start, layer_stop; output rows."""


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now: int = START_MS) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


class CountedBytes:
    """Random bytes that every run repeats and no call does."""

    def __init__(self, tag: str) -> None:
        self._tag = tag
        self._calls = 0

    def __call__(self, count: int) -> bytes:
        self._calls += 1
        return hashlib.shake_128(f"{self._tag} {self._calls}".encode()).digest(count)


@lru_cache(maxsize=8)
def validator_signer(index: int) -> BlsSigner:
    """The BLS key of validator ``index``."""
    return BlsSigner(key_from_seed(fake_digest("working validator", index)))


@lru_cache(maxsize=8)
def _member(index: int) -> Member:
    signer = validator_signer(index)
    return Member(
        bls_key=signer.public_key,
        proof_of_possession=signer.proof_of_possession(),
        audit_key=audit_key(index).public_key,
    )


def audit_key(index: int) -> AuditKey:
    """The X25519 key of validator ``index``."""
    return AuditKey(fake_digest("audit secret", index))


def validator_key(index: int) -> ValidatorKey:
    """Both keys of validator ``index``."""
    return ValidatorKey(bls=validator_signer(index), audit=audit_key(index))


class RememberingLlama(NumpyLlama):
    """Runs everything once: most tests ask for the same few rows."""

    def __init__(self, model: LoadedModel) -> None:
        super().__init__(model)
        self._known: dict[tuple[object, ...], np.ndarray] = {}

    def run(self, inputs: np.ndarray, *, numerics: Numerics, **span: int) -> np.ndarray:
        name = (hashlib.sha256(inputs.tobytes()).digest(), numerics.name, *sorted(span.items()))
        if name not in self._known:
            self._known[name] = super().run(inputs, numerics=numerics, **span)
        return self._known[name].copy()


class WorkingModel:
    """The tiny model with its profiles: made once for a test session, it costs a second."""

    def __init__(self, folder: Path, *, shape: ModelShape = SHAPE, spans: Spans = SPANS) -> None:
        self.model: LoadedModel = tiny_llama(folder, shape=shape)
        self.spans = spans
        self.runner = RememberingLlama(self.model)
        self.profiles = {
            stop: profile_of(self.model, layer_start=start, layer_stop=stop) for start, stop in spans
        }

    @cached_property
    def terms(self) -> ModelTerms:
        shape = self.model.description.shape
        return ModelTerms(
            model=self.model.description.digest,
            name="tiny-llama",
            layers=shape.layers,
            hidden=shape.hidden,
            ff=shape.ff,
            heads=shape.heads,
            kv_heads=shape.kv_heads,
            head_dim=shape.head_dim,
            micro_per_tflop=10**10,
        )

    def honest(self, inputs: np.ndarray, layer_start: int, layer_stop: int) -> np.ndarray:
        """A fused kernel: other rounding points than the validator's, and as good."""
        return self.runner.run(inputs, layer_start=layer_start, layer_stop=layer_stop, numerics=FUSED)

    def degraded(self, kind: str) -> Kernel:
        """int8, int4 or skip."""

        def run(inputs: np.ndarray, layer_start: int, layer_stop: int) -> np.ndarray:
            cheat = degrade_model(self.model, kind, layer_start=layer_start, layer_stop=layer_stop)
            span = {"layer_start": layer_start, "layer_stop": layer_stop}
            return NumpyLlama(cheat).run(inputs, numerics=YARDSTICK, **span)

        return run

    def noise(self, inputs: np.ndarray, layer_start: int, layer_stop: int) -> np.ndarray:
        """Nothing was run at all."""
        return inputs_of(self.model.description.shape, len(inputs), seed=77)

    def replayed(self, inputs: np.ndarray, layer_start: int, layer_stop: int) -> np.ndarray:
        """The honest answer to another question."""
        return self.honest(inputs_of(SHAPE, len(inputs), seed=78), layer_start, layer_stop)


class WorkingPool:
    """A ledger with a committee, a client with credits and two nodes, ready to work."""

    def __init__(self, folder: Path, model: WorkingModel, *, validators: int = 2, **changes: object) -> None:
        self.folder = folder
        self.model = model
        self.clock = SetClock()
        self.verifier = TransparencyVerifier()
        self.client = ed25519("client")
        self.nodes = [ed25519("node 0"), ed25519("node 1")]
        self.ledger = Ledger.create(
            folder / "ledger",
            origin="pool.example/working",
            operator=ed25519("operator"),
            parameters=self._parameters(validators, changes),
            profiles=[profile.encode() for profile in self._ordered_profiles],
            witness=ed25519("witness"),
            clock=self.clock,
        )
        self.papers = Papers(genesis=self.ledger.genesis)
        self._validators = {index: self.validator(index) for index in range(validators)}
        self._register()

    @property
    def _ordered_profiles(self) -> list:
        return [self.model.profiles[stop] for _, stop in self.model.spans]

    def _parameters(self, validators: int, changes: Mapping[str, object]) -> Parameters:
        digest = self.model.terms.model
        profiles = tuple(
            ProfileTerms(model=digest, layer_stop=profile.layer_stop, profile=profile.digest)
            for profile in self._ordered_profiles
        )
        base = pool_parameters(members=1, models=(self.model.terms,), profiles=profiles)
        members = tuple(_member(index) for index in range(validators))
        return base.replace(**({"committee": members, "quorum": validators} | changes))

    def _register(self) -> None:
        papers, append = self.papers, self.ledger.append
        append(papers.registration(self.client, "client", Role.CLIENT))
        for index, node in enumerate(self.nodes):
            append(papers.registration(node, f"node-{index}", Role.NODE))
        append(papers.grant(self.client.public_key, 10**9))
        self.ledger.complete_round({i: validator_key(i).bls for i in self._validators})

    def validator(self, index: int, **changes: object) -> Validator:
        """Validator ``index``; ``changes`` replace its arguments."""
        arguments: dict = {
            "key": validator_key(index),
            "runner": self.model.runner,
            "journal": self.folder / f"journal-{index}",
            "clock": self.clock,
            "random_bytes": CountedBytes(f"validator {index}"),
            "verifier": self.verifier,
        }
        return Validator(changes.pop("source", self.ledger), **(arguments | changes))

    def minter(self, index: int, **changes: object) -> Minter:
        """Node ``index``'s minter."""
        arguments: dict = {
            "key": self.nodes[index],
            "model": self.model.model.description,
            "clock": self.clock,
            "random_bytes": CountedBytes(f"node {index}"),
        }
        return Minter(self.ledger, **(arguments | changes))

    def order(self, *, tag: object = 0, positions: int = 256, spans: Spans | None = None) -> Job:
        """A logged and held job: one span a node."""
        spans = spans or self.model.spans
        plan = tuple(
            PlanSpan(layer_start=start, layer_stop=stop, node=node.public_key)
            for (start, stop), node in zip(spans, self.nodes, strict=False)
        )
        with self.ledger.read() as state:
            parameters = reading.parameters_digest(state)
        job = Job(
            id=fake_id("job", tag),
            client=self.client.public_key,
            model=self.model.terms.model,
            plan=plan,
            max_positions=positions,
            max_price_micro=10**8,
            hold_id=fake_id("hold of job", tag),
            parameters=parameters,
            expires_unix_ms=self.clock.now + HOUR_MS,
        )
        self.ledger.append(self.papers.signed(self.client, job))
        self.ledger.append(self.papers.job_hold(self.client, job))
        return job

    def work_order(self, job: Job, layer_start: int) -> WorkOrder:
        """What the client gives the node of one span."""
        secret = fake_digest("secret", job.id)
        span = job.span_of(layer_start)
        return WorkOrder(
            job=job,
            layer_start=layer_start,
            input_key=boundary_key(secret, layer_start),
            output_key=boundary_key(secret, span.layer_stop),
        )

    def run(
        self,
        job: Job,
        *,
        positions: int = 256,
        inputs: np.ndarray | None = None,
        kernels: Mapping[int, Kernel] | None = None,
        minters: Mapping[int, Minter] | None = None,
        flush: bool = True,
    ) -> dict[int, list[Receipt]]:
        """Both nodes run their spans in a row; ``kernels`` by node replace the honest one.

        ``inputs``: what enters the first span; by default ``positions`` rows of noise."""
        rows = inputs_of(self.model.model.description.shape, positions, seed=5) if inputs is None else inputs
        receipts: dict[int, list[Receipt]] = {}
        for index, span in enumerate(job.plan):
            kernel = (kernels or {}).get(index, self.model.honest)
            outputs = kernel(rows, span.layer_start, span.layer_stop)
            minter = (minters or {}).get(index) or self.minter(index)
            with minter.session(self.work_order(job, span.layer_start)) as session:
                session.record(inputs=rows, outputs=outputs, positions=range(len(rows)))
            receipts[index] = session.receipts
            if flush:
                minter.flush()
            rows = outputs
        return receipts

    def deliver(self, receipts: Mapping[int, Sequence[Receipt]]) -> None:
        """The client accepts every span's last receipt and closes the job."""
        heads = [chain[-1] for _, chain in sorted(receipts.items())]
        self.ledger.append(self.papers.delivery(self.client, heads))

    def step(self, *indexes: int) -> list[Action]:
        """One step of each validator, or of those named."""
        chosen = indexes or tuple(self._validators)
        return [action for index in chosen for action in self._validators[index].step()]

    def certify(self) -> None:
        """A round over everything, attested by all validators, certified."""
        self.ledger.close_round()
        self.step()
        self.ledger.certify()

    def check(self) -> list[Action]:
        """Everything from a round to the last reveal."""
        self.certify()
        return [*self.step(), *self.step(), *self.step()]

    def receipt_state(self, receipt: Receipt) -> ReceiptState:
        with self.ledger.read() as state:
            found = reading.receipt_state(state, receipt.digest(self.ledger.id))
        assert found is not None
        return found

    def unvested(self, node: Ed25519Signer) -> int:
        with self.ledger.read() as state:
            return reading.account_state(state, node.public_key).unvested_micro

    def close(self) -> None:
        for validator in self._validators.values():
            validator.close()
        self.ledger.close()

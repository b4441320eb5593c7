"""Small real ledgers for tests: one validator, one local witness, a clock that is told the time."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from creditledger.credits import reading
from creditledger.ledger.founding import create, default_parameters, member_of
from creditledger.ledger.keyring import KeyFile, KeyRole
from creditledger.ledger.ledger import OPERATOR_KEY, WITNESS_KEY, Ledger
from creditledger.ledger.operator_keys import NEXT_OPERATOR_KEY
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import Submission
from creditledger.records.job import Job, PlanSpan
from creditledger.records.parameters import Member, ModelTerms, Parameters
from creditledger.records.receipt import BF16_NUMERICS, Batch, OutputKind, Receipt
from creditledger.records.record import Record
from creditledger.records.registration import Registration, Role
from creditledger.records.transfer import Grant, Hold
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes

START_MS = 1_750_000_000_000
ORIGIN = "pool.example/test"
MODEL = ModelTerms(
    model=hashlib.sha256(b"model").digest(),
    name="tiny",
    layers=4,
    hidden=64,
    ff=128,
    heads=4,
    kv_heads=2,
    head_dim=16,
    micro_per_tflop=1_000_000,
)


@dataclass(slots=True)
class FixedClock:
    """Says what it is told."""

    now: int = START_MS

    def __call__(self) -> int:
        return self.now


def seed(name: str) -> bytes:
    """32 bytes that belong to ``name``."""
    return hashlib.sha256(name.encode()).digest()


def signer(name: str) -> Ed25519Signer:
    """The key of a party."""
    return Ed25519Signer(seed(name))


OPERATOR = KeyFile(role=KeyRole.OPERATOR, secret=seed("operator"))
NEXT_OPERATOR = KeyFile(role=KeyRole.OPERATOR, secret=seed("next operator"))
WITNESS = KeyFile(role=KeyRole.WITNESS, secret=seed("witness"))
VALIDATOR = KeyFile(role=KeyRole.VALIDATOR, secret=b"\0" + seed("validator")[1:], audit_secret=seed("audit"))


@lru_cache(maxsize=1)
def validator_seat() -> Member:
    """Proving possession takes half a second: once is enough."""
    return member_of(VALIDATOR)


def pool_parameters() -> Parameters:
    """The defaults, with one validator and one model."""
    return default_parameters([validator_seat()], quorum=1).replace(models=(MODEL,))


def found(
    path: Path,
    clock: FixedClock | None = None,
    *,
    is_committed: bool = False,
    store: str | None = None,
    **changes: object,
) -> Ledger:
    """A ledger with all its keys, founded and open; ``is_committed``: its operator may rotate."""
    keys = {OPERATOR_KEY: OPERATOR, WITNESS_KEY: WITNESS, "validator-0.key": VALIDATOR}
    if is_committed:
        keys[NEXT_OPERATOR_KEY] = NEXT_OPERATOR
    return create(
        path,
        origin=ORIGIN,
        operator=OPERATOR.ed25519(),
        parameters=pool_parameters().replace(**changes),  # type: ignore[arg-type]
        witness=WITNESS.ed25519(),
        keys=keys,
        store=store,
        clock=clock or FixedClock(),
    )


def signed(ledger_id: bytes, record: Record, key: Ed25519Signer, *bodies: bytes) -> Submission:
    """A submission by ``key``."""
    return Submission(record=record, signature=key.sign(record.signing_bytes(ledger_id)), bodies=bodies)


def registration(ledger_id: bytes, name: str, role: Role = Role.CLIENT) -> Submission:
    """The party ``name`` registers."""
    key = signer(name)
    record = Registration(account=key.public_key, role=role, name=name, next_key=ZERO_DIGEST, admission=b"")
    return signed(ledger_id, record, key)


def grant(ledger_id: bytes, name: str, amount: int, number: int = 0) -> Submission:
    """The operator grants ``amount`` to the party ``name``."""
    record = Grant(
        id=number.to_bytes(16, "big"), account=signer(name).public_key, amount_micro=amount, reason="test"
    )
    return signed(ledger_id, record, OPERATOR.ed25519())


def fill(ledger: Ledger, size: int) -> None:
    """Grants to a party called ``filler`` until the log has ``size`` entries; not published."""
    if ledger.size < size:
        ledger.append(registration(ledger.id, "filler"))
    ledger.submit([grant(ledger.id, "filler", 1, number) for number in range(ledger.size, size)])
    if ledger.size != size:
        raise ValueError(f"the log has {ledger.size} entries, not {size}")


@dataclass(slots=True)
class Work:
    """A funded client, a node and a job under a hold; makes the node's batches."""

    ledger: Ledger
    positions: int = 65_536
    expires_unix_ms: int = START_MS + 10**9
    job: bytes = b""
    heads: list[bytes] = field(default_factory=lambda: [ZERO_DIGEST])
    number: int = 0
    """Of several on one ledger: each has its own client, node and job."""

    def _name(self, role: str) -> str:
        return f"{role}-{self.number}" if self.number else role

    def begin(self) -> None:
        """Register, fund, order, hold."""
        ledger = self.ledger
        for name, role in (("client", Role.CLIENT), ("node", Role.NODE)):
            ledger.append(registration(ledger.id, self._name(name), role))
        ledger.append(grant(ledger.id, self._name("client"), 10**9, number=1_000_000 + self.number))
        ledger.complete_round()
        with ledger.read() as state:
            in_force = reading.parameters_digest(state)
        client = signer(self._name("client"))
        job = Job(
            id=self.number.to_bytes(16, "big"),
            client=client.public_key,
            model=MODEL.model,
            plan=(PlanSpan(layer_start=0, layer_stop=4, node=signer(self._name("node")).public_key),),
            max_positions=self.positions,
            max_price_micro=10**8,
            hold_id=(b"\1" * 16) if not self.number else self.number.to_bytes(16, "little"),
            parameters=in_force,
            expires_unix_ms=self.expires_unix_ms,
        )
        ledger.append(signed(ledger.id, job, client))
        self.job = job.digest(ledger.id)
        hold = Hold(
            id=job.hold_id,
            holder=client.public_key,
            amount_micro=job.max_price_micro,
            job=self.job,
            queue=ZERO_DIGEST,
            hardware="job",
            gpus=0,
            duration_ms=0,
            micro_per_gpu_second=0,
            expires_unix_ms=job.expires_unix_ms,
        )
        ledger.append(signed(ledger.id, hold, client))

    def batch(self, count: int = 2, *, sealed: bytes = b"sealed sketches") -> Submission:
        """The node's next ``count`` receipts."""
        receipts = []
        for _ in range(count):
            receipt = self._receipt(256 * (len(self.heads) - 1))
            self.heads.append(receipt.digest(self.ledger.id))
            receipts.append(receipt.encode())
        batch = Batch(
            node=signer(self._name("node")).public_key,
            root=root_from_leaf_hashes(leaf_hash(receipt) for receipt in receipts),
            count=count,
            sealed=hashlib.sha256(sealed).digest(),
            audit_epoch=0,
        )
        return signed(self.ledger.id, batch, signer(self._name("node")), *receipts, sealed)

    def _receipt(self, window_start: int) -> Receipt:
        return Receipt(
            job=self.job,
            node=signer(self._name("node")).public_key,
            layer_start=0,
            layer_stop=4,
            window_start=window_start,
            positions=256,
            input_root=seed("input"),
            output_root=seed("output"),
            sketch=seed("sketch"),
            previous=self.heads[-1],
            model=MODEL.model,
            numerics=BF16_NUMERICS,
            output_kind=OutputKind.ACTIVATIONS,
            sampler=ZERO_DIGEST,
            started_unix_ms=START_MS,
            duration_ms=5,
        )


def working(ledger: Ledger) -> Work:
    """`Work` that has begun."""
    work = Work(ledger)
    work.begin()
    return work

"""A one-person pool on disk with a client, two queues and a node, for what credits buy."""

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from creditledger.credits import reading
from creditledger.ledger.founding import create, default_parameters, member_of
from creditledger.ledger.keyring import KeyFile, KeyRole, save_key
from creditledger.ledger.ledger import Ledger
from creditledger.records.entry import Submission
from creditledger.records.parameters import ModelTerms, Parameters
from creditledger.records.record import Record
from creditledger.records.registration import Registration, Role
from creditledger.records.state import HoldState
from creditledger.records.transfer import Grant, Quote
from creditledger.redemption.quote import make_quote
from creditledger.redemption.wallet import HeldVoucher, Wallet
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.trust_policy import TrustPolicy

GRANTED = 1_000_000_000_000
QUOTE_VALID_MS = 3_600_000
MODEL = bytes.fromhex("ab" * 32)
CLIENT, QUEUE, OTHER_QUEUE, NODE = (Ed25519Signer(bytes([seed]) * 32) for seed in (1, 2, 3, 4))
RecordT = TypeVar("RecordT", bound=Record)
_ACCOUNTS = ((CLIENT, Role.CLIENT, "alice"), (QUEUE, Role.QUEUE, "gpus"), (OTHER_QUEUE, Role.QUEUE, "more"))


@dataclass
class MovableClock:
    """Real time plus what a test has added to it."""

    ahead_ms: int = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


def counted_bytes(seed: int = 0) -> Callable[[int], bytes]:
    """Bytes that never repeat, the same in every run."""
    numbers = itertools.count(seed * 1_000_003 + 1)
    return lambda size: next(numbers).to_bytes(8, "big").rjust(size, b"\x5a")[-size:]


@dataclass
class RedeemingPool:
    """Paths and actors. Nothing is held open, so any number of processes may join in."""

    path: Path
    clock: MovableClock = field(default_factory=MovableClock)
    random_bytes: Callable[[int], bytes] = field(default_factory=counted_bytes)

    @classmethod
    def found(cls, folder: Path, *, origin: str = "example.org/pool") -> "RedeemingPool":
        """Create, register everybody, grant the client its credits, certify."""
        pool = cls(folder / "pool")
        keys = {role: KeyFile.new(role, random_bytes=counted_bytes(len(role.value))) for role in KeyRole}
        parameters = with_model(default_parameters([member_of(keys[KeyRole.VALIDATOR])], quorum=1))
        ledger = create(
            pool.path,
            origin=origin,
            operator=keys[KeyRole.OPERATOR].ed25519(),
            parameters=parameters,
            witness=keys[KeyRole.WITNESS].ed25519(),
            keys={
                "operator.key": keys[KeyRole.OPERATOR],
                "witness-local.key": keys[KeyRole.WITNESS],
                "validator-0.key": keys[KeyRole.VALIDATOR],
            },
            clock=pool.clock,
        )
        with closing(ledger):
            for signer, role, name in (*_ACCOUNTS, (NODE, Role.NODE, "worker")):
                registration = Registration(
                    account=signer.public_key, role=role, name=name, next_key=bytes(32), admission=b""
                )
                ledger.append(signed(registration, signer, ledger.id))
            grant = Grant(id=bytes(16), account=CLIENT.public_key, amount_micro=GRANTED, reason="start")
            ledger.append(ledger.sign(grant))
            ledger.complete_round()
        save_key(folder / "queue.key", KeyFile(role=KeyRole.QUEUE, secret=bytes([2]) * 32))
        return pool

    def open(self) -> Ledger:
        return Ledger.open(self.path, clock=self.clock)

    def wallet(self, ledger: Ledger | None = None) -> Wallet:
        return Wallet(ledger or self.path, key=CLIENT, clock=self.clock, random_bytes=self.random_bytes)

    def policy(self) -> TrustPolicy:
        return TrustPolicy.load(self.path / "policy")

    def certify(self) -> None:
        with self.open() as ledger:
            ledger.complete_round()

    def parameters(self) -> tuple[Parameters, bytes]:
        with Ledger.open(self.path, read_only=True) as ledger, ledger.read() as view:
            return reading.parameters_in_force(view), ledger.id

    def quote(self, *, gpus: int = 1, duration_ms: int = 10_000, hardware: str = "h100") -> Quote:
        parameters, ledger_id = self.parameters()
        return make_quote(
            parameters,
            ledger_id,
            queue=QUEUE.public_key,
            hardware=hardware,
            gpus=gpus,
            duration_ms=duration_ms,
            now_unix_ms=self.clock(),
            valid_ms=QUOTE_VALID_MS,
        )

    def hold(self, *, gpus: int = 1, duration_ms: int = 10_000, hardware: str = "h100") -> HeldVoucher:
        return self.wallet().hold(self.quote(gpus=gpus, duration_ms=duration_ms, hardware=hardware))

    def voucher(self, *, gpus: int = 1, duration_ms: int = 10_000, hardware: str = "h100") -> bytes:
        held = self.hold(gpus=gpus, duration_ms=duration_ms, hardware=hardware)
        self.certify()
        return held.voucher

    def hold_state(self, hold: bytes) -> HoldState:
        with Ledger.open(self.path, read_only=True) as ledger, ledger.read() as view:
            found = reading.hold_state(view, hold)
        if found is None:
            raise LookupError(hold.hex())
        return found

    def records(self, *kinds: type[RecordT]) -> list[RecordT]:
        """All logged records of these kinds, in order."""
        with Ledger.open(self.path, read_only=True) as ledger:
            entries = [ledger.entry(index) for index in range(ledger.size)]
        return [entry.record for entry in entries if isinstance(entry.record, kinds)]


def signed(
    record: Record, signer: Ed25519Signer, ledger_id: bytes, bodies: Sequence[bytes] = ()
) -> Submission:
    signature = signer.sign(record.signing_bytes(ledger_id))
    return Submission(record=record, signature=signature, bodies=tuple(bodies))


def with_model(parameters: Parameters) -> Parameters:
    """The same rules with one model of 12 layers in them."""
    terms = ModelTerms(
        model=MODEL,
        name="tiny",
        layers=12,
        hidden=8,
        ff=16,
        heads=2,
        kv_heads=1,
        head_dim=4,
        micro_per_tflop=10**12,
    )
    return parameters.replace(models=(terms,))

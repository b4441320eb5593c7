"""The movements of credits. Every id is made by its signer and scoped to it. Source: specs/records.md §12."""

from enum import IntEnum
from typing import ClassVar

from creditledger.errors import MalformedRecordError
from creditledger.quantities import (
    ZERO_DIGEST,
    AccountId,
    BlsPublicKey,
    ClientId,
    Count,
    Digest,
    GpuMillisecond,
    LayerIndex,
    MicroCredit,
    Millisecond,
    Name,
    Position,
    RoundNumber,
    UnixMillisecond,
)
from creditledger.records import canonical
from creditledger.records.kinds import Kind
from creditledger.records.record import Fields, Record


class Grant(Record):
    """Credits enter an account. By the operator; in effect with the first round certified over it."""

    KIND: ClassVar[Kind] = Kind.GRANT

    id: ClientId
    account: AccountId
    amount_micro: MicroCredit
    reason: Name


class CreditLine(Record):
    """How far below zero an account may go. By the operator; in effect like a grant."""

    KIND: ClassVar[Kind] = Kind.CREDIT_LINE

    id: ClientId
    account: AccountId
    limit_micro: MicroCredit


class Transfer(Record):
    """From one account's available credits to another's. Signed by the payer."""

    KIND: ClassVar[Kind] = Kind.TRANSFER

    id: ClientId
    payer: AccountId
    payee: AccountId
    amount_micro: MicroCredit

    def check_rules(self) -> None:
        if self.payer == self.payee or self.amount_micro == 0:
            raise MalformedRecordError("a transfer moves something from one account to another")


class HoldPurpose(IntEnum):
    """A hold covers exactly one job or one voucher."""

    JOB = 1
    VOUCHER = 2


class Quote(Record):
    """The price of GPU time under the parameters in force; what is charged is the same function."""

    KIND: ClassVar[Kind] = Kind.QUOTE

    queue: AccountId
    hardware: Name
    gpus: Count
    duration_ms: Millisecond
    micro_per_gpu_second: MicroCredit
    amount_micro: MicroCredit
    parameters: Digest
    expires_unix_ms: UnixMillisecond


class Hold(Record):
    """Credits set aside for one job (of that digest) or one voucher (at that queue)."""

    KIND: ClassVar[Kind] = Kind.HOLD

    id: ClientId
    holder: AccountId
    amount_micro: MicroCredit
    job: Digest
    """The job it covers; zero for a voucher."""
    queue: AccountId
    """The one queue that may capture it; zero for a job."""
    hardware: Name
    """``job`` for a job; else the hardware class."""
    gpus: Count
    duration_ms: Millisecond
    micro_per_gpu_second: MicroCredit
    expires_unix_ms: UnixMillisecond

    def check_rules(self) -> None:
        if (self.job == ZERO_DIGEST) == (self.queue == ZERO_DIGEST):
            raise MalformedRecordError("a hold names exactly one job or one queue")
        if self.amount_micro == 0:
            raise MalformedRecordError("a hold holds something", expected="amount above 0")

    @property
    def purpose(self) -> HoldPurpose:
        """What the hold is for."""
        return HoldPurpose.JOB if self.queue == ZERO_DIGEST else HoldPurpose.VOUCHER

    @property
    def signer(self) -> AccountId:
        """Whose key signs it, and whose id `id` is."""
        return self.holder


class DelegatedHold(Hold):
    """A voucher's hold that somebody else makes for the holder, within what the holder delegated."""

    KIND: ClassVar[Kind] = Kind.DELEGATED_HOLD

    delegate: AccountId
    """Who signs this, and whose id `id` is."""

    def check_rules(self) -> None:
        Hold.check_rules(self)
        if self.purpose is not HoldPurpose.VOUCHER or self.delegate == self.holder:
            raise MalformedRecordError("a delegate holds for somebody else, at a queue")

    @property
    def signer(self) -> AccountId:
        """Whose key signs it, and whose id `id` is."""
        return self.delegate


def decode_hold(encoded: bytes) -> Hold:
    """The hold, its holder's or a delegate's, that these bytes spell. Raises MalformedRecordError."""
    values = canonical.decode(encoded)
    is_delegated = isinstance(values, list) and values[:1] == [int(Kind.DELEGATED_HOLD)]
    return (DelegatedHold if is_delegated else Hold).from_values(values)


class Capture(Record):
    """The queue takes what was used, once, up to what is held."""

    KIND: ClassVar[Kind] = Kind.CAPTURE

    id: ClientId
    hold: Digest
    queue: AccountId
    gpu_ms: GpuMillisecond
    amount_micro: MicroCredit


class Release(Record):
    """The queue gives back the rest and ends the hold."""

    KIND: ClassVar[Kind] = Kind.RELEASE

    id: ClientId
    hold: Digest
    queue: AccountId
    reason: Name


class Expire(Record):
    """The operator logs that a hold's expiry and grace have passed; the rest goes back."""

    KIND: ClassVar[Kind] = Kind.EXPIRE

    hold: Digest


class Refund(Record):
    """The queue gives back captured credits, never more than it captured."""

    KIND: ClassVar[Kind] = Kind.REFUND

    id: ClientId
    capture: Digest
    queue: AccountId
    amount_micro: MicroCredit
    reason: Name


class Slash(Record):
    """Unvested credits of a node are burned. In effect like a grant."""

    KIND: ClassVar[Kind] = Kind.SLASH

    id: ClientId
    node: AccountId
    amount_micro: MicroCredit
    reason: Name


class Clawback(Record):
    """Unvested pay of one job goes back to its client. By the operator; in effect like a slash."""

    KIND: ClassVar[Kind] = Kind.CLAWBACK

    id: ClientId
    job: Digest
    node: AccountId
    layer_start: LayerIndex
    amount_micro: MicroCredit
    reason: Name


class LevyShare(Fields):
    """One account's part of a distributed levy."""

    account: AccountId
    amount_micro: MicroCredit


class Levy(Record):
    """The levy pool is paid out as the parameters say."""

    KIND: ClassVar[Kind] = Kind.LEVY

    id: ClientId
    round: RoundNumber
    shares: tuple[LevyShare, ...]


class LevyPayee(Record):
    """Where a validator's part of levies goes. Signed by its BLS key; the latest one counts."""

    KIND: ClassVar[Kind] = Kind.LEVY_PAYEE

    id: ClientId
    validator: BlsPublicKey
    payee: AccountId


class Payment(Fields):
    """What one node gets for one span of a settled job."""

    node: AccountId
    layer_start: LayerIndex
    positions: Position
    """Positions that were delivered and passed; only these are paid."""
    amount_micro: MicroCredit
    levy_micro: MicroCredit


class Settlement(Record):
    """A job's hold becomes its nodes' unvested credits once all due checks are in.

    By the operator; every figure is recomputed by whoever replays."""

    KIND: ClassVar[Kind] = Kind.SETTLEMENT

    job: Digest
    payments: tuple[Payment, ...]
    burned_micro: MicroCredit
    """Price of spans whose inputs nobody showed: burned, not refunded."""
    released_micro: MicroCredit

"""What a round's map says about an account, a hold, a key or a receipt. Source: specs/records.md §13."""

from enum import IntEnum
from typing import ClassVar

from creditledger.errors import MalformedRecordError
from creditledger.quantities import (
    AccountId,
    Code,
    Digest,
    Ed25519PublicKey,
    LayerIndex,
    LeafIndex,
    MicroCredit,
    Name,
    Position,
    RoundNumber,
    UnixMillisecond,
)
from creditledger.records.kinds import Kind
from creditledger.records.record import Record
from creditledger.records.verdict import Outcome


class AccountState(Record):
    """An account's credits. At most one of ``available_micro`` and ``overdrawn_micro`` is not zero."""

    KIND: ClassVar[Kind] = Kind.ACCOUNT_STATE

    account: AccountId
    role: Code
    name: Name
    available_micro: MicroCredit
    overdrawn_micro: MicroCredit
    held_micro: MicroCredit
    unvested_micro: MicroCredit
    credit_line_micro: MicroCredit
    verified_micro: MicroCredit
    """Ever earned by settled work, vested or not."""
    metered_micro: MicroCredit
    """Ever earned by captures as a queue."""
    suspended: Code

    def check_rules(self) -> None:
        if self.available_micro and self.overdrawn_micro:
            raise MalformedRecordError("an account has credits or is overdrawn, not both")


class HoldStatus(IntEnum):
    """The life of a hold: it ends exactly once."""

    OPEN = 1
    CAPTURED = 2
    RELEASED = 3
    EXPIRED = 4
    SETTLED = 5


class HoldState(Record):
    """A hold and what has become of it."""

    KIND: ClassVar[Kind] = Kind.HOLD_STATE

    hold: Digest
    holder: AccountId
    job: Digest
    queue: AccountId
    amount_micro: MicroCredit
    captured_micro: MicroCredit
    status: Code
    expires_unix_ms: UnixMillisecond


class KeyState(Record):
    """From which entry on a key speaks for an account, and until which (0: still)."""

    KIND: ClassVar[Kind] = Kind.KEY_STATE

    key: Ed25519PublicKey
    account: AccountId
    role: Code
    from_index: LeafIndex
    until_index: LeafIndex


class ReceiptState(Record):
    """What is believed of one receipt."""

    KIND: ClassVar[Kind] = Kind.RECEIPT_STATE

    receipt: Digest
    job: Digest
    node: AccountId
    layer_start: LayerIndex
    positions: Position
    batch_index: LeafIndex
    round: RoundNumber
    """The first certified round that covers it; 0 before that."""
    due: Code
    """Checks drawn for it, less those that lapsed: nobody was left to do them."""
    upheld: Code
    refuted: Code
    inconclusive: Code
    outcome: Code
    settled: Code
    """1 once its job is settled."""

    @property
    def has_passed(self) -> bool:
        """Whether it may be paid: upheld, or never drawn. Source: specs/credits.md §10."""
        return self.outcome == Outcome.UPHELD or (self.outcome == Outcome.UNCHECKED and self.due == 0)

    @property
    def is_judged(self) -> bool:
        """Whether all verdicts that are due are in."""
        return self.upheld + self.refuted + self.inconclusive >= self.due

    @property
    def has_lapsed(self) -> bool:
        """Whether it was drawn and nobody judged it, ever: inconclusive without a verdict."""
        return self.outcome == Outcome.INCONCLUSIVE and self.due == 0


class LotState(Record):
    """What one settlement paid one node for one span, and whether it is vested."""

    KIND: ClassVar[Kind] = Kind.LOT_STATE

    job: Digest
    node: AccountId
    layer_start: LayerIndex
    amount_micro: MicroCredit
    settled_round: RoundNumber
    settled_unix_ms: UnixMillisecond
    vested: Code


def account_key(account: bytes) -> bytes:
    """Map key of an `AccountState`."""
    return b"account/" + account


def hold_key(hold: bytes) -> bytes:
    """Map key of a `HoldState`."""
    return b"hold/" + hold


def public_key_key(key: bytes) -> bytes:
    """Map key of a `KeyState`."""
    return b"key/" + key


def receipt_key(receipt: bytes) -> bytes:
    """Map key of a `ReceiptState`."""
    return b"receipt/" + receipt


def lot_key(job: bytes, layer_start: int) -> bytes:
    """Map key of a `LotState`."""
    return b"lot/" + job + layer_start.to_bytes(2, "big")


def consumed_key(digest: bytes) -> bytes:
    """Map key under which every accepted record's digest stands, with its index as 8 bytes."""
    return b"consumed/" + digest

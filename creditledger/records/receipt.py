"""What a node says it ran, in batches under one signature. Source: specs/records.md §9."""

from enum import IntEnum
from typing import Annotated, ClassVar, Final

from creditledger.errors import MalformedRecordError
from creditledger.quantities import (
    ZERO_DIGEST,
    AccountId,
    Code,
    Count,
    Digest,
    LayerIndex,
    Millisecond,
    Position,
    UnixMillisecond,
    unsigned,
)
from creditledger.records.kinds import Kind
from creditledger.records.record import Fields, Record

WINDOW: Final = 256
BATCH_RECEIPTS_MAX: Final = 4_096


class OutputKind(IntEnum):
    """What left the span: hidden states, or tokens sampled from them."""

    ACTIVATIONS = 1
    TOKENS = 2


_OUTPUT_KINDS: Final = frozenset(OutputKind)


class Dtype(IntEnum):
    """A number format."""

    BF16 = 1
    FP16 = 2
    FP32 = 3
    TF32 = 4
    FP8 = 5
    INT8 = 6
    INT4 = 7


class Numerics(Fields):
    """The numerics policy a node declares and is judged by."""

    weights: Code
    activations: Code
    accumulation: Code
    kv_cache: Code
    bf16_partials: Annotated[int, unsigned(1)]
    """1 where partial sums of a split product may be rounded to bf16, else 0."""
    kernel_class: Code
    """0 unspecified, 1 eager, 2 fused, 3 flash; free for pools to extend."""


BF16_NUMERICS: Final = Numerics(
    weights=Dtype.BF16,
    activations=Dtype.BF16,
    accumulation=Dtype.FP32,
    kv_cache=Dtype.BF16,
    bf16_partials=0,
    kernel_class=0,
)


class Receipt(Record):
    """A node's claim to have run ``[layer_start, layer_stop)`` on one window of positions."""

    KIND: ClassVar[Kind] = Kind.RECEIPT

    job: Digest
    node: AccountId
    layer_start: LayerIndex
    layer_stop: LayerIndex
    """Exclusive: ``layer_stop - layer_start`` layers were run, at least one."""
    window_start: Position
    """A multiple of 256."""
    positions: Position
    """1 to 256; less than 256 only in a job's last window."""
    input_root: Digest
    output_root: Digest
    """Salted Merkle roots over the rows received and delivered."""
    sketch: Digest
    """Salted commitment to the sketch that travels sealed beside the batch."""
    previous: Digest
    """Digest of the same node's receipt before this one in this job; zero for the first."""
    model: Digest
    numerics: Numerics
    output_kind: Code
    sampler: Digest
    """Digest of the sampler's settings for tokens; zero for activations."""
    started_unix_ms: UnixMillisecond
    duration_ms: Millisecond

    def check_rules(self) -> None:
        if self.layer_stop <= self.layer_start:
            raise MalformedRecordError("a receipt covers at least one layer")
        if self.window_start % WINDOW or not 1 <= self.positions <= WINDOW:
            raise MalformedRecordError("window is not aligned", expected="start % 256 == 0, 1..256 positions")
        if self.output_kind not in _OUTPUT_KINDS:
            raise MalformedRecordError("output kind is not known", found=str(self.output_kind))
        if self.sampler != ZERO_DIGEST and self.output_kind == OutputKind.ACTIVATIONS:
            raise MalformedRecordError("activations have no sampler", expected="32 zero bytes")


class Batch(Record):
    """A node's signature over the Merkle root of 1 to 4,096 receipts: one log entry for them all.

    The bodies beside it are the receipts in order, then the sealed sketches."""

    KIND: ClassVar[Kind] = Kind.BATCH

    node: AccountId
    root: Digest
    """RFC 6962 root over the encoded receipts."""
    count: Count
    sealed: Digest
    """SHA-256 of the sealed sketches."""
    audit_epoch: Count
    """Sequence number of the parameters whose audit keys the sketches are sealed to."""

    def check_rules(self) -> None:
        if not 1 <= self.count <= BATCH_RECEIPTS_MAX:
            raise MalformedRecordError("batch size", expected="1..4096", found=str(self.count))


class ChainHead(Fields):
    """The last receipt of a node in a job that the client accepts, and all positions up to it."""

    node: AccountId
    layer_start: LayerIndex
    receipt: Digest
    positions: Position


class Delivery(Record):
    """The client's countersignature: paid work is the lesser of its count and the node's."""

    KIND: ClassVar[Kind] = Kind.DELIVERY

    client: AccountId
    job: Digest
    heads: tuple[ChainHead, ...]
    closes: Code
    """1 on the job's last delivery, else 0."""

    def check_rules(self) -> None:
        starts = [head.layer_start for head in self.heads]
        if not starts or starts != sorted(set(starts)) or self.closes > 1:
            raise MalformedRecordError("heads are not one per span in ascending order")


class Handover(Record):
    """The sender's signature over what it hands to the next span; the receiver keeps it."""

    KIND: ClassVar[Kind] = Kind.HANDOVER

    job: Digest
    sender: AccountId
    boundary: LayerIndex
    window_start: Position
    positions: Position
    root: Digest

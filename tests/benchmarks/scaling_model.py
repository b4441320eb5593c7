"""What a pool needs for so many nodes and receipts a day, from what single steps were measured to cost.

specs/scaling.md says what goes into it, how well it foretells what it was not fitted to, and what it leaves
out. All costs are seconds of one processor."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

DAY_SECONDS: Final = 86_400
RECIPIENTS: Final = 16
"""Validators that a batch's sketches are sealed to."""
WITNESSES: Final = 5
CHECKPOINTS_A_DAY: Final = DAY_SECONDS // 10
CHECKPOINT_BYTES: Final = 2_048
"""A note with its cosignatures, and the proof that a witness is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A cost ``fixed + each * count``, fitted so that the relative errors are least."""

    fixed: float
    each: float

    @classmethod
    def through(cls, points: Mapping[int, float]) -> "Line":
        """``points``: cost by count, two or more."""
        weights = {count: cost**-2 for count, cost in points.items()}
        total = sum(weights.values())
        mean_count = sum(weights[count] * count for count in points) / total
        mean_cost = sum(weights[count] * cost for count, cost in points.items()) / total
        spread = sum(weights[count] * (count - mean_count) ** 2 for count in points)
        slope = sum(weights[c] * (c - mean_count) * (cost - mean_cost) for c, cost in points.items()) / spread
        return cls(fixed=mean_cost - slope * mean_count, each=slope)

    def at(self, count: float) -> float:
        """The cost of so many together."""
        return self.fixed + self.each * count

    def miss(self, count: int, cost: float) -> float:
        """How far off it is at a point that it was not fitted to: 0.1 is a tenth too much."""
        return self.at(count) / cost - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What was measured on one machine and one kind of store."""

    batch: Line
    """Folding and storing a batch of so many receipts."""
    round: Line
    """Closing a round over so many receipts."""
    hold: float
    """A hold or a capture, signature included."""
    batch_signature: float
    """Checking one."""
    span: Line
    """Re-executing a span of one layer over so many positions, twice."""
    body_bytes: float
    """Of a receipt in its published batch."""
    sealed_bytes: float
    """Of a receipt's sketch, sealed, without the slots of a batch."""
    slot_bytes: int
    """Of a batch, for each recipient."""
    store_bytes: float
    """Of a receipt in the store, in the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a pool is asked to carry in a day."""

    nodes: int
    receipts: int
    holds: int
    batch_receipts: int
    """In a batch of one node."""
    check_share: float
    """Of all receipts, the part that is drawn."""
    layers: int
    positions: float
    """Of a drawn receipt's prefix, on average."""
    days_kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What that takes."""

    sequencer_share: float
    """Of one processor's day: above 1 it can not be done in one log."""
    front_end_processors: float
    validator_processors: float
    store_bytes: float
    public_bytes: float
    sealed_bytes: float
    """All three for the days kept."""
    auditor_bits_a_second: float
    witness_bits_a_second: float
    batch_wait_seconds: float
    """How long a node gathers receipts for a batch."""
    rounds_wait_seconds: float
    """What one day's rounds take, an hour each, of their hour."""

    @property
    def logs(self) -> int:
        """How many sequencers, each with a log of its own, if none may be busy more than half the time."""
        return max(1, math.ceil(2 * self.sequencer_share))


def need(load: Load, costs: Costs) -> Need:
    """What ``load`` needs by ``costs``."""
    batches = load.receipts / load.batch_receipts
    rounds = costs.round.each * load.receipts + 24 * costs.round.fixed
    folding = batches * costs.batch.at(load.batch_receipts) + load.holds * costs.hold + rounds
    signatures = (batches + load.holds) * costs.batch_signature
    checks = load.receipts * load.check_share * load.layers * costs.span.at(load.positions)
    sealed = load.receipts * costs.sealed_bytes + batches * RECIPIENTS * costs.slot_bytes
    bodies = load.receipts * costs.body_bytes
    return Need(
        sequencer_share=folding / DAY_SECONDS,
        front_end_processors=signatures / DAY_SECONDS,
        validator_processors=checks / DAY_SECONDS,
        store_bytes=load.days_kept * load.receipts * costs.store_bytes,
        public_bytes=load.days_kept * bodies,
        sealed_bytes=load.days_kept * sealed,
        auditor_bits_a_second=8 * bodies / DAY_SECONDS,
        witness_bits_a_second=8 * CHECKPOINTS_A_DAY * CHECKPOINT_BYTES / DAY_SECONDS,
        batch_wait_seconds=load.batch_receipts * DAY_SECONDS * load.nodes / load.receipts,
        rounds_wait_seconds=rounds / 24,
    )


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return sorted(values)[len(values) // 2]

"""A client's order: what may be run, by whom, and the most it may cost. Source: specs/records.md §8."""

from typing import ClassVar

from creditledger.errors import MalformedRecordError
from creditledger.quantities import (
    AccountId,
    ClientId,
    Digest,
    LayerIndex,
    MicroCredit,
    Position,
    UnixMillisecond,
)
from creditledger.records.kinds import Kind
from creditledger.records.record import Fields, Record


class PlanSpan(Fields):
    """One node serves the layers ``[layer_start, layer_stop)``."""

    layer_start: LayerIndex
    layer_stop: LayerIndex
    node: AccountId


class Job(Record):
    """Signed by the client before any work; nothing above ``max_price_micro`` is ever paid."""

    KIND: ClassVar[Kind] = Kind.JOB

    id: ClientId
    client: AccountId
    model: Digest
    plan: tuple[PlanSpan, ...]
    max_positions: Position
    max_price_micro: MicroCredit
    hold_id: ClientId
    """The id the covering hold will carry; that hold names this job's digest."""
    parameters: Digest
    """Digest of the parameters in force: prices cannot change under a running job."""
    expires_unix_ms: UnixMillisecond

    def check_rules(self) -> None:
        if not self.plan or len(self.plan) > 256 or self.max_positions < 1:
            raise MalformedRecordError("a job has 1 to 256 spans and at least one position")
        edge = self.plan[0].layer_start
        for span in self.plan:
            if span.layer_start != edge or span.layer_stop <= span.layer_start:
                raise MalformedRecordError(
                    "spans of a plan do not join",
                    expected=f"start {edge}",
                    found=str(span.layer_start),
                )
            edge = span.layer_stop

    def span_of(self, layer_start: int) -> PlanSpan | None:
        """The span that begins at ``layer_start``, if the plan has one."""
        return next((span for span in self.plan if span.layer_start == layer_start), None)

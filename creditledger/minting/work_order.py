"""What a client gives one node in private: the job, and the node's two boundary keys.

Source: specs/minting.md §1."""

from typing import Final

from creditledger.errors import MalformedRecordError
from creditledger.quantities import Digest, LayerIndex
from creditledger.records import canonical
from creditledger.records.job import Job, PlanSpan
from creditledger.records.record import Fields

_TAG: Final = b"cl/order"
_VERSION: Final = 1


class WorkOrder(Fields):
    """One span of a job. The keys are secret: whoever has one can test guesses at that boundary."""

    job: Job
    layer_start: LayerIndex
    """Names the span: the one of the job's plan that begins here."""
    input_key: Digest
    """Salts the rows that enter layer ``layer_start``."""
    output_key: Digest
    """Salts the rows that leave the span; the next node's ``input_key``."""

    def check_rules(self) -> None:
        if self.job.span_of(self.layer_start) is None:
            raise MalformedRecordError(
                "no span of the job begins at this layer",
                expected=str([span.layer_start for span in self.job.plan]),
                found=str(self.layer_start),
            )

    @property
    def span(self) -> PlanSpan:
        """The layers to run, and the node that is to run them."""
        return next(span for span in self.job.plan if span.layer_start == self.layer_start)

    def encode(self) -> bytes:
        """The one encoding: a canonical array, at most 65,535 bytes."""
        return canonical.encode([_TAG, _VERSION, *self.to_values()])

    @classmethod
    def decode(cls, encoded: bytes) -> "WorkOrder":
        """The exact inverse of `encode`. Raises MalformedRecordError for any other bytes."""
        values = canonical.decode(encoded)
        if not isinstance(values, list) or values[:2] != [_TAG, _VERSION]:
            raise MalformedRecordError("not a work order", expected="version 1")
        return cls.from_values(values[2:])

    def __repr__(self) -> str:
        return f"WorkOrder(layer_start={self.layer_start}, keys=<redacted>)"

"""A client's order with its secret: what the client keeps, and what it gives each node.

Source: specs/redemption.md §3."""

from typing import Final

from creditledger.activations.delivered import boundary_key
from creditledger.errors import MalformedRecordError, UnknownIdError
from creditledger.minting.work_order import WorkOrder
from creditledger.quantities import Digest
from creditledger.records import canonical
from creditledger.records.job import Job
from creditledger.records.record import Fields

_TAG: Final = b"cl/job"
_VERSION: Final = 1


class Order(Fields):
    """A job and the secret that all its salts come from. Whoever has the secret can test guesses."""

    job: Job
    secret: Digest
    """32 random bytes, never sent to anybody."""

    def work_order(self, layer_start: int) -> WorkOrder:
        """What the node of the span that begins at ``layer_start`` is given. Raises UnknownIdError."""
        span = self.job.span_of(layer_start)
        if span is None:
            raise UnknownIdError(
                "no span of the job begins at this layer",
                expected=str([span.layer_start for span in self.job.plan]),
                found=str(layer_start),
            )
        return WorkOrder(
            job=self.job,
            layer_start=span.layer_start,
            input_key=boundary_key(self.secret, span.layer_start),
            output_key=boundary_key(self.secret, span.layer_stop),
        )

    def encode(self) -> bytes:
        """The one encoding: a canonical array, at most 65,535 bytes. Keep it secret."""
        return canonical.encode([_TAG, _VERSION, *self.to_values()])

    @classmethod
    def decode(cls, encoded: bytes) -> "Order":
        """The exact inverse of `encode`. Raises MalformedRecordError for any other bytes."""
        values = canonical.decode(encoded)
        if not isinstance(values, list) or values[:2] != [_TAG, _VERSION]:
            raise MalformedRecordError("not a job file", expected="version 1")
        return cls.from_values(values[2:])

    def __repr__(self) -> str:
        return f"Order(job={self.job.id.hex()}, secret=<redacted>)"

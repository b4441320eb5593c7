"""A record with its signature: as it is submitted, and as it stands in the log.

Source: specs/records.md §14."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from creditledger.errors import MalformedRecordError
from creditledger.records import canonical
from creditledger.records.canonical import FRAME_BYTES_MAX, Value
from creditledger.records.job import Job
from creditledger.records.kinds import Kind
from creditledger.records.parameters import Genesis, Parameters
from creditledger.records.receipt import Batch, Delivery
from creditledger.records.record import VERSION, Record
from creditledger.records.registration import Delegation, Registration, Rotation
from creditledger.records.round import Attestation, Certificate, Round
from creditledger.records.transfer import (
    Capture,
    CreditLine,
    Expire,
    Grant,
    Hold,
    Levy,
    Refund,
    Release,
    Settlement,
    Slash,
    Transfer,
)
from creditledger.records.verdict import Canary, Commit, Reveal

LOGGED: Final[dict[Kind, type[Record]]] = {
    record.KIND: record
    for record in (
        Genesis, Parameters, Registration, Rotation, Delegation, Job, Batch, Delivery, Round,
        Attestation, Certificate, Commit, Reveal, Canary, Grant, CreditLine, Transfer, Hold, Capture,
        Release, Expire, Refund, Slash, Levy, Settlement,
    )
}  # fmt: skip
"""Every kind that may stand in the log by itself; receipts and verdicts travel as bodies."""

SIGNATURE_LENGTHS: Final = (64, 96)


def record_from_values(values: Value) -> Record:
    """The logged record that these values spell. Raises MalformedRecordError."""
    if not isinstance(values, list | tuple) or not values or not isinstance(values[0], int):
        raise MalformedRecordError("not a record", expected="[kind, version, fields...]")
    record = LOGGED.get(values[0])  # type: ignore[call-overload]
    if record is None:
        raise MalformedRecordError("no record of this kind may be logged", found=str(values[0])[:20])
    found: Record = record.from_values(values)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What somebody asks to have logged: a record, its signature, and the bodies beside it.

    ``signature``: 64 bytes Ed25519 or 96 bytes BLS. ``bodies``: a batch's receipts and its sealed
    sketches, a reveal's verdicts, a parameters record's profiles; else none."""

    record: Record
    signature: bytes
    bodies: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """``[[record, signature], [body...]]``, at most 4 MiB."""
        signed = [self.record.to_values(), self.signature]
        return canonical.encode([signed, list(self.bodies)], most=FRAME_BYTES_MAX)

    @classmethod
    def decode(cls, encoded: bytes) -> "Submission":
        """The exact inverse of `encode`. Raises MalformedRecordError for any other bytes."""
        values = canonical.decode(encoded, most=FRAME_BYTES_MAX)
        signed, bodies = _row(values, 2, "submission")
        record, signature = _row(signed, 2, "signed record")
        return cls(
            record=record_from_values(record),
            signature=_signature(signature),
            bodies=tuple(_bytes(body, "body") for body in _row(bodies, None, "bodies")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One leaf of the log: ``[1, 1, time, record, signature]``, at most 65,535 bytes."""

    time_unix_ms: int
    """Never less than the entry's before it."""
    record: Record
    signature: bytes

    def encode(self) -> bytes:
        """The leaf's bytes."""
        return canonical.encode(
            [int(Kind.ENTRY), VERSION, self.time_unix_ms, self.record.to_values(), self.signature]
        )

    @classmethod
    def decode(cls, encoded: bytes) -> "Entry":
        """The exact inverse of `encode`. Raises MalformedRecordError for any other bytes."""
        kind, version, time, record, signature = _row(canonical.decode(encoded), 5, "entry")
        if (kind, version) != (int(Kind.ENTRY), VERSION) or not isinstance(time, int):
            raise MalformedRecordError("not a log entry", expected="[1, 1, time, record, signature]")
        return cls(time_unix_ms=time, record=record_from_values(record), signature=_signature(signature))


def _row(values: Value, length: int | None, what: str) -> Sequence[Value]:
    if not isinstance(values, list | tuple) or (length is not None and len(values) != length):
        raise MalformedRecordError(f"not a {what}", expected=f"an array of {length}")
    return values


def _bytes(value: Value, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise MalformedRecordError(f"{what} is not bytes", found=type(value).__name__)
    return value


def _signature(value: Value) -> bytes:
    signature = _bytes(value, "signature")
    if len(signature) not in SIGNATURE_LENGTHS:
        raise MalformedRecordError(
            "signature has another length", expected="64 or 96", found=str(len(signature))
        )
    return signature

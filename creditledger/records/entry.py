"""A record with its signature: as it is submitted, and as it stands in the log.

Source: specs/records.md §14."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from creditledger.errors import CreditLedgerError, MalformedRecordError
from creditledger.quantities import AMOUNT_MAX
from creditledger.records import canonical
from creditledger.records.account import Budget, Closing, Delegation, Listing
from creditledger.records.canonical import FRAME_BYTES_MAX, Room, Value
from creditledger.records.job import Job
from creditledger.records.kinds import Kind
from creditledger.records.parameters import Genesis, Parameters
from creditledger.records.receipt import Batch, Delivery
from creditledger.records.record import VERSION, Record
from creditledger.records.registration import Registration, Rotation
from creditledger.records.round import Attestation, Certificate, Round
from creditledger.records.transfer import (
    Capture,
    Clawback,
    CreditLine,
    DelegatedHold,
    Expire,
    Grant,
    Hold,
    Levy,
    LevyPayee,
    Refund,
    Release,
    Settlement,
    Slash,
    Transfer,
)
from creditledger.records.verdict import Canary, CanaryCommit, Commit, Reveal

LOGGED: Final[dict[Kind, type[Record]]] = {
    record.KIND: record
    for record in (
        Genesis, Parameters, Registration, Rotation, Delegation, Budget, Closing, Listing, Job, Batch,
        Delivery, Round, Attestation, Certificate, Commit, Reveal, Canary, CanaryCommit, Grant, CreditLine,
        Transfer, Hold, DelegatedHold, Capture, Release, Expire, Refund, Slash, Clawback, Levy, LevyPayee,
        Settlement,
    )
}  # fmt: skip
"""Every kind that may stand in the log by itself; receipts and verdicts travel as bodies."""

SIGNATURE_LENGTHS: Final = (64, 96)
_LONG_ARRAY: Final = 0xDC
"""Begins an array of more than 15 items: its length stands in the two bytes behind."""


def record_from_values(values: Value) -> Record:
    """The logged record that these values spell. Raises MalformedRecordError."""
    if not isinstance(values, list | tuple) or not values or not isinstance(values[0], int):
        raise MalformedRecordError("not a record", expected="[kind, version, fields...]")
    record = LOGGED.get(values[0])  # type: ignore[call-overload]
    if record is None:
        raise MalformedRecordError("no record of this kind may be logged", found=canonical.shown(values[0]))
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

    def __post_init__(self) -> None:
        _require_signed(self.record, self.signature)
        if type(self.bodies) is not tuple or not all(type(body) is bytes for body in self.bodies):
            raise MalformedRecordError("bodies are not bytes", expected="a tuple of bytes")

    def encode(self) -> bytes:
        """``[[record, signature], [body...]]``, at most 4 MiB."""
        signed = [self.record.to_values(), self.signature]
        return canonical.encode([signed, list(self.bodies)], most=FRAME_BYTES_MAX)

    @classmethod
    def decode(cls, encoded: bytes, *, room: Room | None = None) -> "Submission":
        """The exact inverse of `encode`. Raises MalformedRecordError for any other bytes, and where ``room``,
        shared by several, is used up."""
        values = canonical.decode(encoded, most=FRAME_BYTES_MAX, room=room)
        signed, bodies = _row(values, 2, "submission")
        record, signature = _row(signed, 2, "signed record")
        return cls(
            record=record_from_values(record),
            signature=signature,  # type: ignore[arg-type]
            bodies=tuple(_row(bodies, None, "bodies")),  # type: ignore[arg-type]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One leaf of the log: ``[1, 1, time, record, signature]``, at most 65,535 bytes."""

    time_unix_ms: int
    """Never less than the entry's before it."""
    record: Record
    signature: bytes

    def __post_init__(self) -> None:
        _require_signed(self.record, self.signature)
        if type(self.time_unix_ms) is not int or not 0 <= self.time_unix_ms <= AMOUNT_MAX:
            raise MalformedRecordError(
                "entry time is out of range", expected="0..2^63-1", found=canonical.shown(self.time_unix_ms)
            )

    def encode(self) -> bytes:
        """The leaf's bytes."""
        return canonical.pack(
            [int(Kind.ENTRY), VERSION, self.time_unix_ms, self.record.to_values(), self.signature]
        )

    @classmethod
    def decode(cls, encoded: bytes) -> "Entry":
        """The exact inverse of `encode`. Raises MalformedRecordError for any other bytes."""
        leaf = _read_leaf(encoded)
        if leaf is not None:
            return leaf
        kind, version, time, record, signature = _row(canonical.decode(encoded), 5, "entry")
        if kind != Kind.ENTRY or version != VERSION:
            raise MalformedRecordError("not a log entry", expected="[1, 1, time, record, signature]")
        return cls(time_unix_ms=time, record=record_from_values(record), signature=signature)  # type: ignore[arg-type]


_HEAD: Final = bytes((0x95, Kind.ENTRY, VERSION))
_TIME_WIDTHS: Final = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}


def _read_leaf(encoded: bytes) -> Entry | None:
    """The entry, cut where its parts must lie; None if anything is wrong with it.

    The record is read by its class, which knows how deep it is: nothing here follows what bytes promise."""
    if len(encoded) > canonical.RECORD_BYTES_MAX or encoded[:3] != _HEAD:
        return None
    for length in SIGNATURE_LENGTHS:
        start = len(encoded) - length
        at = 3 + _TIME_WIDTHS.get(encoded[3], 1) if len(encoded) > 3 else start
        if at + 4 < start - 2 and encoded[start - 2 : start] == bytes((0xC4, length)):
            record = encoded[at : start - 2]
            return _leaf(encoded, encoded[3:at], record, encoded[start:])
    return None


def _leaf(encoded: bytes, time: bytes, record: bytes, signature: bytes) -> Entry | None:
    kind = LOGGED.get(record[3] if record[0] == _LONG_ARRAY else record[1])  # type: ignore[call-overload]
    if kind is None:
        return None
    try:
        found = Entry(
            time_unix_ms=int.from_bytes(time[1:] or time, "big"),
            record=kind.decode(record),
            signature=signature,
        )
    except CreditLedgerError:
        return None
    return found if found.encode() == encoded else None


def _row(values: Value, length: int | None, what: str) -> Sequence[Value]:
    if not isinstance(values, list | tuple) or (length is not None and len(values) != length):
        raise MalformedRecordError(
            f"not a {what}", expected="an array" if length is None else f"{length} items"
        )
    return values


def _require_signed(record: Record, signature: bytes) -> None:
    # The reader's rules hold for the writer too: nobody encodes what nobody would decode.
    if not isinstance(record, Record) or LOGGED.get(record.KIND) is not type(record):
        raise MalformedRecordError("no such record may be logged", found=type(record).__name__)
    if type(signature) is not bytes or len(signature) not in SIGNATURE_LENGTHS:
        raise MalformedRecordError(
            "signature has another length",
            expected="64 or 96 bytes",
            found=f"{len(signature)} bytes" if isinstance(signature, bytes) else type(signature).__name__,
        )

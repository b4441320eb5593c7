"""The base of every record: its fields are its encoding, in the order they are declared.

Source: specs/records.md §3."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, Self, dataclass_transform

from msgspec import Struct, StructMeta, structs

from creditledger.errors import MalformedRecordError
from creditledger.records import canonical
from creditledger.records.canonical import Value
from creditledger.records.column import VERSION, row_of
from creditledger.records.kinds import Kind

__all__ = ["VERSION", "Fields", "Record", "signing_prefix"]


@dataclass_transform(kw_only_default=True, frozen_default=True)
class FieldsType(StructMeta):
    """Makes the classes of records: fields by keyword, never changed, checked as they are set."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> "FieldsType":
        """A class of frozen structs that are written as arrays."""
        return super().__new__(
            mcs,
            name,
            bases,
            namespace,
            frozen=True,
            kw_only=True,
            array_like=True,
            forbid_unknown_fields=True,
            gc=False,  # numbers, bytes and rows of them make no cycles
        )

    def __call__(self, **fields: Any) -> Any:
        """An instance that was checked: by-passed by what reads bytes, which checks on its own."""
        made = super().__call__(**fields)
        made.require_sound()
        return made


class Fields(Struct, metaclass=FieldsType):
    """A fixed row of values inside a record; it has no kind and no version of its own."""

    def require_sound(self) -> None:
        """Check every field, then the rules between them. Raises MalformedRecordError."""
        row = row_of(type(self))
        if not row.is_sound(self):
            for check, value in zip(row.checks, row.read(self), strict=True):
                check(value)
        if row.own_rules:
            self.check_rules()

    def check_rules(self) -> None:
        """Rules between fields. Raises MalformedRecordError."""

    def replace(self, **changes: Any) -> Self:
        """The same with other values in some fields. Raises MalformedRecordError."""
        changed = structs.replace(self, **changes)
        row = row_of(type(self))
        for name, value in changes.items():
            row.check_of[name](value)
        if row.own_rules:
            changed.check_rules()
        return changed

    def to_values(self) -> list[Value]:
        """The fields as plain values, in order."""
        return row_of(type(self)).pack(self)

    def to_bytes(self, *, most: int = canonical.RECORD_BYTES_MAX) -> bytes:
        """The canonical bytes of `to_values`, at most so many. Raises MalformedRecordError."""
        row = row_of(type(self))
        if row.wire is None:
            return canonical.pack(row.pack(self), most=most)
        return canonical.within(row.wire.encode(self), most)

    @classmethod
    def from_bytes(cls, encoded: bytes, *, most: int = canonical.RECORD_BYTES_MAX) -> Self:
        """The exact inverse of `to_bytes`. Raises MalformedRecordError for any other bytes."""
        row = row_of(cls)
        if row.wire is not None and type(encoded) is bytes and len(encoded) <= most:
            try:
                return row.wire.decode(encoded)  # type: ignore[no-any-return]
            except MalformedRecordError:
                cls.from_values(canonical.decode(encoded, most=most))  # says what is wrong
                raise
        return cls.from_values(canonical.decode(encoded, most=most, width=row.width))

    @classmethod
    def from_values(cls, values: Value) -> Self:
        """The inverse of `to_values`. Raises MalformedRecordError."""
        row = row_of(cls)
        if not isinstance(values, list | tuple) or len(values) != len(row.tags) + len(row.names):
            raise MalformedRecordError(
                f"{cls.__name__.lower()} has another number of fields", expected=str(len(row.names))
            )
        return row.unpack(values)  # type: ignore[no-any-return]


class Record(Fields):
    """A value somebody signs, or a state that a round certifies: ``[kind, version, fields...]``."""

    KIND: ClassVar[Kind]

    @classmethod
    def from_values(cls, values: Value) -> Self:
        """The inverse of `to_values`. Raises MalformedRecordError."""
        if not isinstance(values, list | tuple) or not _starts_with(values, cls.KIND):
            raise MalformedRecordError(
                f"not a {cls.KIND.name.lower()} record", expected=f"kind {int(cls.KIND)} version 1"
            )
        return super().from_values(values)

    def encode(self) -> bytes:
        """The one encoding: at most 65,535 bytes."""
        row = row_of(type(self))
        wire = row.wire
        encoded = canonical.pack(row.pack(self)) if wire is None else wire.encode(self)
        return encoded if len(encoded) <= canonical.RECORD_BYTES_MAX else self.to_bytes()

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """The exact inverse of `encode`. Raises MalformedRecordError for any other bytes."""
        return cls.from_bytes(encoded)

    @classmethod
    def encode_all(cls, records: Sequence[Self]) -> list[bytes]:
        """`encode` of each, in order."""
        wire = row_of(cls).wire
        if wire is None:
            return [record.encode() for record in records]
        return [
            canonical.within(encoded, canonical.RECORD_BYTES_MAX) for encoded in map(wire.encode, records)
        ]

    @classmethod
    def decode_all(cls, encoded: Sequence[bytes]) -> list[Self]:
        """`decode` of each, in order: a batch's worth in two thirds of the time. Raises as that does."""
        wire = row_of(cls).wire
        if wire is not None and max(map(len, encoded), default=0) <= canonical.RECORD_BYTES_MAX:
            try:
                return wire.decode_all(encoded)
            except MalformedRecordError:
                pass
        return [cls.decode(one) for one in encoded]

    def signing_bytes(self, ledger_id: bytes) -> bytes:
        """What a signature covers: bound to the kind and the ledger. Source: specs/records.md §5."""
        return signing_prefix(self.KIND, ledger_id) + self.encode()

    def digest(self, ledger_id: bytes) -> bytes:
        """The record's id, 32 bytes. No signature is part of it, so re-signing changes nothing."""
        return hashlib.sha256(self.signing_bytes(ledger_id)).digest()


def _starts_with(values: Sequence[Value], kind: Kind) -> bool:
    # By type as well: True and 1.0 equal 1.
    return (
        len(values) >= 2
        and type(values[0]) is int
        and type(values[1]) is int
        and values[0] == kind
        and values[1] == VERSION
    )


@lru_cache(maxsize=256)
def signing_prefix(kind: Kind, ledger_id: bytes) -> bytes:
    """``"creditledger/v1/<kind>\\0" || ledger_id``. Source: specs/records.md §5.

    ``ledger_id``: 32 bytes, so that no prefix begins another. Raises MalformedRecordError."""
    if len(ledger_id) != 32:
        raise MalformedRecordError("not a ledger id", expected="32 bytes", found=f"{len(ledger_id)} bytes")
    return b"creditledger/v1/" + kind.name.lower().encode() + b"\0" + ledger_id

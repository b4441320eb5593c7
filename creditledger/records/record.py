"""The base of every record: its fields are its encoding, in the order they are declared.

Source: specs/records.md §3."""

import dataclasses
import hashlib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin, get_type_hints

from creditledger.errors import MalformedRecordError
from creditledger.quantities import Octets, Text, Unsigned
from creditledger.records import canonical
from creditledger.records.canonical import Value
from creditledger.records.kinds import Kind

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """A fixed row of values inside a record; it has no kind and no version of its own."""

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            _pack(getattr(self, name), hint, name)
        self._check()

    def _check(self) -> None:
        """Rules between fields. Raises MalformedRecordError."""

    def to_values(self) -> list[Value]:
        """The fields as plain values, in order."""
        return [_pack(getattr(self, name), hint, name) for name, hint in _hints(type(self)).items()]

    @classmethod
    def from_values(cls, values: Value) -> Self:
        """The inverse of `to_values`. Raises MalformedRecordError."""
        hints = _hints(cls)
        if not isinstance(values, list | tuple) or len(values) != len(hints):
            raise MalformedRecordError(
                f"{cls.__name__.lower()} has another number of fields", expected=str(len(hints))
            )
        pairs = zip(hints.items(), values, strict=True)
        return cls(**{name: _unpack(value, hint, name) for (name, hint), value in pairs})


@dataclass(frozen=True, slots=True, kw_only=True)
class Record(Fields):
    """A value somebody signs, or a state that a round certifies: ``[kind, version, fields...]``."""

    KIND: ClassVar[Kind]

    def to_values(self) -> list[Value]:
        """``[kind, version, fields...]``."""
        return [int(self.KIND), VERSION, *Fields.to_values(self)]

    @classmethod
    def from_values(cls, values: Value) -> Self:
        """The inverse of `to_values`. Raises MalformedRecordError."""
        if not isinstance(values, list | tuple) or list(values[:2]) != [int(cls.KIND), VERSION]:
            raise MalformedRecordError(
                f"not a {cls.KIND.name.lower()} record", expected=f"kind {int(cls.KIND)} version 1"
            )
        return super(Record, cls).from_values(values[2:])

    def encode(self) -> bytes:
        """The one encoding: at most 65,535 bytes."""
        return canonical.encode(self.to_values())

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """The exact inverse of `encode`. Raises MalformedRecordError for any other bytes."""
        return cls.from_values(canonical.decode(encoded))

    def signing_bytes(self, ledger_id: bytes) -> bytes:
        """What a signature covers: bound to the kind and the ledger. Source: specs/records.md §5."""
        return signing_prefix(self.KIND, ledger_id) + self.encode()

    def digest(self, ledger_id: bytes) -> bytes:
        """The record's id, 32 bytes. No signature is part of it, so re-signing changes nothing."""
        return hashlib.sha256(self.signing_bytes(ledger_id)).digest()


def signing_prefix(kind: Kind, ledger_id: bytes) -> bytes:
    """``"creditledger/v1/<kind>\\0" || ledger_id``. Source: specs/records.md §5."""
    return b"creditledger/v1/" + kind.name.lower().encode() + b"\0" + ledger_id


@cache
def _hints(cls: Any) -> Mapping[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _pack(value: Any, hint: Any, name: str) -> Value:
    if get_origin(hint) is Annotated:
        return _pack_scalar(value, get_args(hint)[1], name)
    if get_origin(hint) is tuple:
        if not isinstance(value, tuple):
            raise MalformedRecordError(f"{name} is not a tuple", found=type(value).__name__)
        return [_pack(item, get_args(hint)[0], name) for item in value]
    if isinstance(hint, type) and isinstance(value, hint) and isinstance(value, Fields):
        return value.to_values()
    raise MalformedRecordError(f"{name} is of another type", found=type(value).__name__)


def _pack_scalar(value: Any, limit: Unsigned | Octets | Text, name: str) -> Value:
    if isinstance(limit, Unsigned):
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limit.most:
            return int(value)
        raise MalformedRecordError(
            f"{name} is out of range", expected=f"0..{limit.most}", found=str(value)[:40]
        )
    if isinstance(limit, Octets):
        if type(value) is bytes and limit.least <= len(value) <= limit.most:
            return value
        raise MalformedRecordError(
            f"{name} has another length",
            expected=f"{limit.least}..{limit.most} bytes",
            found=f"{len(value)} bytes" if isinstance(value, bytes) else type(value).__name__,
        )
    if isinstance(value, str) and limit.pattern.fullmatch(value):
        return value.encode("ascii")
    raise MalformedRecordError(
        f"{name} is not a name", expected=limit.pattern.pattern, found=ascii(value)[:80]
    )


def _unpack(value: Value, hint: Any, name: str) -> Any:
    if get_origin(hint) is Annotated:
        if isinstance(get_args(hint)[1], Text):
            return _unpack_text(value, name)
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise MalformedRecordError(f"{name} is not an array", found=type(value).__name__)
        return tuple(_unpack(item, get_args(hint)[0], name) for item in value)
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias):
        return hint.from_values(value)  # type: ignore[attr-defined]
    raise TypeError(f"{name}: {hint!r} has no encoding")


def _unpack_text(value: Value, name: str) -> str:
    if not isinstance(value, bytes):
        raise MalformedRecordError(f"{name} is not text", found=type(value).__name__)
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise MalformedRecordError(f"{name} is not ASCII") from None

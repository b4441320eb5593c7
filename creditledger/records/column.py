"""One field of a record: what it may hold and how it travels, compiled once from its type hint.

Source: specs/records.md §3."""

import dataclasses
import operator
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from creditledger.errors import MalformedRecordError
from creditledger.quantities import Octets, Text, Unsigned
from creditledger.records.canonical import Value, shown


@dataclass(frozen=True, slots=True)
class Column:
    """``check`` raises MalformedRecordError for a value the field may not hold.

    ``pack`` and ``unpack`` turn a checked value into a plain one and back; None where it is plain already."""

    name: str
    check: Callable[[Any], None]
    pack: Callable[[Any], Value] | None = None
    unpack: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The columns of one class in the order they are declared."""

    names: tuple[str, ...]
    read: Callable[[Any], tuple[Any, ...]]
    """All fields of an instance, in order."""
    checks: tuple[Callable[[Any], None], ...]
    packs: tuple[tuple[int, Callable[[Any], Value]], ...]
    """Position and conversion of the fields that are not plain values already."""
    unpacks: tuple[tuple[str, Callable[[Any], Any]], ...]


def _row(cls: Any) -> Row:
    hints = get_type_hints(cls, include_extras=True)
    names = tuple(field.name for field in dataclasses.fields(cls))
    columns = [_column(name, hints[name]) for name in names]
    return Row(
        names=names,
        read=operator.attrgetter(*names) if len(names) > 1 else lambda record: (getattr(record, names[0]),),
        checks=tuple(column.check for column in columns),
        packs=tuple((place, column.pack) for place, column in enumerate(columns) if column.pack),
        unpacks=tuple((column.name, column.unpack) for column in columns if column.unpack),
    )


row_of: Final[Callable[[Any], Row]] = cache(_row)
"""The row that a dataclass declares. Raises TypeError for a hint without an encoding."""


def _column(name: str, hint: Any) -> Column:
    if get_origin(hint) is Annotated:
        limit = get_args(hint)[1]
        if isinstance(limit, Unsigned):
            return Column(name, _unsigned_check(name, limit.most))
        if isinstance(limit, Octets):
            return Column(name, _octets_check(name, limit.least, limit.most))
        if isinstance(limit, Text):
            return Column(name, _text_check(name, limit), str.encode, _text_reader(name))
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        return _array_column(name, _column(f"an item of {name}", get_args(hint)[0]))
    if isinstance(hint, type) and not isinstance(hint, types.GenericAlias) and dataclasses.is_dataclass(hint):
        return Column(name, _nested_check(name, hint), operator.methodcaller("to_values"), hint.from_values)  # type: ignore[attr-defined]
    raise TypeError(f"{name}: {hint!r} has no encoding")


def _unsigned_check(name: str, most: int) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if type(value) is int and 0 <= value <= most:
            return
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise MalformedRecordError(f"{name} is out of range", expected=f"0..{most}", found=shown(value))

    return check


def _octets_check(name: str, least: int, most: int) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if type(value) is not bytes or not least <= len(value) <= most:
            raise MalformedRecordError(
                f"{name} has another length",
                expected=f"{least}..{most} bytes",
                found=f"{len(value)} bytes" if isinstance(value, bytes) else type(value).__name__,
            )

    return check


def _text_check(name: str, limit: Text) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        if type(value) is not str or not limit.pattern.fullmatch(value):
            found = ascii(value[:64]) if isinstance(value, str) else type(value).__name__
            raise MalformedRecordError(f"{name} is not a name", expected=limit.pattern.pattern, found=found)

    return check


def _text_reader(name: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if type(value) is not bytes:
            raise MalformedRecordError(f"{name} is not text", found=type(value).__name__)
        return value.decode("latin-1")  # one character per byte; the check refuses all but the pattern's

    return read


def _nested_check(name: str, cls: type) -> Callable[[Any], None]:
    def check(value: Any) -> None:
        # A value of the class has checked its own fields, and cannot have changed since.
        if type(value) is not cls:
            raise MalformedRecordError(f"{name} is not a {cls.__name__}", found=type(value).__name__)

    return check


def _array_column(name: str, item: Column) -> Column:
    def check(value: Any) -> None:
        if type(value) is not tuple:
            raise MalformedRecordError(f"{name} is not a tuple", found=type(value).__name__)
        for part in value:
            item.check(part)

    def pack(value: Any) -> Value:
        return list(map(item.pack, value)) if item.pack else list(value)

    def unpack(value: Any) -> tuple[Any, ...]:
        if type(value) is not list and type(value) is not tuple:
            raise MalformedRecordError(f"{name} is not an array", found=type(value).__name__)
        return tuple(map(item.unpack, value)) if item.unpack else tuple(value)

    return Column(name, check, pack, unpack)

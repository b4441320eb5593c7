"""One field of a record: what it may hold and how it travels, compiled once from its type hint.

Source: specs/records.md §3."""

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from msgspec import Meta, Struct

from creditledger.errors import MalformedRecordError
from creditledger.quantities import Text
from creditledger.records.canonical import Value, shown
from creditledger.records.wire import Wire, wire_of

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Column:
    """``check`` raises MalformedRecordError for a value the field may not hold.

    ``test``: Python source, with ``{0}`` for the value, that is false wherever ``check`` raises; "" where
    only ``check`` can tell.
    ``pack`` and ``unpack`` turn a checked value into a plain one and back; None where it is plain already.
    ``width``: the most items that an array in the field's encoding has, 0 without one; None: no limit.
    ``is_recast``: whether something in it travels as another value than it is: text as bytes, a record inside
    a row with its kind and version.
    ``rules``: checks the rules between the fields of the rows in it; None where there are none."""

    name: str
    check: Callable[[Any], None]
    test: str = ""
    pack: Callable[[Any], Value] | None = None
    unpack: Callable[[Any], Any] | None = None
    width: int | None = 0
    is_recast: bool = False
    rules: Callable[[Any], None] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """The columns of one class in the order they are declared."""

    names: tuple[str, ...]
    tags: tuple[int, ...]
    """What stands before the fields: a record's kind and version."""
    read: Callable[[Any], tuple[Any, ...]]
    """All fields of an instance, in order."""
    checks: tuple[Callable[[Any], None], ...]
    check_of: Mapping[str, Callable[[Any], None]]
    """The checks by the fields' names."""
    is_sound: Callable[[Any], bool]
    """Whether every check lets its field pass, said at once; False: ask ``checks``."""
    pack: Callable[[Any], list[Value]]
    """The tags, then all fields of an instance as plain values, in order."""
    unpack: Callable[[Any], Any]
    """The instance whose fields are these plain values, as many as there are tags and names, in order."""
    width: int | None
    """The most items that an array in the encoding has; None if a field has no such limit."""
    wire: Wire | None
    """The short way between an instance and its bytes; None where something in it is recast."""
    own_rules: bool
    """Whether there are rules between its fields."""
    rules: Callable[[Any], None] | None
    """Checks the rules between fields, in it and in the rows inside it; None where there are none."""


def _row(cls: Any) -> Row:
    hints = get_type_hints(cls, include_extras=True)
    names = cls.__struct_fields__
    columns = [_column(name, hints[name]) for name in names]
    own_rules = sum("check_rules" in vars(base) for base in cls.__mro__) > 1  # the first of all is empty
    tags = (int(cls.KIND), VERSION) if hasattr(cls, "KIND") else ()
    rules = _rules(cls, columns) if own_rules or any(column.rules for column in columns) else None
    return Row(
        names=names,
        tags=tags,
        read=operator.attrgetter(*names) if len(names) > 1 else lambda record: (getattr(record, names[0]),),
        checks=tuple(column.check for column in columns),
        check_of={column.name: column.check for column in columns},
        is_sound=_compiled_test(columns),
        pack=_compiled_pack(tags, columns),
        unpack=_compiled_unpack(cls, columns, first=len(tags)),
        width=_most_items(len(tags) + len(names), [column.width for column in columns]),
        wire=None
        if any(column.is_recast for column in columns)
        else wire_of(cls, tags=tags, fields=len(names), rules=rules),
        own_rules=own_rules,
        rules=rules,
    )


row_of: Final[Callable[[Any], Row]] = cache(_row)
"""The row that a class of records declares. Raises TypeError for a hint without an encoding."""


# Records are checked and packed by the million: one expression over all fields takes a fifth of the time of
# a call for each.
def _compiled_test(columns: Sequence[Column]) -> Callable[[Any], bool]:
    checks = {f"check_{column.name}": column.check for column in columns if not column.test}
    tests = [
        (column.test or f"check_{column.name}({{0}}) is None").format(f"record.{column.name}")
        for column in columns
    ]
    return _compiled("record", " and ".join(tests), checks)


def _compiled_pack(tags: Sequence[int], columns: Sequence[Column]) -> Callable[[Any], list[Value]]:
    packs = {f"pack_{column.name}": column.pack for column in columns if column.pack}
    items = [
        f"pack_{column.name}(record.{column.name})" if column.pack else f"record.{column.name}"
        for column in columns
    ]
    return _compiled("record", f"[{', '.join([*map(str, tags), *items])}]", packs)


def _compiled_unpack(cls: Any, columns: Sequence[Column], *, first: int) -> Callable[[Any], Any]:
    names = {f"unpack_{column.name}": column.unpack for column in columns if column.unpack}
    items = [
        f"{column.name}=unpack_{column.name}(values[{place}])"
        if column.unpack
        else f"{column.name}=values[{place}]"
        for place, column in enumerate(columns, start=first)
    ]
    return _compiled("values", f"new_record({', '.join(items)})", {**names, "new_record": cls})


def _rules(cls: Any, columns: Sequence[Column]) -> Callable[[Any], None]:
    inner = [(column.name, column.rules) for column in columns if column.rules]
    if not inner:
        return cls.check_rules  # type: ignore[no-any-return]

    def check(record: Any) -> None:
        for name, rules in inner:
            rules(getattr(record, name))
        record.check_rules()

    return check


def _compiled(argument: str, expression: str, names: dict[str, Any]) -> Callable[[Any], Any]:
    # The source is made of the fields' names alone, which are identifiers.
    return eval(f"lambda {argument}: {expression}", names)  # type: ignore[no-any-return]


def _most_items(own: int, others: Iterable[int | None]) -> int | None:
    most = own
    for width in others:
        if width is None:
            return None
        most = max(most, width)
    return most


def _column(name: str, hint: Any) -> Column:
    if get_origin(hint) is Annotated:
        limit = get_args(hint)[1]
        if isinstance(limit, Meta) and limit.le is not None:
            most = int(limit.le)
            whole = "(type({0}) is int or isinstance({0}, int) and type({0}) is not bool)"
            return Column(name, _unsigned_check(name, most), f"{whole} and 0 <= {{0}} <= {most}")
        if isinstance(limit, Meta) and limit.max_length is not None:
            least, most = limit.min_length or 0, limit.max_length
            test = f"type({{0}}) is bytes and {least} <= len({{0}}) <= {most}"
            return Column(name, _octets_check(name, least, most), test)
        if isinstance(limit, Text):
            read = _text_reader(name)
            return Column(name, _text_check(name, limit), pack=str.encode, unpack=read, is_recast=True)
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        return _array_column(name, _column(f"an item of {name}", get_args(hint)[0]))
    if isinstance(hint, type) and issubclass(hint, Struct):
        return _nested_column(name, hint)
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


def _nested_column(name: str, cls: Any) -> Column:
    row = row_of(cls)
    return Column(
        name,
        _nested_check(name, cls),
        pack=operator.methodcaller("to_values"),
        unpack=cls.from_values,
        width=row.width,
        is_recast=row.wire is None or bool(row.tags),
        rules=row.rules,
    )


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

    def rules(value: Any) -> None:
        for part in value:
            item.rules(part)  # type: ignore[misc]

    return Column(
        name,
        check,
        pack=pack,
        unpack=unpack,
        width=None,
        is_recast=item.is_recast,
        rules=rules if item.rules else None,
    )

"""Damaged, forged and hostile bytes: read as what they are, or refused with one error.

Source: specs/records.md §1."""

import random
from collections.abc import Callable
from typing import Any, Protocol

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creditledger.errors import MalformedRecordError
from creditledger.records import canonical
from creditledger.records.entry import Entry, Submission
from record_strategies import RECORDS, entries, fields_of, submissions


class Encoded(Protocol):
    """A record, an entry or a submission."""

    def encode(self) -> bytes: ...


Values = list[Any]
Chance = random.Random


def flip_bit(encoded: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(encoded))
    return encoded[:at] + bytes([encoded[at] ^ 1 << chance.randrange(8)]) + encoded[at + 1 :]


def cut(encoded: bytes, chance: Chance) -> bytes:
    return encoded[: chance.randrange(len(encoded))]


def extend(encoded: bytes, chance: Chance) -> bytes:
    return encoded + chance.randbytes(chance.randint(1, 9))


def swap_byte(encoded: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(encoded))
    heads = b"\x80\x90\x91\x9f\xa0\xff" + bytes(range(0xC0, 0xE0))
    return encoded[:at] + bytes([chance.choice(heads)]) + encoded[at + 1 :]


def drop_byte(encoded: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(encoded))
    return encoded[:at] + encoded[at + 1 :]


def insert_bytes(encoded: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(encoded))
    piece = chance.choice(
        [b"\x91", b"\x90", b"\xdc\x00\x01", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\x91" * 9, b"\xc0"]
    )
    return encoded[:at] + piece + encoded[at:]


def repeat_piece(encoded: bytes, chance: Chance) -> bytes:
    start, stop = sorted(chance.randrange(len(encoded) + 1) for _ in range(2))
    return encoded[:stop] + encoded[start:stop] + encoded[stop:]


def overlong_integer(encoded: bytes, chance: Chance) -> bytes:
    places = [at for at, byte in enumerate(encoded) if byte < 0x80]
    if not places:
        return b""
    at = chance.choice(places)
    wide = chance.choice([b"\xcc", b"\xcd\x00", b"\xce\x00\x00\x00", b"\xcf" + bytes(7), b"\xd0"])
    return encoded[:at] + wide + encoded[at:]


def overlong_length(encoded: bytes, chance: Chance) -> bytes:
    at = encoded.find(b"\xc4", chance.randrange(len(encoded)))
    return encoded[:at] + chance.choice([b"\xc5\x00", b"\xc6\x00\x00\x00"]) + encoded[at + 1 :]


BYTE_MUTATIONS: list[Callable[[bytes, Chance], bytes]] = [
    flip_bit, cut, extend, swap_byte, drop_byte, insert_bytes, repeat_piece, overlong_integer,
    overlong_length,
]  # fmt: skip

FOREIGN: list[Callable[[Any], Any]] = [
    lambda value: None,
    lambda value: True,
    lambda value: float(value) if isinstance(value, int) else 1.0,
    lambda value: value.hex() if isinstance(value, bytes) else "a",
    lambda value: {1: value},
    lambda value: {},
    lambda value: msgpack.ExtType(5, b"abcd"),
    lambda value: msgpack.Timestamp(5),
    lambda value: -1,
    lambda value: 2**64 - 1,
    lambda value: [value],
    lambda value: [value, value],
    lambda value: [],
    lambda value: [[[[[[[[[value]]]]]]]]],
    lambda value: value + 1 if isinstance(value, int) else 1,
    lambda value: value + b"\0" if isinstance(value, bytes) else b"",
]


def replace_somewhere(values: Any, chance: Chance) -> Any:
    """The plain values of a record with one of them, at any depth, put in another way."""
    at = chance.randrange(len(values))
    part = values[at]
    deeper = isinstance(part, list) and part and chance.random() < 0.7
    other = replace_somewhere(part, chance) if deeper else chance.choice(FOREIGN)(part)
    return [*values[:at], other, *values[at + 1 :]]


def mutate(encoded: bytes, chance: Chance) -> bytes:
    """Bytes near ``encoded``: damaged as bytes, or with another value in some place."""
    if chance.random() < 0.4:
        values = msgpack.unpackb(encoded, strict_map_key=False)
        packed: bytes = msgpack.packb(replace_somewhere(values, chance))
        return packed
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        encoded = chance.choice(BYTE_MUTATIONS)(encoded, chance) or encoded
    return encoded


def read_or_refuse(decode: Callable[[bytes], Encoded], encoded: bytes) -> bool:
    """Whether ``encoded`` is read, and then as nothing but itself. Any other error fails the test."""
    try:
        value = decode(encoded)
    except MalformedRecordError as raised:
        error = raised
    else:
        assert value.encode() == encoded
        return True
    assert len(str(error)) + len(error.expected) + len(error.found) <= 900
    return False


@pytest.mark.parametrize("name", sorted(RECORDS))
@settings(max_examples=settings.default.max_examples // 3)
@given(data=st.data(), seed=st.integers(0, 2**64))
def test_a_mutated_record_is_read_as_itself_or_refused(name: str, data: st.DataObject, seed: int) -> None:
    encoded = data.draw(fields_of(RECORDS[name])).encode()
    chance = random.Random(seed)
    for _ in range(10):
        read_or_refuse(RECORDS[name].decode, mutate(encoded, chance))


@given(entry=entries(), seed=st.integers(0, 2**64))
def test_a_mutated_entry_is_read_as_itself_or_refused(entry: Entry, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(30):
        read_or_refuse(Entry.decode, mutate(entry.encode(), chance))


@given(submission=submissions(), seed=st.integers(0, 2**64))
def test_a_mutated_submission_is_read_as_itself_or_refused(submission: Submission, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(30):
        read_or_refuse(Submission.decode, mutate(submission.encode(), chance))


def test_the_mutations_are_near_enough_to_be_read_sometimes() -> None:
    """Else the laws above would speak of refusals only."""
    chance = random.Random(1)
    record = RECORDS["expire"](hold=bytes(32))  # type: ignore[call-arg]
    read = sum(read_or_refuse(RECORDS["expire"].decode, mutate(record.encode(), chance)) for _ in range(500))
    assert 20 <= read <= 450


def hostile_bytes(chance: Chance) -> bytes:
    """Random heads with plausible lengths: mostly broken, now and then canonical."""
    heads = b"\x00\x7f\x90\x91\x92\x93\xc4\xc4\xcc\xcd\xce\xcf\xdc\xa1\x81\xc0\xff"
    pieces = []
    for _ in range(chance.randint(1, 12)):
        head = bytes([chance.choice(heads)])
        size = chance.choice([0, 0, 0, 1, 2, 4, 8])
        pieces.append(head + (bytes([size]) if head == b"\xc4" else b"") + chance.randbytes(size))
    return b"".join(pieces)


class Plain:
    """A canonical value with the shape of a record."""

    def __init__(self, encoded: bytes) -> None:
        self._value = canonical.decode(encoded)

    def encode(self) -> bytes:
        return canonical.encode(self._value)


def test_random_bytes_are_read_as_themselves_or_refused() -> None:
    chance = random.Random(2)
    read = sum(read_or_refuse(Plain, hostile_bytes(chance)) for _ in range(20_000))
    read += sum(read_or_refuse(Plain, chance.randbytes(chance.randint(0, 12))) for _ in range(20_000))
    assert read >= 500

"""A record's bytes, written and read in one call: the same bytes as `records.canonical` gives.

Source: specs/records.md §1 and §3."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from creditledger.errors import MalformedRecordError

encoder: Final = msgspec.msgpack.Encoder()
"""Writes integers, bytes and arrays in their shortest forms."""


Encode = Callable[[Any], bytes]
Decode = Callable[[bytes], Any]
DecodeAll = Callable[[Sequence[bytes]], list[Any]]
Rules = Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Wire:
    """The encoding of one class whose fields are numbers, bytes, rows of such and arrays of such.

    ``encode`` gives the canonical bytes of a record, of any length. ``decode`` gives the instance that such
    bytes spell, ``decode_all`` those of many; both raise MalformedRecordError for all other bytes, and do not
    say what is wrong."""

    encode: Encode
    decode: Decode
    decode_all: DecodeAll


def wire_of(cls: Any, *, tags: Sequence[int], fields: int, rules: Rules | None) -> Wire:
    """How ``cls`` is written: the ``tags``, all below 128, then its ``fields`` fields. ``rules`` raises where
    what was read breaks a rule between fields."""
    head = _header(len(tags) + fields) + bytes(tags)
    bare = _header(fields)
    return Wire(
        encode=_encode(head, bare),
        decode=_decode(head, bare, msgspec.msgpack.Decoder(cls).decode, rules),
        decode_all=_decode_all(head, bare, msgspec.msgpack.Decoder(list[cls]).decode, rules),
    )


# Closures: a receipt is read in a microsecond, of which each look at an attribute would be a thirtieth.
def _encode(head: bytes, bare: bytes) -> Encode:
    write, cut = encoder.encode, len(bare)

    def encode(record: Any) -> bytes:
        return head + write(record)[cut:]

    return encode


def _decode(head: bytes, bare: bytes, read: Decode, rules: Rules | None) -> Decode:
    write, cut = encoder.encode, len(head)

    def decode(encoded: bytes) -> Any:
        if encoded[:cut] != head:
            raise _another_beginning(head)
        fields = bare + encoded[cut:]
        found = _read(read, fields)
        if write(found) != fields:
            raise _not_canonical()
        if rules is not None:
            rules(found)
        return found

    return decode


def _decode_all(head: bytes, bare: bytes, read: Decode, rules: Rules | None) -> DecodeAll:
    write, cut = encoder.encode, len(head)

    def decode_all(encoded: Sequence[bytes]) -> list[Any]:
        for one in encoded:
            if one[:cut] != head:
                raise _another_beginning(head)
        fields = [bare + one[cut:] for one in encoded]
        found: list[Any] = _read(read, _long_header(len(fields)) + b"".join(fields))
        # Each by itself: bytes moved from one to its neighbour would give the same whole.
        if list(map(write, found)) != fields:
            raise _not_canonical()
        if rules is not None:
            for record in found:
                rules(record)
        return found

    return decode_all


def _read(read: Decode, fields: bytes) -> Any:
    try:
        return read(fields)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MalformedRecordError("bytes are not such a record", found=str(error)[:80]) from None


def _header(items: int) -> bytes:
    return encoder.encode((0,) * items)[:-items]


def _long_header(items: int) -> bytes:
    return b"\xdd" + items.to_bytes(4, "big")


def _another_beginning(head: bytes) -> MalformedRecordError:
    return MalformedRecordError("bytes begin otherwise", expected=head.hex())


def _not_canonical() -> MalformedRecordError:
    return MalformedRecordError("bytes are not in canonical form", expected="shortest encoding")

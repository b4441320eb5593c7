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


@dataclass(frozen=True, slots=True)
class Wire:
    """The encoding of one class whose fields are numbers, bytes, rows of such and arrays of such.

    ``encode`` gives the canonical bytes of a record, of any length. ``decode`` gives the instance that such
    bytes spell, whose rules between fields are still to be checked; it raises MalformedRecordError for all
    other bytes, and does not say what is wrong."""

    encode: Encode
    decode: Decode


def wire_of(cls: Any, *, tags: Sequence[int], fields: int) -> Wire:
    """How ``cls`` is written: the ``tags``, all below 128, then its ``fields`` fields."""
    head = _header(len(tags) + fields) + bytes(tags)
    bare = _header(fields)
    return Wire(encode=_encode(head, bare), decode=_decode(head, bare, msgspec.msgpack.Decoder(cls).decode))


# Closures: a receipt is read in a microsecond, of which each look at an attribute would be a thirtieth.
def _encode(head: bytes, bare: bytes) -> Encode:
    write, cut = encoder.encode, len(bare)

    def encode(record: Any) -> bytes:
        return head + write(record)[cut:]

    return encode


def _decode(head: bytes, bare: bytes, read: Decode) -> Decode:
    write, cut = encoder.encode, len(head)

    def decode(encoded: bytes) -> Any:
        if encoded[:cut] != head:
            raise MalformedRecordError("bytes begin otherwise", expected=head.hex())
        fields = bare + encoded[cut:]
        try:
            found = read(fields)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedRecordError("bytes are not such a record", found=str(error)[:80]) from None
        if write(found) != fields:
            raise MalformedRecordError("bytes are not in canonical form", expected="shortest encoding")
        return found

    return decode


def _header(items: int) -> bytes:
    return encoder.encode((0,) * items)[:-items]

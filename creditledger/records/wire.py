"""A record's bytes, written and read in one call: the same bytes as `records.canonical` gives.

Source: specs/records.md §1 and §3."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from creditledger.errors import MalformedRecordError

encoder: Final = msgspec.msgpack.Encoder()
"""Writes integers, bytes and arrays in their shortest forms."""


@dataclass(frozen=True, slots=True)
class Wire:
    """The encoding of one class whose fields are numbers, bytes, rows of such and arrays of such."""

    head: bytes
    """What the encoding begins with: the array's header, then the tags."""
    bare: bytes
    """The header of the array of the fields alone."""
    read: Callable[[bytes], Any]

    def encode(self, record: Any) -> bytes:
        """The canonical bytes of a record, of any length."""
        return self.head + encoder.encode(record)[len(self.bare) :]

    def decode(self, encoded: bytes) -> Any:
        """The instance that these bytes spell in their shortest forms; its rules between fields are still to
        be checked. Raises MalformedRecordError, which does not say what is wrong."""
        if not encoded.startswith(self.head):
            raise MalformedRecordError("bytes begin otherwise", expected=self.head.hex())
        try:
            found = self.read(self.bare + encoded[len(self.head) :])
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedRecordError("bytes are not such a record", found=str(error)[:80]) from None
        if self.encode(found) != encoded:
            raise MalformedRecordError("bytes are not in canonical form", expected="shortest encoding")
        return found


def wire_of(cls: Any, *, tags: Sequence[int], fields: int) -> Wire:
    """How ``cls`` is written: the ``tags``, all below 128, then its ``fields`` fields."""
    return Wire(
        head=_header(len(tags) + fields) + bytes(tags),
        bare=_header(fields),
        read=msgspec.msgpack.Decoder(cls).decode,
    )


def _header(items: int) -> bytes:
    return encoder.encode((0,) * items)[:-items]

"""One value, one encoding: msgpack arrays of unsigned integers, bytes and arrays, shortest forms.

Source: specs/records.md §1."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgpack

from creditledger.errors import MalformedRecordError

Value: TypeAlias = "int | bytes | Sequence[Value]"

RECORD_BYTES_MAX: Final = 65_535
FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
DEPTH_MAX: Final = 8
ITEMS_MAX: Final = 65_535
UNSIGNED_MAX: Final = 2**63 - 1

_packer = msgpack.Packer(use_bin_type=True, strict_types=False, autoreset=True)


def encode(value: Value, *, most: int = RECORD_BYTES_MAX) -> bytes:
    """The canonical bytes of ``value``. Raises MalformedRecordError for other types or sizes."""
    _require_room(_count_plain(value, depth=1), depth=0)
    encoded = bytes(_packer.pack(value))
    if len(encoded) > most:
        raise _too_long(encoded, most)
    return encoded


def decode(encoded: bytes, *, most: int = RECORD_BYTES_MAX) -> Value:
    """The exact inverse of `encode`: arrays come back as lists.

    Raises MalformedRecordError for bytes that `encode` would not have written; time and memory are
    bounded by ``most`` and `ITEMS_MAX`."""
    if not isinstance(encoded, bytes):
        raise MalformedRecordError("record is not bytes", found=type(encoded).__name__)
    if len(encoded) > most:
        raise _too_long(encoded, most)
    _scan(encoded)
    value = _unpack(encoded)
    if _packer.pack(value) != encoded:
        raise MalformedRecordError("bytes are not in canonical form", expected="shortest encoding")
    return value


def shown(value: object) -> str:
    """``value`` as an error may print it: an integer's first digits, else only the type's name."""
    if isinstance(value, int) and abs(value) < 2**128:
        return f"{int(value)} ({type(value).__name__})"
    return type(value).__name__


def _unpack(encoded: bytes) -> Value:
    try:
        value: Value = msgpack.unpackb(encoded)  # a header's length is at most the input's, as scanned
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise MalformedRecordError("bytes are not canonical msgpack", found=type(error).__name__) from None
    return value


_SCALAR_WIDTH: Final = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}
_LENGTH_WIDTH: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xDC: 2, 0xDD: 4}


def _scan(encoded: bytes) -> None:
    # Types, depth and counts are settled here, before msgpack builds anything: three bytes may promise
    # 65,535 items, and msgpack would make room for them at every depth.
    at, items, left = 0, 0, 1
    outer: list[int] = []  # for each array we are in, how many items its parent still has to come
    try:
        while left:
            left -= 1
            head = encoded[at]
            if head < 0x80:
                at += 1
            elif head == 0xC4:
                at += 2 + encoded[at + 1]
            elif head in _SCALAR_WIDTH:
                if head == 0xCF and encoded[at + 1] >= 0x80:
                    raise MalformedRecordError("integer is out of range", expected="0..2^63-1")
                at += _SCALAR_WIDTH[head]
            else:
                is_bytes, length, at = _header(encoded, head, at)
                if is_bytes:
                    at += length
                else:
                    items += length
                    _require_room(items, depth=len(outer) + 1)
                    outer.append(left)
                    left = length
            while not left and outer:
                left = outer.pop()
    except IndexError:
        at = -1
    if at != len(encoded):
        raise MalformedRecordError("bytes do not end where the record does", found=f"{len(encoded)} bytes")


def _header(encoded: bytes, head: int, at: int) -> tuple[bool, int, int]:
    # Whether the header at ``at`` is of bytes (else of an array), the length it gives, and where it ends.
    if 0x90 <= head <= 0x9F:
        return False, head & 0x0F, at + 1
    width = _LENGTH_WIDTH.get(head)
    if width is None:
        raise MalformedRecordError(
            "value is of a foreign type", expected="integer, bytes or array", found=f"0x{head:02x}"
        )
    end = at + 1 + width
    if end > len(encoded):
        raise IndexError
    return head in (0xC5, 0xC6), int.from_bytes(encoded[at + 1 : end], "big"), end


def _require_room(items: int, *, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise MalformedRecordError("arrays are nested too deep", expected=f"depth {DEPTH_MAX}")
    if items > ITEMS_MAX:
        raise MalformedRecordError("arrays have too many items", expected=f"at most {ITEMS_MAX} in all")


def _count_plain(value: object, *, depth: int) -> int:
    # How many items all arrays of ``value`` have together, once every one is of a permitted type.
    if type(value) is not list and type(value) is not tuple:
        _require_scalar(value)
        return 0
    items = len(value)
    _require_room(items, depth=depth)
    for item in value:
        if type(item) is not bytes:
            items += _count_plain(item, depth=depth + 1)
    return items


def _require_scalar(value: object) -> None:
    if type(value) is bytes:
        return
    if not isinstance(value, int) or type(value) is bool:
        raise MalformedRecordError(
            "value is of a foreign type", expected="integer, bytes or array", found=type(value).__name__
        )
    if not 0 <= value <= UNSIGNED_MAX:
        raise MalformedRecordError("integer is out of range", expected="0..2^63-1", found=shown(value))


def _too_long(encoded: bytes, most: int) -> MalformedRecordError:
    return MalformedRecordError(
        "record is too long", expected=f"at most {most} bytes", found=f"{len(encoded)} bytes"
    )

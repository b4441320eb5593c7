"""One value, one encoding: msgpack arrays of unsigned integers, bytes and arrays, shortest forms.

Source: specs/records.md §1."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgpack
import msgspec

from creditledger.errors import MalformedRecordError

Value: TypeAlias = "int | bytes | Sequence[Value]"

RECORD_BYTES_MAX: Final = 65_535
FRAME_BYTES_MAX: Final = 4 * 1024 * 1024
DEPTH_MAX: Final = 8
ITEMS_MAX: Final = 65_535
UNSIGNED_MAX: Final = 2**63 - 1

_encoder = msgspec.msgpack.Encoder()


def encode(value: Value, *, most: int = RECORD_BYTES_MAX) -> bytes:
    """The canonical bytes of ``value``. Raises MalformedRecordError for other types or sizes."""
    if _count_plain(value, depth=1) > ITEMS_MAX:
        raise _too_many()
    return pack(value, most=most)


def pack(value: Value, *, most: int = RECORD_BYTES_MAX) -> bytes:
    """`encode` for a value that is known to be made of permitted ones, as the fields of a record are."""
    return within(_encoder.encode(value), most)


def within(encoded: bytes, most: int) -> bytes:
    """``encoded`` if it is no longer than ``most``. Raises MalformedRecordError."""
    if len(encoded) > most:
        raise _too_long(encoded, most)
    return encoded


class Room:
    """How many items several encodings may have together, where strangers send many at once."""

    __slots__ = ("items",)

    def __init__(self, items: int = ITEMS_MAX) -> None:
        self.items = items


def decode(
    encoded: bytes,
    *,
    most: int = RECORD_BYTES_MAX,
    room: Room | None = None,
    width: int | None = None,
) -> Value:
    """The exact inverse of `encode`: arrays come back as lists. ``room`` is used up by what is read.

    ``width``: no array has more items. Then nothing is counted beforehand, and what comes back may be of
    other types: for callers that check those of all of it, as the fields of a record do.

    Raises MalformedRecordError for bytes that `encode` would not have written; time and memory are
    bounded by ``most`` and `ITEMS_MAX`."""
    if not isinstance(encoded, bytes):
        raise MalformedRecordError("record is not bytes", found=type(encoded).__name__)
    if len(encoded) > most:
        raise _too_long(encoded, most)
    if width is None:
        _scan(encoded, Room() if room is None else room)
        value = _unpack(encoded)
    else:
        value = _unpack_narrow(encoded, width)
    if _encoder.encode(value) != encoded:
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


def _unpack_narrow(encoded: bytes, width: int) -> Value:
    # msgpack makes room for what a header promises: so little is never too much, however deep.
    try:
        value: Value = msgpack.unpackb(
            encoded, max_array_len=width, max_map_len=0, max_str_len=0, max_ext_len=0
        )
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise MalformedRecordError("bytes are not such a record", found=type(error).__name__) from None
    return value


_INTEGER_WIDTH: Final = {0xCC: 2, 0xCD: 3, 0xCE: 5, 0xCF: 9}
_LENGTH_WIDTH: Final = {0xC5: 2, 0xC6: 4, 0xDC: 2, 0xDD: 4}


def _scan(encoded: bytes, room: Room) -> None:
    # Types, depth and counts are settled here, before msgpack builds anything: three bytes may promise
    # 65,535 items, and msgpack would make room for them at every depth.
    try:
        end = _skip(encoded, 0, 1, depth=0, room=room)
    except IndexError:
        end = -1
    if end != len(encoded):
        raise MalformedRecordError("bytes do not end where the record does", found=f"{len(encoded)} bytes")


def _skip(encoded: bytes, at: int, count: int, *, depth: int, room: Room) -> int:
    # Where the ``count`` values from ``at`` on end; ``room``: the items still permitted.
    for _ in range(count):
        head = encoded[at]
        if head == 0xC4:
            at += 2 + encoded[at + 1]
        elif head < 0x80 or (head == 0x90 and depth < DEPTH_MAX):
            at += 1
        elif head in _INTEGER_WIDTH:
            if head == 0xCF and encoded[at + 1] >= 0x80:
                raise MalformedRecordError("integer is out of range", expected="0..2^63-1")
            at += _INTEGER_WIDTH[head]
        elif head == 0xC5 or head == 0xC6:
            length, at = _length(encoded, at)
            at += length
        else:
            length, at = (head & 0x0F, at + 1) if 0x90 <= head <= 0x9F else _length(encoded, at)
            room.items -= length
            if depth == DEPTH_MAX or room.items < 0:
                raise _too_deep() if depth == DEPTH_MAX else _too_many()
            at = _skip(encoded, at, length, depth=depth + 1, room=room)
    return at


def _length(encoded: bytes, at: int) -> tuple[int, int]:
    # The length that the header at ``at`` gives, and where the header ends.
    width = _LENGTH_WIDTH.get(encoded[at])
    if width is None:
        raise MalformedRecordError(
            "value is of a foreign type", expected="integer, bytes or array", found=f"0x{encoded[at]:02x}"
        )
    end = at + 1 + width
    if end > len(encoded):
        raise IndexError
    return int.from_bytes(encoded[at + 1 : end], "big"), end


def _count_plain(value: object, *, depth: int) -> int:
    # How many items all arrays of ``value`` have together, once every one is of a permitted type.
    if type(value) is not list and type(value) is not tuple:
        _require_scalar(value)
        return 0
    if depth > DEPTH_MAX:
        raise _too_deep()
    items = len(value)
    for item in value:
        kind = type(item)
        if kind is not bytes and not (kind is int and 0 <= item <= UNSIGNED_MAX):
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


def _too_deep() -> MalformedRecordError:
    return MalformedRecordError("arrays are nested too deep", expected=f"depth {DEPTH_MAX}")


def _too_many() -> MalformedRecordError:
    return MalformedRecordError("arrays have too many items", expected=f"at most {ITEMS_MAX} in all")

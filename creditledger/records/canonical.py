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
UNSIGNED_MAX: Final = 2**63 - 1

_packer = msgpack.Packer(use_bin_type=True, strict_types=False, autoreset=True)


def encode(value: Value, *, most: int = RECORD_BYTES_MAX) -> bytes:
    """The canonical bytes of ``value``. Raises MalformedRecordError for other types or sizes."""
    _require_plain(value, depth=1)
    encoded = bytes(_packer.pack(value))
    if len(encoded) > most:
        raise MalformedRecordError(
            "record is too long", expected=f"at most {most} bytes", found=f"{len(encoded)} bytes"
        )
    return encoded


def decode(encoded: bytes, *, most: int = RECORD_BYTES_MAX) -> Value:
    """The exact inverse of `encode`: arrays come back as lists.

    Raises MalformedRecordError for bytes that `encode` would not have written; time and memory are
    bounded by ``most``."""
    if len(encoded) > most:
        raise MalformedRecordError(
            "record is too long", expected=f"at most {most} bytes", found=f"{len(encoded)} bytes"
        )
    _require_shallow(encoded)
    value = _unpack(encoded)
    _require_plain(value, depth=1)
    if bytes(_packer.pack(value)) != encoded:
        raise MalformedRecordError("bytes are not in canonical form", expected="shortest encoding")
    return value


def _unpack(encoded: bytes) -> Value:
    try:
        value: Value = msgpack.unpackb(
            encoded,
            raw=False,
            use_list=True,
            strict_map_key=True,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=0,
            max_array_len=len(encoded),
            max_bin_len=len(encoded),
        )
    except (ValueError, TypeError, msgpack.exceptions.UnpackException, RecursionError) as error:
        raise MalformedRecordError("bytes are not canonical msgpack", found=type(error).__name__) from None
    return value


def _require_shallow(encoded: bytes) -> None:
    # A run of array headers nests without content: refuse it before anything is built.
    run = 0
    for byte in encoded[: DEPTH_MAX + 1]:
        run = run + 1 if 0x90 <= byte <= 0x9F else 0
        if byte < 0x90 or byte > 0x9F:
            return
    if run > DEPTH_MAX:
        raise MalformedRecordError("arrays are nested too deep", expected=f"depth {DEPTH_MAX}")


def _require_plain(value: object, *, depth: int) -> None:
    kind = type(value)
    if kind is bytes:
        return
    if kind is list or kind is tuple:
        if depth > DEPTH_MAX:
            raise MalformedRecordError("arrays are nested too deep", expected=f"depth {DEPTH_MAX}")
        for item in value:  # type: ignore[attr-defined]
            _require_plain(item, depth=depth + 1)
        return
    if isinstance(value, int) and kind is not bool:
        if not 0 <= value <= UNSIGNED_MAX:
            raise MalformedRecordError("integer is out of range", expected="0..2^63-1", found=str(value)[:40])
        return
    raise MalformedRecordError(
        "value is of a foreign type", expected="integer, bytes or array", found=kind.__name__
    )

"""The exact digest of delivered rows: a salted Merkle root over positions. Source: specs/check.md §1."""

import hashlib
import hmac
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from creditledger.errors import ActivationError, OpeningError

Rows: TypeAlias = NDArray[np.uint16] | NDArray[np.float16] | NDArray[np.float32]
"""``(positions, hidden)``: bf16 bit patterns as uint16, float16 or float32."""

WIDTH_MAX: Final = 32_768
"""Widest row: up to here the sums of a sketch stay below 2^53."""
POSITION_END_MAX: Final = 2**32
SALT_BYTES: Final = 16
PATH_MAX: Final = 32
_KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 64
_ROW_DTYPES: Final = (np.uint16, np.float16, np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowOpening:
    """One row with what it takes to find it under a root; the other rows' salts stay secret."""

    position: int
    salt: bytes
    row: bytes
    """The row's little-endian bytes."""
    path: tuple[bytes, ...]
    """Sibling hashes from the leaf up, 32 bytes each; a promoted node has none."""


def require_rows(array: object) -> Rows:
    """``array`` if it is a matrix of rows that can be digested.

    uint16 (bf16 bit patterns), float16 or float32 in native order, ``(positions, hidden)``, at least
    one position, 1 to 32,768 wide. Raises ActivationError."""
    if not isinstance(array, np.ndarray) or array.dtype not in _ROW_DTYPES:
        found = str(getattr(array, "dtype", type(array).__name__))
        raise ActivationError(
            "rows are of another type", expected="uint16, float16 or float32 array", found=found
        )
    if array.ndim != 2 or array.shape[0] < 1 or not 1 <= array.shape[1] <= WIDTH_MAX:
        raise ActivationError(
            "rows have another shape",
            expected=f"(positions >= 1, 1 <= hidden <= {WIDTH_MAX})",
            found=str(array.shape)[:80],
        )
    return array


def boundary_key(job_secret: bytes, boundary: int) -> bytes:
    """HMAC-SHA256(job secret, u32le boundary): the key of all salts where layer ``boundary`` starts.

    ``job_secret``: 32 bytes. The client gives each node only its two boundary keys.
    Raises ActivationError. Source: specs/check.md §1."""
    _require_key(job_secret, what="job secret")
    if not 0 <= boundary < 2**32:
        raise ActivationError("boundary is out of range", expected="u32", found=str(boundary)[:40])
    return hmac.digest(job_secret, struct.pack("<I", boundary), "sha256")


def row_salt(key: bytes, position: int) -> bytes:
    """HMAC-SHA256(boundary key, u32le position)[:16]. Source: specs/check.md §1."""
    _require_key(key, what="boundary key")
    _require_span(position, 1)
    return hmac.digest(key, struct.pack("<I", position), "sha256")[:SALT_BYTES]


def delivered_root(rows: Rows, *, boundary_key: bytes, first_position: int) -> bytes:
    """The 32-byte root over ``rows``, of which the first has absolute position ``first_position``.

    The rows' bytes are hashed as they lie, little-endian. Raises ActivationError.
    Source: specs/check.md §1."""
    return _levels(_leaves(rows, boundary_key, first_position))[-1][0]


def verify_delivered(rows: Rows, *, boundary_key: bytes, first_position: int, root: bytes) -> None:
    """Check that ``rows`` are the ones under ``root``. Raises OpeningError, or ActivationError."""
    found = delivered_root(rows, boundary_key=boundary_key, first_position=first_position)
    if not hmac.compare_digest(found, root):
        raise OpeningError("rows are not under the root", expected=root.hex(), found=found.hex())


def prove_row(rows: Rows, position: int, *, boundary_key: bytes, first_position: int) -> RowOpening:
    """Open the row at absolute ``position`` of ``rows``. Raises ActivationError."""
    levels = _levels(_leaves(rows, boundary_key, first_position))
    index = position - first_position
    if not 0 <= index < len(rows):
        raise ActivationError(
            "position is not among the rows",
            expected=f"{first_position}..{first_position + len(rows) - 1}",
            found=str(position)[:40],
        )
    path = []
    for depth, level in enumerate(levels[:-1]):
        sibling = (index >> depth) ^ 1
        if sibling < len(level):
            path.append(level[sibling])
    row = bytes(_bytes_of(rows[index : index + 1]))
    salt = row_salt(boundary_key, position)
    return RowOpening(position=position, salt=salt, row=row, path=tuple(path))


def verify_row(opening: RowOpening, *, root: bytes, first_position: int, count: int) -> None:
    """Check that ``opening`` is a row of the ``count`` rows from ``first_position`` under ``root``.

    Raises OpeningError. Source: specs/check.md §1."""
    index, width = opening.position - first_position, count
    if not (0 <= index < width and opening.position < POSITION_END_MAX):
        raise OpeningError(
            "position is not in the window",
            expected=f"{first_position}..{first_position + count - 1}"[:80],
            found=str(opening.position)[:40],
        )
    _require_opening(opening)
    node, siblings = _leaf(opening.position, opening.salt, opening.row), iter(opening.path)
    while width > 1:
        if index ^ 1 < width:
            sibling = next(siblings, None)
            if sibling is None:
                raise OpeningError("path is too short")
            node = _node(sibling, node) if index & 1 else _node(node, sibling)
        index, width = index >> 1, (width + 1) >> 1
    if next(siblings, None) is not None:
        raise OpeningError("path is too long")
    if not hmac.compare_digest(node, root):
        raise OpeningError("row is not under the root", expected=root.hex(), found=node.hex())


def _leaves(rows: Rows, key: bytes, first_position: int) -> list[bytes]:
    require_rows(rows)
    _require_key(key, what="boundary key")
    _require_span(first_position, len(rows))
    view = _bytes_of(rows)
    stride = len(view) // len(rows)
    positions = range(first_position, first_position + len(rows))
    return [
        _leaf(position, salt, view[index * stride : (index + 1) * stride])
        for index, (position, salt) in enumerate(zip(positions, _salts(key, positions), strict=True))
    ]


def _salts(key: bytes, positions: Sequence[int]) -> Iterator[bytes]:
    # HMAC spelled out (RFC 2104): the two padded key blocks are hashed once, not once a row.
    padded = key.ljust(_BLOCK_BYTES, b"\0")
    inner_start = hashlib.sha256(bytes(octet ^ 0x36 for octet in padded))
    outer_start = hashlib.sha256(bytes(octet ^ 0x5C for octet in padded))
    for position in positions:
        inner, outer = inner_start.copy(), outer_start.copy()
        inner.update(struct.pack("<I", position))
        outer.update(inner.digest())
        yield outer.digest()[:SALT_BYTES]


def _leaf(position: int, salt: bytes, row: bytes | memoryview) -> bytes:
    prefix = b"\0cl/leaf" + struct.pack("<I", position) + salt
    return hashlib.sha256(b"".join((prefix, row))).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1cl/node" + left + right).digest()


def _levels(leaves: list[bytes]) -> list[list[bytes]]:
    """From the leaves up to the root; the odd last node of a level moves up as it is."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        above = [_node(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)]
        levels.append(above + below[len(below) & ~1 :])
    return levels


def _bytes_of(rows: Rows) -> memoryview:
    little = np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


def _require_key(key: bytes, *, what: str) -> None:
    if type(key) is not bytes or len(key) != _KEY_BYTES:
        raise ActivationError(f"{what} has another length", expected=f"{_KEY_BYTES} bytes")


def _require_span(first_position: int, count: int) -> None:
    if first_position < 0 or first_position + count > POSITION_END_MAX:
        raise ActivationError("positions are out of range", expected="u32", found=str(first_position)[:40])


def _require_opening(opening: RowOpening) -> None:
    if len(opening.salt) != SALT_BYTES or len(opening.path) > PATH_MAX:
        raise OpeningError("opening is malformed", expected="16-byte salt, at most 32 siblings")
    if any(len(sibling) != 32 for sibling in opening.path):
        raise OpeningError("opening is malformed", expected="32-byte siblings")

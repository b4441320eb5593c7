"""The exact digest of delivered rows, against a plain reading of specs/check.md §1."""

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from creditledger.activations.delivered import (
    WIDTH_MAX,
    boundary_key,
    delivered_root,
    prove_row,
    require_rows,
    row_salt,
    verify_delivered,
    verify_row,
)
from creditledger.errors import ActivationError, OpeningError

VECTOR = Path(__file__).parents[2] / "vectors" / "check" / "delivered-root.json"
KEY = bytes(range(32))


def rows_of(positions: int, width: int = 6) -> np.ndarray:
    return np.random.default_rng(positions).integers(0, 2**16, (positions, width), dtype=np.uint16)


def naive_root(rows: list[bytes], key: bytes, first: int) -> bytes:
    """Written from the specification alone: loops, no arrays."""
    level = []
    for offset, row in enumerate(rows):
        where = (first + offset).to_bytes(4, "little")
        salt = hmac.new(key, where, hashlib.sha256).digest()[:16]
        level.append(hashlib.sha256(b"\x00" + b"cl/leaf" + where + salt + row).digest())
    while len(level) > 1:
        above = []
        for i in range(0, len(level), 2):
            pair = level[i : i + 2]
            node = hashlib.sha256(b"\x01" + b"cl/node" + b"".join(pair)).digest()
            above.append(node if len(pair) == 2 else pair[0])
        level = above
    return level[0]


def little_endian(rows: np.ndarray) -> list[bytes]:
    return [b"".join(int(v).to_bytes(2, "little") for v in row) for row in rows]


@pytest.mark.parametrize("positions", [1, 2, 3, 5, 7, 8, 32, 33])
def test_root_equals_a_naive_reading_of_the_specification(positions: int) -> None:
    rows = rows_of(positions)
    root = delivered_root(rows, boundary_key=KEY, first_position=256)
    assert root == naive_root(little_endian(rows), KEY, 256)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_wider_formats_are_hashed_as_their_own_bytes(dtype: type) -> None:
    rows = np.linspace(-3, 3, 20).reshape(4, 5).astype(dtype)
    raw = [row.astype(row.dtype.newbyteorder("<")).tobytes() for row in rows]
    assert delivered_root(rows, boundary_key=KEY, first_position=0) == naive_root(raw, KEY, 0)


def test_rows_need_not_lie_contiguously() -> None:
    rows = rows_of(6, 8)
    strided = rows[::2, ::2]
    assert not strided.flags.c_contiguous
    expected = delivered_root(strided.copy(), boundary_key=KEY, first_position=0)
    assert delivered_root(strided, boundary_key=KEY, first_position=0) == expected


def test_stored_vector() -> None:
    vector = json.loads(VECTOR.read_text())
    rows = np.array(vector["rows_bf16"], dtype=np.uint16)
    key = boundary_key(bytes.fromhex(vector["job_secret"]), vector["boundary"])
    assert key.hex() == vector["boundary_key"]
    assert row_salt(key, vector["first_position"]).hex() == vector["first_salt"]
    root = delivered_root(rows, boundary_key=key, first_position=vector["first_position"])
    assert root.hex() == vector["root"]


def test_boundary_keys_differ_by_boundary_and_refuse_a_short_secret() -> None:
    assert boundary_key(KEY, 3) == hmac.digest(KEY, b"\3\0\0\0", "sha256")
    assert boundary_key(KEY, 3) != boundary_key(KEY, 4)
    with pytest.raises(ActivationError):
        boundary_key(KEY[:31], 3)
    with pytest.raises(ActivationError):
        boundary_key(KEY, -1)


def test_verify_delivered_accepts_the_rows_and_refuses_others() -> None:
    rows = rows_of(4)
    root = delivered_root(rows, boundary_key=KEY, first_position=0)
    verify_delivered(rows, boundary_key=KEY, first_position=0, root=root)
    rows[2, 1] ^= 1
    with pytest.raises(OpeningError):
        verify_delivered(rows, boundary_key=KEY, first_position=0, root=root)


@pytest.mark.parametrize("positions", [1, 2, 3, 6, 11])
def test_every_row_opens_under_the_root(positions: int) -> None:
    rows = rows_of(positions)
    root = delivered_root(rows, boundary_key=KEY, first_position=512)
    for position in range(512, 512 + positions):
        opening = prove_row(rows, position, boundary_key=KEY, first_position=512)
        assert opening.row == little_endian(rows)[position - 512]
        verify_row(opening, root=root, first_position=512, count=positions)


@pytest.mark.parametrize(
    "change",
    [
        {"row": bytes(12)},
        {"salt": bytes(16)},
        {"salt": bytes(15)},
        {"position": 513},
        {"position": 600},
        {"path": ()},
        {"path": (bytes(32),) * 4},
        {"path": (bytes(31),) * 3},
        {"path": (bytes(32),) * 40},
    ],
    ids=lambda change: "-".join(change),
)
def test_a_changed_opening_is_refused(change: dict) -> None:
    rows = rows_of(6)
    root = delivered_root(rows, boundary_key=KEY, first_position=512)
    opening = prove_row(rows, 514, boundary_key=KEY, first_position=512)
    verify_row(opening, root=root, first_position=512, count=6)
    with pytest.raises(OpeningError):
        verify_row(replace(opening, **change), root=root, first_position=512, count=6)


def test_an_opening_is_refused_under_another_count() -> None:
    rows = rows_of(6)
    root = delivered_root(rows, boundary_key=KEY, first_position=0)
    opening = prove_row(rows, 5, boundary_key=KEY, first_position=0)
    verify_row(opening, root=root, first_position=0, count=6)
    for count in (0, 5, 7, 8):
        with pytest.raises(OpeningError):
            verify_row(opening, root=root, first_position=0, count=count)


def test_a_position_outside_the_rows_cannot_be_proved() -> None:
    prove_row(rows_of(3), 2, boundary_key=KEY, first_position=0)
    with pytest.raises(ActivationError):
        prove_row(rows_of(3), 3, boundary_key=KEY, first_position=0)


@pytest.mark.parametrize(
    "array",
    [
        [[1, 2]],
        np.zeros((2, 3), np.float64),
        np.zeros((2, 3), np.int16),
        np.zeros((2, 3), ">f4"),
        np.zeros(3, np.float32),
        np.zeros((0, 3), np.float32),
        np.zeros((3, 0), np.float32),
        np.zeros((1, WIDTH_MAX + 1), np.uint16),
    ],
    ids=["list", "f64", "i16", "big-endian", "1-d", "no-row", "no-column", "too-wide"],
)
def test_other_arrays_are_refused(array: object) -> None:
    with pytest.raises(ActivationError):
        require_rows(array)


def test_the_widest_row_is_accepted() -> None:
    rows = np.zeros((1, WIDTH_MAX), np.uint16)
    assert require_rows(rows) is rows


def test_positions_end_at_two_to_the_32() -> None:
    delivered_root(rows_of(2), boundary_key=KEY, first_position=2**32 - 2)
    with pytest.raises(ActivationError):
        delivered_root(rows_of(2), boundary_key=KEY, first_position=2**32 - 1)
    with pytest.raises(ActivationError):
        delivered_root(rows_of(2), boundary_key=KEY, first_position=-1)

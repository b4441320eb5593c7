"""Laws of the exact digest, the sketch and the sealed box."""

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.activations.delivered import delivered_root, prove_row, verify_row
from creditledger.activations.sealing import (
    AuditKey,
    pack_sketches,
    seal,
    unpack_inputs,
    unpack_sketches,
)
from creditledger.activations.sketch import signed_sums, sketch
from creditledger.errors import OpeningError

KEY = bytes(range(32))
AUDITORS = [AuditKey(hashlib.sha256(bytes([n])).digest()) for n in range(2)]


@st.composite
def bit_patterns(draw: st.DrawFn) -> np.ndarray:
    positions, width = draw(st.integers(1, 20)), draw(st.integers(1, 9))
    raw = draw(st.binary(min_size=2 * positions * width, max_size=2 * positions * width))
    return np.frombuffer(raw, np.uint16).reshape(positions, width)


@st.composite
def weighted_rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    positions, width = draw(st.integers(1, 40)), draw(st.integers(1, 12))
    values = st.floats(width=32, allow_nan=False, allow_infinity=False)
    some = draw(st.lists(values, min_size=1, max_size=width * 2))
    rows = np.resize(np.array(some, np.float32), (positions, width))
    exponents = draw(st.lists(st.integers(-8, 8), min_size=width, max_size=width))
    return rows, np.array(exponents, np.int8)


@given(rows=bit_patterns(), data=st.data())
def test_any_changed_bit_changes_the_root(rows: np.ndarray, data: st.DataObject) -> None:
    root = delivered_root(rows, boundary_key=KEY, first_position=0)
    at = data.draw(st.integers(0, rows.size - 1))
    changed = rows.copy()
    changed.reshape(-1)[at] ^= 1 << data.draw(st.integers(0, 15))
    assert delivered_root(changed, boundary_key=KEY, first_position=0) != root


@given(rows=bit_patterns(), first=st.integers(1, 2**31))
def test_another_position_or_key_changes_the_root(rows: np.ndarray, first: int) -> None:
    root = delivered_root(rows, boundary_key=KEY, first_position=0)
    assert delivered_root(rows, boundary_key=KEY, first_position=first) != root
    assert delivered_root(rows, boundary_key=KEY[::-1], first_position=0) != root
    assert delivered_root(rows, boundary_key=KEY, first_position=0) == root


@given(rows=bit_patterns(), data=st.data())
def test_any_row_opens_and_only_under_its_root(rows: np.ndarray, data: st.DataObject) -> None:
    count = len(rows)
    root = delivered_root(rows, boundary_key=KEY, first_position=7)
    position = data.draw(st.integers(7, 6 + count))
    opening = prove_row(rows, position, boundary_key=KEY, first_position=7)
    verify_row(opening, root=root, first_position=7, count=count)
    with pytest.raises(OpeningError):
        verify_row(opening, root=bytes(32), first_position=7, count=count)


@given(given_rows=weighted_rows(), seed=st.binary(min_size=32, max_size=32))
def test_sums_are_exact_integers(given_rows: tuple[np.ndarray, np.ndarray], seed: bytes) -> None:
    """The naive loop over Python integers, for every float32 there is."""
    rows, exponents = given_rows
    width = rows.shape[1]
    expected = []
    for t in range(len(rows)):
        stream = hashlib.shake_128(seed + struct.pack("<I", t // 32)).digest(8 * width)
        bits = int.from_bytes(stream, "little") >> (t % 32 * 2 * width)
        units = [
            max(-(2**38), min(2**38, round(float(v) * 2.0 ** (int(e) + 12))))
            for v, e in zip(rows[t], exponents, strict=True)
        ]
        for k in range(2):
            signs = [1 if bits >> (k * width + j) & 1 else -1 for j in range(width)]
            expected.append(sum(s * u for s, u in zip(signs, units, strict=True)))
    assert signed_sums(rows, seed=seed, exponents=exponents).reshape(-1).tolist() == expected


@given(given_rows=weighted_rows(), seed=st.binary(min_size=32, max_size=32))
def test_negated_rows_have_the_negated_sketch(given_rows: tuple[np.ndarray, np.ndarray], seed: bytes) -> None:
    rows, exponents = given_rows
    plain = sketch(rows, seed=seed, exponents=exponents)
    assert np.array_equal(sketch(-rows, seed=seed, exponents=exponents), -plain)
    assert np.isfinite(plain).all()


@given(given_rows=weighted_rows(), seed=st.binary(min_size=32, max_size=32), data=st.data())
def test_channels_add_up(given_rows: tuple[np.ndarray, np.ndarray], seed: bytes, data: st.DataObject) -> None:
    """Linear in the channels: those left and right of a cut have sums that add up to the whole."""
    rows, exponents = given_rows
    cut = data.draw(st.integers(0, rows.shape[1]))
    left, right = rows.copy(), rows.copy()
    left[:, cut:], right[:, :cut] = 0, 0
    parts = [signed_sums(part, seed=seed, exponents=exponents) for part in (left, right)]
    assert np.array_equal(parts[0] + parts[1], signed_sums(rows, seed=seed, exponents=exponents))


@given(text=st.binary(max_size=300), associated=st.binary(max_size=40), data=st.data())
def test_any_changed_bit_keeps_a_box_shut(text: bytes, associated: bytes, data: st.DataObject) -> None:
    blob = seal(
        text,
        [key.public_key for key in AUDITORS],
        associated=associated,
        random_bytes=lambda size: hashlib.sha256(text).digest()[:size],
    )
    assert all(key.open(blob, associated=associated) == text for key in AUDITORS)
    changed = bytearray(blob)
    changed[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    for key in AUDITORS:
        with pytest.raises(OpeningError):
            key.open(bytes(changed), associated=associated)


@given(
    st.lists(
        st.tuples(
            st.binary(min_size=32, max_size=32),
            st.integers(1, 256).map(lambda positions: bytes(4 * positions)),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_unpacking_undoes_packing(openings: list[tuple[bytes, bytes]]) -> None:
    assert unpack_sketches(pack_sketches(openings)) == openings


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_with_the_typed_error(junk: bytes) -> None:
    for attempt in (unpack_sketches, unpack_inputs, lambda b: AUDITORS[0].open(b, associated=b"")):
        with pytest.raises(OpeningError):
            attempt(junk)

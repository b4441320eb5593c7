"""Rounding to bf16: to nearest, ties to even, for every float32."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.activations.bf16 import from_bf16_bits, is_bf16_exact, round_bf16, to_bf16_bits
from creditledger.errors import ActivationError


def _float32(bits: int) -> np.float32:
    return np.float32(struct.unpack("<f", struct.pack("<I", bits))[0])


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x3F800000, 0x3F80),  # 1 is itself
        (0x3F808000, 0x3F80),  # a tie goes down to the even neighbour
        (0x3F818000, 0x3F82),  # a tie goes up to the even neighbour
        (0x3F808001, 0x3F81),  # just above a tie
        (0x3F817FFF, 0x3F81),  # just below a tie
        (0x80000000, 0x8000),  # minus zero keeps its sign
        (0x00000001, 0x0000),  # the least subnormal
        (0x00008001, 0x0001),  # a subnormal result
        (0x7F800000, 0x7F80),  # infinity
        (0x7F7FFFFF, 0x7F80),  # the largest float32 is nearer to infinity
        (0xFF7F7FFF, 0xFF7F),  # the largest that stays finite
    ],
)
def test_rounds_to_nearest_even(bits: int, expected: int) -> None:
    assert int(to_bf16_bits(np.array([_float32(bits)]))[0]) == expected


@pytest.mark.parametrize("bits", [0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800001])
def test_nan_stays_nan_beside_ordinary_values(bits: int) -> None:
    values = np.array([bits, 0x3F808000], dtype=np.uint32).view(np.float32)
    rounded = round_bf16(values)
    assert math.isnan(rounded[0])
    assert rounded[1] == 1.0


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_no_bf16_value_is_nearer(value: float) -> None:
    """The neighbours on both sides of the result are at least as far away (in exact arithmetic)."""
    x = np.array([value], dtype=np.float32)
    bits = int(to_bf16_bits(x)[0])
    rounded = float(from_bf16_bits(np.array([bits], dtype=np.uint16))[0])
    if math.isinf(rounded):
        assert abs(value) >= 3.3961775292304957e38
        return
    magnitude = bits & 0x7FFF
    for other in {max(magnitude - 1, 0), magnitude + 1}:
        neighbour = float(from_bf16_bits(np.array([other], dtype=np.uint16))[0])
        assert abs(abs(value) - abs(rounded)) <= abs(abs(value) - neighbour)


def test_every_bit_pattern_survives_the_round_trip() -> None:
    bits = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    finite = bits[np.isfinite(from_bf16_bits(bits))]
    np.testing.assert_array_equal(to_bf16_bits(from_bf16_bits(finite)), finite)
    assert is_bf16_exact(from_bf16_bits(finite))


def test_large_arrays_and_odd_layouts_round_as_small_ones() -> None:
    x = np.random.default_rng(1).standard_normal((300, 301), dtype=np.float32)
    whole = round_bf16(x)
    np.testing.assert_array_equal(round_bf16(x.T), whole.T)
    np.testing.assert_array_equal(np.vstack([round_bf16(row) for row in x]), whole)
    assert not is_bf16_exact(x)


def test_out_may_be_the_input() -> None:
    x = np.array([1.0039062, 2.0], dtype=np.float32)
    assert round_bf16(x, out=x) is x
    assert is_bf16_exact(x)


def test_the_input_stays_as_it_was_without_out() -> None:
    x = np.array([1.001], dtype=np.float32)
    round_bf16(x)
    assert x[0] == np.float32(1.001)


def test_another_dtype_or_target_is_refused() -> None:
    x = np.zeros((2, 3), dtype=np.float32)
    with pytest.raises(ActivationError, match="wrong type"):
        round_bf16(x.astype(np.float64))  # type: ignore[arg-type]
    with pytest.raises(ActivationError, match="another shape"):
        round_bf16(x, out=np.zeros((3, 2), dtype=np.float32))
    with pytest.raises(ActivationError, match="unfit"):
        round_bf16(x, out=np.zeros((3, 2), dtype=np.float32).T)
    with pytest.raises(ActivationError, match="not bf16 bits"):
        from_bf16_bits(x)  # type: ignore[arg-type]


def test_empty_and_scalar_shapes_pass() -> None:
    assert round_bf16(np.zeros((0, 4), dtype=np.float32)).shape == (0, 4)
    assert round_bf16(np.array(1.5, dtype=np.float32)).shape == ()

"""Rows in the three formats they are delivered in. Source: specs/check.md §1."""

import numpy as np
import pytest

from creditledger.activations.bf16 import round_bf16, to_bf16_bits
from creditledger.activations.row_format import rounded_to, row_format, rows_in
from creditledger.errors import ActivationError
from creditledger.records.receipt import Dtype

VALUES = np.random.default_rng(4).standard_normal((3, 8)).astype(np.float32)


@pytest.mark.parametrize("rows", [to_bf16_bits(VALUES), VALUES.astype(np.float16), VALUES])
def test_rows_in_their_own_format_are_not_copied(rows: np.ndarray) -> None:
    delivered = {2: Dtype.BF16 if rows.dtype == np.uint16 else Dtype.FP16, 4: Dtype.FP32}[rows.itemsize]
    assert rows_in(rows, delivered) is rows


@pytest.mark.parametrize("delivered", [Dtype.BF16, Dtype.FP16])
def test_float32_is_taken_for_a_narrower_format_only_if_nothing_is_lost(delivered: Dtype) -> None:
    exact = rounded_to(VALUES, delivered)
    taken = rows_in(exact, delivered)
    expected = to_bf16_bits(exact) if delivered == Dtype.BF16 else exact.astype(np.float16)
    assert np.array_equal(taken, expected)
    with pytest.raises(ActivationError):
        rows_in(VALUES, delivered)


@pytest.mark.parametrize(
    ("rows", "delivered"),
    [
        (to_bf16_bits(VALUES), Dtype.FP16),
        (to_bf16_bits(VALUES), Dtype.FP32),
        (VALUES.astype(np.float16), Dtype.BF16),
        (VALUES.astype(np.float16), Dtype.FP32),
        (np.full((1, 2), 1e5, np.float32), Dtype.FP16),
    ],
)
def test_rows_of_another_format_are_refused(rows: np.ndarray, delivered: Dtype) -> None:
    """A widened row has other bytes than the ones that were handed over."""
    with pytest.raises(ActivationError):
        rows_in(rows, delivered)


def test_rounding_keeps_what_the_format_can_hold() -> None:
    assert np.array_equal(rounded_to(VALUES, Dtype.BF16), round_bf16(VALUES))
    assert np.array_equal(rounded_to(VALUES, Dtype.FP16), VALUES.astype(np.float16))
    copied = rounded_to(VALUES, Dtype.FP32)
    assert np.array_equal(copied, VALUES)
    assert copied is not VALUES
    assert np.isinf(rounded_to(np.full(1, 1e5, np.float32), Dtype.FP16)).all()


def test_only_three_formats_are_delivered() -> None:
    assert [row_format(code) for code in (1, 2, 3)] == [Dtype.BF16, Dtype.FP16, Dtype.FP32]
    for code in (0, Dtype.TF32, Dtype.INT8, 99):
        with pytest.raises(ActivationError):
            row_format(code)

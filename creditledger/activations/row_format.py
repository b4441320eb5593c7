"""The formats rows are delivered in, and rounding to them. Source: specs/check.md §1."""

from typing import Any, Final

import numpy as np

from creditledger.activations.bf16 import Float32Array, is_bf16_exact, round_bf16
from creditledger.activations.delivered import Rows, require_rows
from creditledger.errors import ActivationError
from creditledger.records.receipt import Dtype

ROW_DTYPES: Final[dict[Dtype, "np.dtype[Any]"]] = {
    Dtype.BF16: np.dtype(np.uint16),
    Dtype.FP16: np.dtype(np.float16),
    Dtype.FP32: np.dtype(np.float32),
}
"""What a row of each deliverable format is as an array; bf16 as its bit patterns."""


def row_format(activations: int) -> Dtype:
    """The format that a numerics policy's ``activations`` code names. Raises ActivationError."""
    for known in ROW_DTYPES:
        if known == activations:
            return known
    raise ActivationError(
        "activations are not delivered in this format",
        expected=", ".join(known.name.lower() for known in ROW_DTYPES),
        found=str(activations),
    )


def is_in_format(rows: Rows, delivered: Dtype) -> bool:
    """Whether ``rows`` have the array type of ``delivered``."""
    return rows.dtype == ROW_DTYPES[delivered]


def rows_in(rows: Rows, delivered: Dtype) -> Rows:
    """``rows`` as ``delivered`` writes them; the same array where nothing has to change.

    float32 that holds nothing but values of a narrower format is taken for it. Nothing is rounded:
    rounded rows are not the rows that were delivered. Raises ActivationError. Source:
    specs/minting.md §2."""
    require_rows(rows)
    if is_in_format(rows, delivered):
        return rows
    if rows.dtype == np.float32:
        values: Float32Array = np.asarray(rows, dtype=np.float32)
        if delivered == Dtype.BF16 and is_bf16_exact(values):
            return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
        if delivered == Dtype.FP16:
            with np.errstate(over="ignore"):
                halves = values.astype(np.float16)
            if np.array_equal(halves.astype(np.float32), values, equal_nan=True):
                return halves
    raise ActivationError(
        "rows are not in the format of the numerics policy",
        expected=delivered.name.lower(),
        found=str(rows.dtype),
    )


def rounded_to(values: Float32Array, delivered: Dtype) -> Float32Array:
    """A new array: each float32 value as ``delivered`` can hold it, ties to even.

    Beyond the largest fp16 or bf16 becomes infinite."""
    if delivered == Dtype.BF16:
        return round_bf16(values)
    if delivered == Dtype.FP16:
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    return values.copy()

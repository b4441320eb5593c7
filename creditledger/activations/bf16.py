"""bfloat16 without a bfloat16 type: float32 arrays whose values bf16 can hold, and their bits.

bf16 is the upper half of a float32; rounding is to nearest, ties to even, like the hardware's.
Source: specs/model.md §1.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from creditledger.errors import ActivationError

Float32Array = NDArray[np.float32]
Bf16Bits = NDArray[np.uint16]

_BLOCK: Final = 1 << 15
"""Elements rounded at a time: the block and its scratch stay in the first cache levels."""
_QUIET_NAN: Final = np.uint32(0x7FC00000)


def round_bf16(x: Float32Array, out: Float32Array | None = None) -> Float32Array:
    """The bf16 value nearest to each element of ``x``, as float32, ties to even.

    ``x``: float32, any shape; infinities stay, NaN stays NaN, beyond the largest bf16 becomes
    infinite. ``out``: where the result goes, float32 and C-contiguous, ``x`` itself allowed; None
    makes a new array. Raises ActivationError for another dtype or an unfit ``out``."""
    _require_float32(x, what="x")
    if out is None:
        out = np.array(x, dtype=np.float32, order="C")
    else:
        _require_target(out, x.shape)
        if out is not x:
            out[...] = x
    _round_in_place(out.reshape(-1))
    return out


def to_bf16_bits(x: Float32Array) -> Bf16Bits:
    """The bf16 bit patterns of ``x`` rounded as `round_bf16` does: uint16, same shape."""
    rounded = round_bf16(x)
    high_halves: Bf16Bits = (rounded.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    return high_halves


def from_bf16_bits(bits: Bf16Bits) -> Float32Array:
    """The float32 values of bf16 bit patterns, exactly: uint16 in, float32 out, same shape.

    Raises ActivationError for another dtype."""
    if bits.dtype != np.uint16:
        raise ActivationError("not bf16 bits", expected="uint16", found=str(bits.dtype))
    widened = bits.astype(np.uint32)
    np.left_shift(widened, np.uint32(16), out=widened)
    return widened.view(np.float32)


def is_bf16_exact(x: Float32Array) -> bool:
    """Whether every element of ``x`` (float32) is a bf16 value, so that rounding changes none."""
    _require_float32(x, what="x")
    return not bool(np.any(np.ascontiguousarray(x).view(np.uint32) & np.uint32(0xFFFF)))


def _round_in_place(flat: Float32Array) -> None:
    scratch = np.empty(min(_BLOCK, flat.size), dtype=np.uint32)
    for start in range(0, flat.size, _BLOCK):
        values = flat[start : start + _BLOCK]
        nan = np.isnan(values) if _has_nan(values) else None
        bits = values.view(np.uint32)
        odd = scratch[: bits.size]
        np.right_shift(bits, np.uint32(16), out=odd)
        np.bitwise_and(odd, np.uint32(1), out=odd)
        np.add(odd, np.uint32(0x7FFF), out=odd)
        np.add(bits, odd, out=bits)
        np.bitwise_and(bits, np.uint32(0xFFFF0000), out=bits)
        if nan is not None:  # The addition carried a NaN's payload into its exponent or sign.
            bits[nan] = _QUIET_NAN


def _has_nan(values: Float32Array) -> bool:
    with np.errstate(invalid="ignore"):
        return bool(np.isnan(values.max()))


def _require_float32(x: Float32Array, *, what: str) -> None:
    if not isinstance(x, np.ndarray) or x.dtype != np.float32:
        found = str(getattr(x, "dtype", type(x).__name__))
        raise ActivationError(f"{what} has the wrong type", expected="float32 array", found=found)


def _require_target(out: Float32Array, shape: tuple[int, ...]) -> None:
    _require_float32(out, what="out")
    if out.shape != shape:
        raise ActivationError("out has another shape", expected=str(shape), found=str(out.shape))
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ActivationError("out is unfit", expected="C-contiguous and writable", found="not so")

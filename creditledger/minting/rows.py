"""Rows as a model hands them over: numpy or torch, float32 or bf16. Source: specs/minting.md §2."""

import sys
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from creditledger.activations.bf16 import Bf16Bits, Float32Array, is_bf16_exact
from creditledger.activations.delivered import WIDTH_MAX
from creditledger.errors import ActivationError

OwnedRows: TypeAlias = Any
"""``(positions, hidden)``: a numpy array, torch tensor or `DeviceRows` that nobody else will change."""


@dataclass(frozen=True, slots=True)
class DeviceRows:
    """A copy on a device that works through its queue: it is there once ``made`` has happened."""

    tensor: Any
    made: Any
    """The event behind the copy on the stream that made it: other streams know nothing of it."""

    def __len__(self) -> int:
        return len(self.tensor)

    @property
    def nbytes(self) -> int:
        """Bytes on the device."""
        return int(self.tensor.nbytes)


def own_rows(rows: object) -> OwnedRows:
    """A copy of ``rows`` that stays as it is, made where the rows are (a torch tensor's device).

    numpy: float32, or uint16 as bf16 bit patterns; torch: float32 or bfloat16; two dimensions.
    Nothing waits for a device. Raises ActivationError."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(rows, torch.Tensor):
        _require(rows.dtype in (torch.bfloat16, torch.float32), rows.dtype)
        _require_shape(tuple(rows.shape))
        copy = rows.detach().clone(memory_format=torch.contiguous_format)
        if not copy.is_cuda:
            return copy
        return DeviceRows(copy, torch.cuda.current_stream(copy.device).record_event())
    if not isinstance(rows, np.ndarray):
        raise ActivationError(
            "rows are of another type", expected="a numpy array or torch tensor", found=type(rows).__name__
        )
    _require(rows.dtype in (np.uint16, np.float32), rows.dtype)
    _require_shape(rows.shape)
    return np.array(rows, order="C")


def bf16_bits(rows: OwnedRows) -> Bf16Bits:
    """The bf16 bit patterns of owned rows, uint16; this waits for a device.

    float32 must hold bf16 values already: nothing is rounded, because rounded rows are not the rows
    that were delivered. Raises ActivationError."""
    if not isinstance(rows, np.ndarray):
        rows = _from_torch(rows)
    if rows.dtype == np.uint16:
        bits: Bf16Bits = rows
        return bits
    values: Float32Array = rows
    if not is_bf16_exact(values):
        raise ActivationError("rows are not bf16 values", expected="float32 that bf16 can hold")
    return (values.view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def size_of(rows: OwnedRows) -> int:
    """Bytes that owned rows take."""
    return int(rows.nbytes)


def _from_torch(rows: Any) -> Any:
    torch = sys.modules["torch"]
    if isinstance(rows, DeviceRows):
        rows.made.synchronize()
        rows = rows.tensor
    host = rows.cpu()
    if host.dtype == torch.bfloat16:
        return host.view(torch.int16).numpy().view(np.uint16)
    return host.numpy()


def _require(is_known: bool, dtype: object) -> None:
    if not is_known:
        raise ActivationError(
            "rows are of another type", expected="float32 or bf16 (uint16 in numpy)", found=str(dtype)
        )


def _require_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] < 1 or not 1 <= shape[1] <= WIDTH_MAX:
        raise ActivationError(
            "rows have another shape",
            expected=f"(positions >= 1, 1 <= hidden <= {WIDTH_MAX})",
            found=str(shape)[:80],
        )

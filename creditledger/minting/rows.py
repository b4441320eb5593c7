"""Rows as a model hands them over: numpy or torch, in any format. Source: specs/minting.md §2."""

import sys
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from creditledger.activations.delivered import WIDTH_MAX, Rows
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

    numpy: float16, float32, or uint16 as bf16 bit patterns; torch: bfloat16, float16 or float32; two
    dimensions, any strides.
    Nothing waits for a device. Raises ActivationError."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(rows, torch.Tensor):
        _require(rows.dtype in (torch.bfloat16, torch.float16, torch.float32), rows.dtype)
        _require_shape(tuple(rows.shape))
        if rows.is_cuda and torch.cuda.is_current_stream_capturing():
            raise ActivationError("rows of a CUDA graph in the making", expected="rows of a forward")
        # Microseconds count here: this is the inference thread, once a token.
        copy = (rows.detach() if rows.requires_grad else rows).clone()
        if not copy.is_cuda:
            return copy
        return DeviceRows(copy, torch.cuda.current_stream(copy.device).record_event())
    if not isinstance(rows, np.ndarray):
        raise ActivationError(
            "rows are of another type", expected="a numpy array or torch tensor", found=type(rows).__name__
        )
    _require(rows.dtype in (np.uint16, np.float16, np.float32), rows.dtype)
    _require_shape(rows.shape)
    return np.array(rows, order="C")


def host_rows(rows: OwnedRows) -> Rows:
    """Owned rows as a numpy array, bf16 as uint16 bit patterns; this waits for a device.

    Rows of this machine's memory are not copied again."""
    if isinstance(rows, np.ndarray):
        return rows
    torch = sys.modules["torch"]
    if isinstance(rows, DeviceRows):
        rows.made.synchronize()
        rows = rows.tensor
    host = rows.cpu()
    if host.dtype == torch.bfloat16:
        bits: Rows = host.view(torch.int16).numpy().view(np.uint16)
        return bits
    values: Rows = host.numpy()
    return values


def size_of(rows: OwnedRows) -> int:
    """Bytes that owned rows take."""
    return int(rows.nbytes)


def _require(is_known: bool, dtype: object) -> None:
    if not is_known:
        raise ActivationError(
            "rows are of another type",
            expected="bf16 (uint16 in numpy), float16 or float32",
            found=str(dtype),
        )


def _require_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or shape[0] < 1 or not 1 <= shape[1] <= WIDTH_MAX:
        raise ActivationError(
            "rows have another shape",
            expected=f"(positions >= 1, 1 <= hidden <= {WIDTH_MAX})",
            found=str(shape)[:80],
        )

"""Rows in any portions become windows of 256 aligned positions. Source: specs/minting.md §2."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from creditledger.activations.delivered import Rows, require_rows
from creditledger.errors import ActivationError
from creditledger.records.receipt import WINDOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """What one call of the model ran: ``(positions, hidden)`` in the delivered format, and when."""

    inputs: Rows
    outputs: Rows
    first_position: int
    started_unix_ms: int
    ended_unix_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """All rows of one receipt, ``(1..256, hidden)``; ``start`` is a multiple of 256."""

    inputs: Rows
    outputs: Rows
    start: int
    started_unix_ms: int
    ended_unix_ms: int


class WindowBuilder:
    """Collects portions that follow one another from ``start``, a multiple of 256."""

    def __init__(self, *, start: int, stop: int) -> None:
        """``stop``: exclusive bound of all positions of the job."""
        if start % WINDOW or not 0 <= start <= stop:
            raise ActivationError("a chain resumes at a whole window", expected="a multiple of 256")
        self._next = start
        self._stop = stop
        self._parts: list[Portion] = []

    @property
    def next_position(self) -> int:
        """Where the next portion must begin."""
        return self._next

    def add(self, portion: Portion) -> Iterator[Window]:
        """Take ``portion`` and give every window it completes.

        Raises ActivationError, and takes nothing, if it does not follow or does not fit."""
        self._require_fit(portion)
        return self._completed(portion)

    def rest(self) -> Window | None:
        """The window that has begun and is not whole, if any; collecting ends with it."""
        parts, self._parts = self._parts, []
        return _joined(parts) if parts else None

    def _completed(self, portion: Portion) -> Iterator[Window]:
        for part in _cut(portion):
            self._parts.append(part)
            self._next += len(part.inputs)
            if self._next % WINDOW == 0:
                parts, self._parts = self._parts, []
                yield _joined(parts)

    def _require_fit(self, portion: Portion) -> None:
        if portion.first_position != self._next:
            raise ActivationError(
                "rows do not follow the last ones",
                expected=f"position {self._next}",
                found=str(portion.first_position)[:40],
            )
        if portion.inputs.shape != portion.outputs.shape or (
            self._parts and portion.inputs.shape[1] != self._parts[0].inputs.shape[1]
        ):
            raise ActivationError(
                "inputs and outputs differ in shape",
                expected=str(portion.inputs.shape),
                found=str(portion.outputs.shape),
            )
        if self._next + len(portion.inputs) > self._stop:
            raise ActivationError(
                "more positions than the job allows",
                expected=f"at most {self._stop}",
                found=str(self._next + len(portion.inputs)),
            )


def _cut(portion: Portion) -> Iterator[Portion]:
    """``portion`` in pieces that do not cross the edge of a window."""
    at = 0
    while at < len(portion.inputs):
        first = portion.first_position + at
        count = min(WINDOW - first % WINDOW, len(portion.inputs) - at)
        yield Portion(
            inputs=portion.inputs[at : at + count],
            outputs=portion.outputs[at : at + count],
            first_position=first,
            started_unix_ms=portion.started_unix_ms,
            ended_unix_ms=portion.ended_unix_ms,
        )
        at += count


def _joined(parts: list[Portion]) -> Window:
    return Window(
        inputs=_one_array([part.inputs for part in parts]),
        outputs=_one_array([part.outputs for part in parts]),
        start=parts[0].first_position,
        started_unix_ms=parts[0].started_unix_ms,
        ended_unix_ms=parts[-1].ended_unix_ms,
    )


def _one_array(arrays: list[Rows]) -> Rows:
    return arrays[0] if len(arrays) == 1 else require_rows(np.concatenate(arrays))

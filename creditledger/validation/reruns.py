"""Where spans are re-executed: in this process, or wherever its operator has machines.

Source: specs/validation.md §11."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.runners.layer_runner import LayerRunner

RerunOutputs: TypeAlias = tuple[Float32Array, Float32Array]
"""Reference and yardstick, float32 ``(T, hidden)`` each."""
PendingRerun: TypeAlias = Callable[[], RerunOutputs]
"""Waits for the outputs. Raises ActivationError for inputs that no model takes, BusyError where nobody could
run them now."""


class Reruns(Protocol):
    """Runs spans twice, exactly and as bf16 would, and knows nothing of receipts, verdicts or keys."""

    @property
    def at_once(self) -> int:
        """How many may be begun before the first is waited for: so many inputs are in memory at most."""
        ...

    def begin(self, model: bytes, inputs: Float32Array, *, layer_start: int, layer_stop: int) -> PendingRerun:
        """Have the span of the model with this digest run on ``inputs``, ``(T, hidden)`` from position 0."""
        ...


class RerunsHere:
    """One span after another in this process, each when it is waited for."""

    at_once = 1

    def __init__(self, runners: Mapping[bytes, LayerRunner]) -> None:
        """``runners``: by model digest."""
        self._runners = runners

    def begin(self, model: bytes, inputs: Float32Array, *, layer_start: int, layer_stop: int) -> PendingRerun:
        """See `Reruns.begin`."""
        runner = self._runners[model]

        def run() -> RerunOutputs:
            return (
                runner.reference(inputs, layer_start=layer_start, layer_stop=layer_stop),
                runner.yardstick(inputs, layer_start=layer_start, layer_stop=layer_stop),
            )

        return run

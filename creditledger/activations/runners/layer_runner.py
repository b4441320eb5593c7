"""What a validator needs of a model: the same span twice, exactly and as bf16 would.

Source: specs/model.md §3.
"""

from typing import Protocol, runtime_checkable

import numpy as np

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.embedding_bound import EmbeddingLengths
from creditledger.activations.model import ModelDescription, ModelShape
from creditledger.errors import ActivationError


class LayerRunner(Protocol):
    """Runs decoder layers ``[layer_start, layer_stop)`` of one model on a whole prefix.

    ``inputs``: float32 ``(T, hidden)``, values bf16 can hold, finite, for positions 0 to T-1: what
    enters layer ``layer_start``. Both methods raise ActivationError for other inputs or layers."""

    @property
    def model(self) -> ModelDescription:
        """Which model this runs."""
        ...

    def reference(self, inputs: Float32Array, *, layer_start: int, layer_stop: int) -> Float32Array:
        """The span's output in float32 throughout, not rounded: ``(T, hidden)``."""
        ...

    def yardstick(self, inputs: Float32Array, *, layer_start: int, layer_stop: int) -> Float32Array:
        """The span's output by the canonical bf16 kernel: float32 ``(T, hidden)`` of bf16 values."""
        ...


@runtime_checkable
class TokenScorer(Protocol):
    """What a runner can do besides, if tokens are to be judged with it."""

    def logits(self, hidden: Float32Array) -> Float32Array:
        """Scores of each next token: ``(T, hidden)`` leaving the last layer to ``(T, vocab)``."""
        ...


@runtime_checkable
class EmbeddingRuler(Protocol):
    """What a runner can do besides, if spans from layer 0 on are to be judged with it."""

    def embedding_lengths(self) -> EmbeddingLengths:
        """How long the rows are that this model's tokens give layer 0.

        As they enter there: where a model multiplies its embeddings by something, after that."""
        ...


def require_span_inputs(
    inputs: Float32Array, shape: ModelShape, *, layer_start: int, layer_stop: int
) -> None:
    """Check what a `LayerRunner` is handed. Raises ActivationError."""
    if not 0 <= layer_start < layer_stop <= shape.layers:
        raise ActivationError(
            "no such span of layers",
            expected=f"0 <= start < stop <= {shape.layers}",
            found=f"{layer_start} to {layer_stop}",
        )
    if not isinstance(inputs, np.ndarray) or inputs.dtype != np.float32:
        raise ActivationError(
            "inputs have the wrong type",
            expected="float32 array",
            found=str(getattr(inputs, "dtype", type(inputs).__name__)),
        )
    if inputs.ndim != 2 or inputs.shape[0] < 1 or inputs.shape[1] != shape.hidden:
        raise ActivationError(
            "inputs have the wrong shape",
            expected=f"(positions, {shape.hidden})",
            found=str(inputs.shape),
        )
    if not np.isfinite(inputs).all():
        raise ActivationError("inputs are not finite", expected="finite values", found="inf or NaN")

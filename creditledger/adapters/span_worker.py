"""What runs on a cluster's machines: one model, the spans that were asked for, and nothing that is secret.

Source: specs/validation.md §11."""

import os
from pathlib import Path
from typing import Final, TypeAlias

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import load_model
from creditledger.errors import ActivationError

SPANS_KEPT: Final = 4
"""Spans whose weights a worker keeps; one more, and it lets go of all and begins anew."""

Answer: TypeAlias = tuple[Float32Array, Float32Array] | tuple[str, str, str]
"""Reference and yardstick; or message, expected and found of an `ActivationError`."""


class SpanWorker:
    """Re-executes spans, one at a time."""

    def __init__(self, model: Path | None) -> None:
        """``model``: where it lies on this machine; None: the packaged one."""
        self._runner = NumpyLlama(load_model(model))
        self._spans: set[tuple[int, int]] = set()

    def describe(self) -> tuple[bytes, int]:
        """The model's digest and this process' id."""
        return self._runner.model.digest, os.getpid()

    def rerun(self, inputs: Float32Array, layer_start: int, layer_stop: int) -> Answer:
        """The span twice, as a `LayerRunner` does, the weights loaded once."""
        span = layer_start, layer_stop
        if span not in self._spans and len(self._spans) >= SPANS_KEPT:
            self._runner.release()
            self._spans.clear()
        self._spans.add(span)
        try:
            return (
                self._runner.reference(inputs, layer_start=layer_start, layer_stop=layer_stop),
                self._runner.yardstick(inputs, layer_start=layer_start, layer_stop=layer_stop),
            )
        except ActivationError as error:
            return str(error), error.expected, error.found

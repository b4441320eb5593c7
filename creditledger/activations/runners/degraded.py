"""What a dishonest node might run, for demonstrations and tests.

Each kind is cheaper than the declared model and keeps its description, so only the numbers that
come out can tell. Source: specs/threats.md §3.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.runners.weights import LayerWeights, LoadedModel
from creditledger.errors import ActivationError

_MATRICES: Final = ("query", "key", "value", "output", "gate", "up", "down")
_INT4_GROUP: Final = 64
"""Inputs that share one scale."""


def degrade_model(model: LoadedModel, kind: str, *, layer_start: int, layer_stop: int) -> LoadedModel:
    """``model`` as a cheat runs layers ``[layer_start, layer_stop)``; other layers stay.

    ``int8``: each matrix quantised per output channel. ``int4``: in groups of 64 inputs. Both
    symmetric. ``skip``: the middle layer of the span is left out. Raises ActivationError for
    another kind or span."""
    degrade = _KINDS.get(kind)
    if degrade is None or not 0 <= layer_start < layer_stop <= model.description.shape.layers:
        raise ActivationError(
            "cannot degrade this",
            expected=f"one of {', '.join(DEGRADED_KINDS)}, a span of the model",
            found=f"{kind[:40]}, layers {layer_start} to {layer_stop}",
        )
    return degrade(model, range(layer_start, layer_stop))


def quantised_int8(weight: Float32Array) -> Float32Array:
    """``weight`` ``(outputs, inputs)`` after int8: 255 levels per row, nearest, then back."""
    return _through_levels(weight, most=127)


def quantised_int4(weight: Float32Array) -> Float32Array:
    """``weight`` ``(outputs, inputs)`` after int4: 15 levels per group of 64 inputs of a row."""
    starts = range(0, weight.shape[1], _INT4_GROUP)
    groups = [_through_levels(weight[:, start : start + _INT4_GROUP], most=7) for start in starts]
    return np.concatenate(groups, axis=1)


def _through_levels(weight: Float32Array, *, most: int) -> Float32Array:
    largest = np.abs(weight).max(axis=1, keepdims=True)
    scale = np.where(largest > 0, largest, np.float32(1)) / np.float32(most)
    return np.asarray(np.rint(weight / scale) * scale, dtype=np.float32)


def _with_quantised(
    model: LoadedModel, span: range, quantise: Callable[[Float32Array], Float32Array]
) -> LoadedModel:
    layers = {index: model.layer(index) for index in span}
    return model.replacing_layers(
        {
            index: replace(layer, **{name: quantise(getattr(layer, name)) for name in _MATRICES})
            for index, layer in layers.items()
        }
    )


def _with_int8(model: LoadedModel, span: range) -> LoadedModel:
    return _with_quantised(model, span, quantised_int8)


def _with_int4(model: LoadedModel, span: range) -> LoadedModel:
    return _with_quantised(model, span, quantised_int4)


def _without_middle(model: LoadedModel, span: range) -> LoadedModel:
    middle = span[len(span) // 2]
    return model.replacing_layers({middle: _passing_through(model.layer(middle))})


def _passing_through(layer: LayerWeights) -> LayerWeights:
    """A layer that adds nothing to the residual stream: the same numbers as leaving it out."""
    return replace(layer, output=np.zeros_like(layer.output), down=np.zeros_like(layer.down))


_KINDS: Final[dict[str, Callable[[LoadedModel, range], LoadedModel]]] = {
    "int8": _with_int8,
    "int4": _with_int4,
    "skip": _without_middle,
}
DEGRADED_KINDS: Final = tuple(_KINDS)
"""The kinds `degrade_model` knows."""

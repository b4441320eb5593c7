"""What a dishonest node might run, for demonstrations and tests.

Each kind is cheaper than the declared model and keeps its description, so only the numbers that
come out can tell. Source: specs/threats.md §3.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.runners.weights import LayerWeights, LoadedModel
from creditledger.errors import ActivationError

_MATRICES: Final = ("query", "key", "value", "output", "gate", "up", "down")
_GROUP: Final = 64
"""Inputs that share one scale."""
_FP8_MAX: Final = 448.0
_ADAPTER_RANK: Final = 16


def degrade_model(model: LoadedModel, kind: str, *, layer_start: int, layer_stop: int) -> LoadedModel:
    """``model`` as a cheat runs layers ``[layer_start, layer_stop)``; other layers stay.

    ``int8``: each matrix quantised per output channel; ``int8-g64``, ``int4``: in groups of 64 inputs;
    all symmetric. ``fp8``: e4m3, scaled per output channel. ``prune-10``, ``prune-30``: that many percent
    of each matrix, the smallest, are 0. ``lora-0.1``, ``-0.3``, ``-1``, ``-3``: an adapter of rank 16
    with that many percent of each matrix's norm. ``skip``: the middle layer of the span is left out.
    Raises ActivationError for another kind or span."""
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


def quantised_in_groups(weight: Float32Array, *, most: int) -> Float32Array:
    """``weight`` ``(outputs, inputs)`` on ``2 most + 1`` levels per group of 64 inputs of a row."""
    starts = range(0, weight.shape[1], _GROUP)
    groups = [_through_levels(weight[:, start : start + _GROUP], most=most) for start in starts]
    return np.concatenate(groups, axis=1)


def quantised_fp8(weight: Float32Array) -> Float32Array:
    """``weight`` ``(outputs, inputs)`` after fp8 e4m3 with one scale per row: 4 significant bits."""
    scale = _row_scale(weight) / np.float32(_FP8_MAX)
    scaled = weight / scale
    # Below 2^-6 numbers are subnormal: the spacing stays 2^-9.
    exponents = np.maximum(np.frexp(scaled)[1], -5)
    spacing = np.ldexp(np.float32(1), exponents - 4)
    return np.asarray(np.rint(scaled / spacing) * spacing * scale, dtype=np.float32)


def pruned(weight: Float32Array, *, share: float) -> Float32Array:
    """``weight`` with ``share`` of its elements, the smallest, set to 0."""
    sizes = np.abs(weight)
    least = np.partition(sizes.reshape(-1), int(share * weight.size))[int(share * weight.size)]
    return np.where(sizes < least, np.float32(0), weight)


def adapted(weight: Float32Array, *, share: float) -> Float32Array:
    """``weight`` plus a random matrix of rank 16 that has ``share`` of its norm: the same one every time."""
    chance = np.random.default_rng(weight.shape)
    left = chance.standard_normal((weight.shape[0], _ADAPTER_RANK), dtype=np.float32)
    change = left @ chance.standard_normal((_ADAPTER_RANK, weight.shape[1]), dtype=np.float32)
    factor = share * np.linalg.norm(weight) / np.linalg.norm(change)
    return np.asarray(weight + np.float32(factor) * change, dtype=np.float32)


def _row_scale(weight: Float32Array) -> Float32Array:
    largest = np.abs(weight).max(axis=1, keepdims=True)
    return np.asarray(np.where(largest > 0, largest, np.float32(1)), dtype=np.float32)


def _through_levels(weight: Float32Array, *, most: int) -> Float32Array:
    scale = _row_scale(weight) / np.float32(most)
    return np.asarray(np.rint(weight / scale) * scale, dtype=np.float32)


def _with_weights(
    change: Callable[[Float32Array], Float32Array],
) -> Callable[[LoadedModel, range], LoadedModel]:
    """What makes a model of which each matrix in the span went through ``change``."""

    def degrade(model: LoadedModel, span: range) -> LoadedModel:
        layers = {index: model.layer(index) for index in span}
        return model.replacing_layers(
            {
                index: replace(layer, **{name: change(getattr(layer, name)) for name in _MATRICES})
                for index, layer in layers.items()
            }
        )

    return degrade


def _without_middle(model: LoadedModel, span: range) -> LoadedModel:
    middle = span[len(span) // 2]
    return model.replacing_layers({middle: _passing_through(model.layer(middle))})


def _passing_through(layer: LayerWeights) -> LayerWeights:
    """A layer that adds nothing to the residual stream: the same numbers as leaving it out."""
    return replace(layer, output=np.zeros_like(layer.output), down=np.zeros_like(layer.down))


_KINDS: Final[dict[str, Callable[[LoadedModel, range], LoadedModel]]] = {
    "int8": _with_weights(quantised_int8),
    "int8-g64": _with_weights(partial(quantised_in_groups, most=127)),
    "fp8": _with_weights(quantised_fp8),
    "int4": _with_weights(partial(quantised_in_groups, most=7)),
    "prune-10": _with_weights(partial(pruned, share=0.10)),
    "prune-30": _with_weights(partial(pruned, share=0.30)),
    "lora-0.1": _with_weights(partial(adapted, share=0.001)),
    "lora-0.3": _with_weights(partial(adapted, share=0.003)),
    "lora-1": _with_weights(partial(adapted, share=0.01)),
    "lora-3": _with_weights(partial(adapted, share=0.03)),
    "skip": _without_middle,
}
DEGRADED_KINDS: Final = tuple(_KINDS)
"""The kinds `degrade_model` knows."""

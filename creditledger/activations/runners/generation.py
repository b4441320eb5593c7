"""Greedy generation with a key-value cache: what a client sees of the model."""

from collections.abc import Sequence

import numpy as np

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.model import ModelShape
from creditledger.activations.runners.numerics import FUSED, Numerics
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel
from creditledger.errors import ActivationError


class KeyValueCache:
    """Keys and values of all positions so far, by layer: float32, room for ``capacity``."""

    def __init__(self, shape: ModelShape, capacity: int) -> None:
        self._room = (shape.kv_heads, capacity, shape.head_dim)
        self._kept: dict[int, tuple[Float32Array, Float32Array, int]] = {}

    def extend(
        self, layer: int, keys: Float32Array, values: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Keep new rows ``(kv_heads, T, head_dim)`` of ``layer``; return all rows so far.

        Raises ActivationError beyond the capacity."""
        all_keys, all_values, length = self._kept.get(layer) or self._empty()
        stop = length + keys.shape[1]
        if stop > self._room[1]:
            raise ActivationError(
                "key-value cache is full", expected=f"{self._room[1]} rows", found=str(stop)
            )
        all_keys[:, length:stop] = keys
        all_values[:, length:stop] = values
        self._kept[layer] = (all_keys, all_values, stop)
        return all_keys[:, :stop], all_values[:, :stop]

    def _empty(self) -> tuple[Float32Array, Float32Array, int]:
        return np.empty(self._room, np.float32), np.empty(self._room, np.float32), 0


def generate(
    model: LoadedModel,
    tokens: Sequence[int],
    *,
    count: int,
    numerics: Numerics = FUSED,
    stop_tokens: frozenset[int] = frozenset(),
) -> list[int]:
    """Up to ``count`` tokens after ``tokens``, each the likeliest; ends after a stop token.

    Raises ActivationError for no tokens, unknown ones or a negative count."""
    if count < 0:
        raise ActivationError("count is negative", expected="0 or more", found=str(count))
    shape = model.description.shape
    runner, memory = NumpyLlama(model), KeyValueCache(shape, len(tokens) + count)
    made: list[int] = []
    fresh, position = list(tokens), 0
    while len(made) < count and not stop_tokens.intersection(made[-1:]):
        hidden = runner.run(
            model.embedding(fresh),
            layer_start=0,
            layer_stop=shape.layers,
            numerics=numerics,
            first_position=position,
            memory=memory,
        )
        position += len(fresh)
        fresh = [int(np.argmax(model.logits(hidden[-1:])))]
        made += fresh
    return made

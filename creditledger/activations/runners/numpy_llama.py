"""Llama-family decoder layers in numpy, under any `Numerics`.

RMSNorm, rotary grouped-query causal attention and SwiGLU, each added to the residual stream.
Products are float32 BLAS; what a kernel rounds is rounded in place. Source: specs/model.md §3.
"""

from itertools import pairwise
from typing import Final, Protocol

import numpy as np

from creditledger.activations.bf16 import Float32Array, round_bf16
from creditledger.activations.embedding_bound import EmbeddingLengths
from creditledger.activations.model import ModelDescription
from creditledger.activations.runners.layer_runner import require_span_inputs
from creditledger.activations.runners.numerics import REFERENCE, YARDSTICK, Numerics
from creditledger.activations.runners.rotary import Rotation
from creditledger.activations.runners.weights import LayerWeights, LoadedModel

_QUERY_ROWS: Final = 256
"""Positions whose attention scores are held at a time: bounds memory on long prefixes."""


class KeyValueMemory(Protocol):
    """Keys and values of earlier positions, for one run."""

    def extend(
        self, layer: int, keys: Float32Array, values: Float32Array
    ) -> tuple[Float32Array, Float32Array]:
        """Keep new rows ``(kv_heads, T, head_dim)`` of ``layer``; return all rows so far."""
        ...


class NumpyLlama:
    """A `LayerRunner` on numpy, and any other honest kernel through `run`."""

    def __init__(self, model: LoadedModel) -> None:
        self._loaded = model

    @property
    def model(self) -> ModelDescription:
        return self._loaded.description

    def reference(self, inputs: Float32Array, *, layer_start: int, layer_stop: int) -> Float32Array:
        return self.run(inputs, layer_start=layer_start, layer_stop=layer_stop, numerics=REFERENCE)

    def yardstick(self, inputs: Float32Array, *, layer_start: int, layer_stop: int) -> Float32Array:
        return self.run(inputs, layer_start=layer_start, layer_stop=layer_stop, numerics=YARDSTICK)

    def logits(self, hidden: Float32Array) -> Float32Array:
        """`LoadedModel.logits`: what tokens are judged by."""
        return self._loaded.logits(hidden)

    def embedding_lengths(self) -> EmbeddingLengths:
        """`LoadedModel.embedding_lengths`: what rows of layer 0 are held against."""
        return self._loaded.embedding_lengths

    def release(self) -> None:
        """`LoadedModel.release`."""
        self._loaded.release()

    def run(
        self,
        inputs: Float32Array,
        *,
        layer_start: int,
        layer_stop: int,
        numerics: Numerics,
        first_position: int = 0,
        memory: KeyValueMemory | None = None,
    ) -> Float32Array:
        """The span's output: float32 ``(T, hidden)``, bf16 values if ``numerics.output``.

        ``memory``, when given, holds the keys and values of positions before ``first_position``
        and gains those of ``inputs``. Raises ActivationError for unfit inputs or layers."""
        require_span_inputs(inputs, self.model.shape, layer_start=layer_start, layer_stop=layer_stop)
        kernel = _Kernel(self.model, numerics, first=first_position, count=len(inputs))
        stream = np.array(inputs, order="C")
        for index in range(layer_start, layer_stop):
            kernel.run_layer(stream, self._loaded.layer(index), index, memory)
        return round_bf16(stream, out=stream) if numerics.output else stream


class _Kernel:
    """The layers' arithmetic for one run: one policy, one stretch of positions."""

    def __init__(self, model: ModelDescription, numerics: Numerics, *, first: int, count: int) -> None:
        self._shape = model.shape
        self._epsilon = np.float32(model.rms_epsilon)
        self._numerics = numerics
        self._first = first
        self._rotation = Rotation(model, numerics, first=first, count=count)

    def run_layer(
        self,
        stream: Float32Array,
        weights: LayerWeights,
        index: int,
        memory: KeyValueMemory | None,
    ) -> None:
        """Turn ``stream`` ``(T, hidden)`` from the layer's input into its output, in place."""
        normed = self._norm(stream, weights.input_norm)
        stream += self._attention(normed, weights, index, memory)
        self._rounded(stream, self._numerics.middle_residual)
        normed = self._norm(stream, weights.post_attention_norm)
        stream += self._feed_forward(normed, weights)
        self._rounded(stream, self._numerics.residual)

    def _norm(self, stream: Float32Array, weight: Float32Array) -> Float32Array:
        mean_square = np.mean(np.square(stream), axis=1, keepdims=True)
        normed = stream * (np.float32(1) / np.sqrt(mean_square + self._epsilon))
        self._rounded(normed, self._numerics.normalised)
        normed *= weight
        return self._rounded(normed, self._numerics.norm)

    def _linear(self, inputs: Float32Array, weight: Float32Array) -> Float32Array:
        return self._rounded(self._product(inputs, weight.T), self._numerics.matmul)

    def _product(self, left: Float32Array, right: Float32Array) -> Float32Array:
        """``left @ right``, accumulated in float32, in ``partial_sums`` pieces."""
        pieces = self._numerics.partial_sums
        if pieces == 1:
            return np.asarray(left @ right)
        cuts = [left.shape[-1] * piece // pieces for piece in range(pieces + 1)]
        is_rounded = self._numerics.partial_sums_rounded
        total = self._rounded(left[..., : cuts[1]] @ right[..., : cuts[1], :], is_rounded)
        for start, stop in pairwise(cuts[1:]):
            total += self._rounded(left[..., start:stop] @ right[..., start:stop, :], is_rounded)
        return np.asarray(total)

    def _attention(
        self,
        normed: Float32Array,
        weights: LayerWeights,
        index: int,
        memory: KeyValueMemory | None,
    ) -> Float32Array:
        shape = self._shape
        queries = self._rotation.turn(self._heads(normed, weights.query, shape.heads))
        keys = self._rotation.turn(self._heads(normed, weights.key, shape.kv_heads))
        values = self._heads(normed, weights.value, shape.kv_heads)
        keys, values = _by_head(keys), _by_head(values)
        if memory is not None:
            keys, values = memory.extend(index, keys, values)
        context = np.empty((len(normed), shape.heads, shape.head_dim), dtype=np.float32)
        for start in range(0, len(normed), _QUERY_ROWS):
            rows = slice(start, start + _QUERY_ROWS)
            context[rows] = self._attend(queries[rows], keys, values, self._first + start)
        return self._linear(context.reshape(len(normed), -1), weights.output)

    def _heads(self, normed: Float32Array, weight: Float32Array, heads: int) -> Float32Array:
        return self._linear(normed, weight).reshape(len(normed), heads, self._shape.head_dim)

    def _attend(
        self, queries: Float32Array, keys: Float32Array, values: Float32Array, first: int
    ) -> Float32Array:
        """Causal attention of ``queries`` ``(T, heads, head_dim)`` from position ``first`` on.

        ``keys``, ``values``: ``(kv_heads, positions, head_dim)`` from position 0 on; a group of
        query heads shares each. Returns ``(T, heads, head_dim)``."""
        shape, count = self._shape, len(queries)
        seen = first + count
        grouped = _by_head(queries).reshape(shape.kv_heads, -1, shape.head_dim)
        scores = self._product(grouped, keys[:, :seen].swapaxes(1, 2))
        self._rounded(scores, self._numerics.scores)
        scores *= np.float32(shape.head_dim**-0.5)
        self._rounded(scores, self._numerics.scores)
        by_head = scores.reshape(shape.heads, count, seen)
        by_head[..., first:] += np.triu(np.full((count, count), -np.inf, np.float32), k=1)
        context = self._rounded(self._mixed(scores, values[:, :seen]), self._numerics.context)
        return context.reshape(shape.heads, count, shape.head_dim).swapaxes(0, 1)

    def _mixed(self, scores: Float32Array, values: Float32Array) -> Float32Array:
        """Softmax of ``scores`` ``(kv_heads, n, positions)``, applied to ``values``; scores are spent."""
        if not self._numerics.key_block:
            self._rounded(_softmax(scores), self._numerics.probabilities)
            return self._product(scores, values)
        largest = np.full((*scores.shape[:2], 1), -np.inf, np.float32)
        total, context = np.zeros_like(largest), np.zeros((*scores.shape[:2], values.shape[-1]), np.float32)
        for start in range(0, scores.shape[-1], self._numerics.key_block):
            part = scores[..., start : start + self._numerics.key_block]
            # Every query sees position 0, so from the first block on the maximum is finite.
            grown = np.maximum(largest, part.max(axis=-1, keepdims=True))
            shrink = np.exp(largest - grown)
            weights = np.exp(part - grown)
            total = total * shrink + weights.sum(axis=-1, keepdims=True)
            # The second product takes its factors in the kernel's format.
            self._numerics.round(weights)
            context = context * shrink + self._product(weights, values[:, start : start + weights.shape[-1]])
            largest = grown
        return np.asarray(context / total)

    def _feed_forward(self, normed: Float32Array, weights: LayerWeights) -> Float32Array:
        gate = self._linear(normed, weights.gate)
        self._rounded(_silu(gate), self._numerics.activation)
        gate *= self._linear(normed, weights.up)
        return self._linear(self._rounded(gate, self._numerics.product), weights.down)

    def _rounded(self, values: Float32Array, is_rounded: bool) -> Float32Array:
        """``values`` itself, rounded in place where the policy says so."""
        return self._numerics.round(values) if is_rounded else values


def _by_head(rows: Float32Array) -> Float32Array:
    """``(T, heads, head_dim)`` to contiguous ``(heads, T, head_dim)``."""
    return np.ascontiguousarray(rows.swapaxes(0, 1))


def _softmax(scores: Float32Array) -> Float32Array:
    """Softmax over the last axis, in place."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


def _silu(values: Float32Array) -> Float32Array:
    """``x / (1 + exp(-x))``, in place; far below 0 the exponential is infinite and x becomes -0."""
    with np.errstate(over="ignore"):
        denominator = np.exp(np.negative(values))
    denominator += np.float32(1)
    values /= denominator
    return values

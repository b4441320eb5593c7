"""A model ready to run: weights by layer, embedding, logits and tokenizer.

Weights are float32 arrays whose values bf16 can hold, made on first use and shared by everybody
in the process who loaded the same files.
"""

import ctypes
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import numpy as np

from creditledger.activations.bf16 import Bf16Bits, Float32Array, from_bf16_bits
from creditledger.activations.embedding_bound import EmbeddingLengths
from creditledger.activations.model import ModelDescription
from creditledger.activations.runners.bpe_tokenizer import build_tokenizer
from creditledger.activations.runners.default_model import default_model_file
from creditledger.activations.runners.gguf_weights import read_gguf_model
from creditledger.activations.runners.model_source import (
    EMBEDDING,
    FINAL_NORM,
    OUTPUT,
    ModelSource,
    layer_tensors,
)
from creditledger.activations.runners.safetensors_weights import (
    read_safetensors_model,
    safetensors_files,
)
from creditledger.activations.runners.weight_cache import (
    Progress,
    WeightCache,
    cache_key,
    default_cache_dir,
    write_cache,
)
from creditledger.errors import ActivationError, MalformedRecordError

_VOCABULARY_ROWS: Final = 4096
"""Rows of the embedding or the output matrix widened to float32 at a time."""
_caches: WeakValueDictionary[Path, "SharedWeights"] = WeakValueDictionary()
_caches_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """One decoder layer. float32, read-only; matrices are ``(outputs, inputs)``."""

    input_norm: Float32Array
    query: Float32Array
    key: Float32Array
    value: Float32Array
    output: Float32Array
    post_attention_norm: Float32Array
    gate: Float32Array
    up: Float32Array
    down: Float32Array


class SharedWeights:
    """Float32 layers over a `WeightCache`, each made once; safe to use from several threads."""

    def __init__(self, cache: WeightCache) -> None:
        self.cache = cache
        self._layers: dict[int, LayerWeights] = {}
        self._lock = threading.Lock()

    def layer(self, index: int) -> LayerWeights:
        """Layer ``index``. The mapping it is read through is let go again."""
        with self._lock:
            if index not in self._layers:
                names = layer_tensors(self.cache.description.shape, index)
                self._layers[index] = LayerWeights(
                    **dict(zip(LayerWeights.__slots__, map(self._widened, names), strict=True))
                )
            return self._layers[index]

    def release(self) -> None:
        """Let go of all layers made so far."""
        with self._lock:
            self._layers.clear()
        # glibc keeps what is freed amid its heap, which is most of a model; others give it back themselves.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)

    def _widened(self, name: str) -> Float32Array:
        values = from_bf16_bits(self.cache.tensor(name))
        values.flags.writeable = False
        return np.asarray(values)

    @cached_property
    def embedding_bits(self) -> Bf16Bits:
        return self.cache.tensor(EMBEDDING)

    @cached_property
    def embedding_lengths(self) -> EmbeddingLengths:
        bits = self.embedding_bits
        starts = range(0, len(bits), _VOCABULARY_ROWS)
        return EmbeddingLengths.of(
            from_bf16_bits(np.asarray(bits[start : start + _VOCABULARY_ROWS])) for start in starts
        )

    @cached_property
    def output_bits(self) -> Bf16Bits:
        tied = self.cache.description.tie_embeddings
        return self.embedding_bits if tied else self.cache.tensor(OUTPUT)

    @cached_property
    def final_norm(self) -> Float32Array:
        return self._widened(FINAL_NORM)

    @cached_property
    def tokenizer(self) -> Any:
        return build_tokenizer(self.cache.tokenizer_json())


class LoadedModel:
    """A model and its weights; runners take it, tokens and text go through it."""

    def __init__(self, weights: SharedWeights, *, replaced: Mapping[int, LayerWeights] | None = None) -> None:
        self._weights = weights
        self._replaced = dict(replaced or {})

    @property
    def description(self) -> ModelDescription:
        return self._weights.cache.description

    def layer(self, index: int) -> LayerWeights:
        """Decoder layer ``index``, from 0. Raises ActivationError outside the model."""
        if not 0 <= index < self.description.shape.layers:
            raise ActivationError(
                "no such layer",
                expected=f"0 to {self.description.shape.layers - 1}",
                found=str(index),
            )
        replacement = self._replaced.get(index)
        return self._weights.layer(index) if replacement is None else replacement

    def release(self) -> None:
        """Let go of the layers' float32 weights; whoever needs one again has it made anew.

        For a process that runs the model now and then: they are twice the size of the model's file."""
        self._weights.release()

    def replacing_layers(self, replaced: Mapping[int, LayerWeights]) -> "LoadedModel":
        """The same model with other weights in some layers, under the same description.

        Everything not replaced stays shared. What it is for: `degraded`."""
        return LoadedModel(self._weights, replaced=self._replaced | dict(replaced))

    def embedding(self, tokens: Sequence[int]) -> Float32Array:
        """Inputs of layer 0: float32 bf16-valued ``(T, hidden)``. Raises ActivationError."""
        vocab = self.description.shape.vocab
        if not tokens or not all(0 <= token < vocab for token in tokens):
            raise ActivationError(
                "tokens are unusable",
                expected=f"at least one, each from 0 to {vocab - 1}",
                found=f"{len(tokens)} tokens up to {max(tokens, default=0)}",
            )
        return from_bf16_bits(np.asarray(self._weights.embedding_bits[list(tokens)]))

    @property
    def embedding_lengths(self) -> EmbeddingLengths:
        """How long the rows are that `embedding` gives; computed once."""
        return self._weights.embedding_lengths

    @property
    def final_norm(self) -> Float32Array:
        """Weight of the norm before the logits: float32 ``(hidden,)``."""
        return self._weights.final_norm

    def logits(self, hidden: Float32Array) -> Float32Array:
        """Scores of each next token after ``hidden``, the last layer's output ``(T, hidden)``.

        Applies the final norm; float32 all through, ``(T, vocab)``. Raises ActivationError."""
        width = self.description.shape.hidden
        if hidden.ndim != 2 or hidden.shape[1] != width or hidden.dtype != np.float32:
            raise ActivationError(
                "hidden states are unusable",
                expected=f"float32 (T, {width})",
                found=f"{hidden.dtype} {hidden.shape}",
            )
        mean_square = np.mean(np.square(hidden), axis=1, keepdims=True)
        epsilon = np.float32(self.description.rms_epsilon)
        normalised = hidden / np.sqrt(mean_square + epsilon) * self.final_norm
        bits = self._weights.output_bits
        scores = np.empty((len(hidden), len(bits)), dtype=np.float32)
        for start in range(0, len(bits), _VOCABULARY_ROWS):
            rows = from_bf16_bits(bits[start : start + _VOCABULARY_ROWS])
            np.matmul(normalised, rows.T, out=scores[:, start : start + len(rows)])
        return scores

    @property
    def tokenizer(self) -> Any:
        """The model's ``tokenizers.Tokenizer``. Raises StorageError without that package."""
        return self._weights.tokenizer

    def encode(self, text: str) -> list[int]:
        """The tokens of ``text``; no token is added at either end.

        Bytes that the model's vocabulary lacks, as some control characters, are left out."""
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of ``tokens``; special tokens are left in."""
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=False)
        return text


def load_model(
    path: Path | None = None, *, cache_dir: Path | None = None, progress: Progress | None = None
) -> LoadedModel:
    """The Llama-family model in ``path``: a GGUF file or a folder of safetensors.

    None is the default model (`default_model`). The first load converts the weights to bf16 into
    ``cache_dir`` (None: `default_cache_dir`), reporting to ``progress``; later ones map them.
    Raises MalformedRecordError for a path that is no such model, StorageError when the default
    model's package is missing or the cache cannot be written or is damaged."""
    path = default_model_file() if path is None else path
    files = _model_files(path)
    folder = (cache_dir or default_cache_dir()).resolve() / cache_key(files)
    if not folder.is_dir():
        write_cache(folder, _read_source(path), files, progress=progress)
    with _caches_lock:
        weights = _caches.get(folder)
        if weights is None:
            weights = _caches[folder] = SharedWeights(WeightCache(folder))
    return LoadedModel(weights)


def _model_files(path: Path) -> list[Path]:
    if path.is_dir():
        return safetensors_files(path)
    if not path.is_file():
        raise MalformedRecordError(
            f"no model at {path}", expected="a GGUF file or a model folder", found="nothing"
        )
    return [path]


def _read_source(path: Path) -> ModelSource:
    return read_safetensors_model(path) if path.is_dir() else read_gguf_model(path)

"""Llama-family weights from a GGUF file, brought back to the HuggingFace layout.

GGUF stores the rows of the query and key projections in the order that rotates neighbouring
channels; HuggingFace rotates channel i with channel i + head_dim / 2. Quantised tensors are
dequantised and rounded once to bf16: the result *is* the model.
"""

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from creditledger.activations.bf16 import Bf16Bits, Float32Array, to_bf16_bits
from creditledger.activations.model import ModelShape
from creditledger.activations.runners.bpe_tokenizer import tokenizer_from_gguf
from creditledger.activations.runners.model_source import (
    EMBEDDING,
    FINAL_NORM,
    OUTPUT,
    ModelSource,
    NamedTensor,
    expected_tensors,
    float32_value,
    require_tensors,
)
from creditledger.errors import MalformedRecordError, StorageError

_PARTS: Final = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_WHOLE: Final = {
    "token_embd.weight": EMBEDDING,
    "output_norm.weight": FINAL_NORM,
    "output.weight": OUTPUT,
}


def read_gguf_model(file: Path) -> ModelSource:
    """The model in ``file``: a Llama without rope scaling, of any quantisation gguf knows.

    Raises MalformedRecordError for another architecture, StorageError without ``gguf``."""
    reader = _open(file)
    facts = _Facts(reader)
    facts.require_plain_llama()
    shape = facts.shape()
    stored = {_huggingface_name(tensor.name): tensor for tensor in reader.tensors}
    tie = OUTPUT not in stored
    sizes = {name: _rows_first(tensor) for name, tensor in stored.items()}
    require_tensors(sizes, expected_tensors(shape, tie_embeddings=tie))
    return ModelSource(
        name=str(facts.get("general.name", file.stem))[:200],
        shape=shape,
        rms_epsilon=float32_value(facts.number("attention.layer_norm_rms_epsilon")),
        rope_theta=float32_value(facts.number("rope.freq_base", default=10_000.0)),
        tie_embeddings=tie,
        tensors=partial(_read_all, stored, shape),
        tokenizer_json=tokenizer_from_gguf(facts.get),
    )


def unpermute_rows(weight: Float32Array, heads: int) -> Float32Array:
    """Query or key rows from GGUF's order to HuggingFace's.

    ``weight``: ``(heads * head_dim, inputs)``; within a head, GGUF row ``2i + h`` is
    HuggingFace's row ``h * head_dim / 2 + i``, h being 0 or 1."""
    rows, inputs = weight.shape
    pairs = weight.reshape(heads, rows // heads // 2, 2, inputs)
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(rows, inputs)


class _Facts:
    """The metadata of a GGUF file, by key."""

    def __init__(self, reader: Any) -> None:
        self._fields = reader.fields

    def get(self, key: str, default: Any = None) -> Any:
        field = self._fields.get(key)
        return default if field is None else field.contents()

    def number(self, key: str, *, default: float | None = None) -> float:
        value = self.get(f"llama.{key}", default)
        if not isinstance(value, int | float) or not 0 < value < 1e30:
            raise MalformedRecordError(
                f"GGUF: llama.{key} is unusable", expected="a number above 0", found=str(value)[:60]
            )
        return float(value)

    def whole(self, key: str, *, default: int | None = None) -> int:
        value = self.number(key, default=default)
        return int(value) if math.floor(value) == value else 0

    def require_plain_llama(self) -> None:
        found = self.get("general.architecture")
        scaling = self.get("llama.rope.scaling.type", "none")
        if found != "llama" or scaling != "none":
            raise MalformedRecordError(
                "GGUF: this model is not supported",
                expected="architecture llama without rope scaling",
                found=f"architecture {str(found)[:40]}, rope scaling {str(scaling)[:40]}",
            )

    def shape(self) -> ModelShape:
        heads = self.whole("attention.head_count")
        hidden = self.whole("embedding_length")
        head_dim = self.whole("attention.key_length", default=hidden // max(heads, 1))
        if self.whole("rope.dimension_count", default=head_dim) != head_dim:
            raise MalformedRecordError(
                "GGUF: partly rotated heads are not supported",
                expected=f"rope dimension {head_dim}",
                found=str(self.whole("rope.dimension_count")),
            )
        return ModelShape(
            layers=self.whole("block_count"),
            hidden=hidden,
            ff=self.whole("feed_forward_length"),
            heads=heads,
            kv_heads=self.whole("attention.head_count_kv", default=heads),
            head_dim=head_dim,
            vocab=self.whole("vocab_size", default=len(self.get("tokenizer.ggml.tokens", ()))),
        )


def _open(file: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise StorageError(
            "reading GGUF files needs the package gguf: pip install 'creditledger[demo]'"
        ) from error
    try:
        return GGUFReader(file)
    except (ValueError, IndexError, KeyError, UnicodeDecodeError) as error:
        raise MalformedRecordError(
            f"{file.name} is not a GGUF file", expected="GGUF", found=str(error)[:120]
        ) from error


def _huggingface_name(name: str) -> str:
    match name.split("."):
        case ["blk", layer, part, "weight"] if part in _PARTS:
            return f"model.layers.{layer}.{_PARTS[part]}.weight"
    return _WHOLE.get(name, name)


def _rows_first(tensor: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in reversed(tensor.shape))


def _read_all(stored: dict[str, Any], shape: ModelShape) -> Iterator[NamedTensor]:
    heads = {"q_proj": shape.heads, "k_proj": shape.kv_heads}
    for name, tensor in stored.items():
        values = _dequantised(tensor)
        projection = name.split(".")[-2]
        if projection in heads:
            values = unpermute_rows(values, heads[projection])
        yield name, _bits(values)


def _dequantised(tensor: Any) -> Float32Array:
    from gguf.quants import dequantize

    try:
        values = dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError as error:
        raise MalformedRecordError(
            f"GGUF: {tensor.name[:80]} has an unreadable quantisation",
            expected="a type the gguf package dequantises",
            found=str(tensor.tensor_type)[:60],
        ) from error
    return values.astype(np.float32, copy=False).reshape(_rows_first(tensor))


def _bits(values: Float32Array) -> Bf16Bits:
    return to_bf16_bits(np.ascontiguousarray(values))

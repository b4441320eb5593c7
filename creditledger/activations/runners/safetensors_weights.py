"""Llama-family weights from a folder of safetensors files with its config.json.

A strict reader of the format: an 8-byte little-endian header length, a JSON header, then the
tensors without gaps or overlaps.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from creditledger.activations.bf16 import Bf16Bits, Float32Array, to_bf16_bits
from creditledger.activations.model import ModelShape
from creditledger.activations.runners.model_source import (
    OUTPUT,
    ModelSource,
    NamedTensor,
    expected_tensors,
    float32_value,
    require_tensors,
)
from creditledger.errors import MalformedRecordError

_HEADER_MOST: Final = 100_000_000
_STORED: Final = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """Where one tensor lies: ``offset`` in bytes from the beginning of ``file``."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int

    def bits(self) -> Bf16Bits:
        """The tensor as bf16 bits, rounded once if it is stored as F16 or F32."""
        count = math.prod(self.shape)
        raw = np.fromfile(self.file, _STORED[self.dtype], count, offset=self.offset)
        if self.dtype == "BF16":
            return raw.astype(np.uint16, copy=False).reshape(self.shape)
        values: Float32Array = raw.astype(np.float32, copy=False)
        return to_bf16_bits(values).reshape(self.shape)


def safetensors_files(folder: Path) -> list[Path]:
    """The files that decide what the model is: config.json, tokenizer.json, all weights."""
    weights = sorted(folder.glob("*.safetensors"))
    if not weights or not (folder / "config.json").is_file():
        raise MalformedRecordError(
            f"{folder.name} is not a model folder",
            expected="config.json and *.safetensors",
            found=f"{len(weights)} weight files",
        )
    tokenizer = folder / "tokenizer.json"
    return [folder / "config.json", *weights, *([tokenizer] if tokenizer.is_file() else [])]


def read_safetensors_model(folder: Path) -> ModelSource:
    """The model in ``folder``. Raises MalformedRecordError for any other kind of folder."""
    files = safetensors_files(folder)
    config = _object(files[0].read_bytes(), what="config.json")
    shape = _shape(config)
    tie = bool(config.get("tie_word_embeddings", False))
    stored: dict[str, StoredTensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            stored = _disjoint(stored, read_safetensors_header(file))
    wanted = {name: tensor for name, tensor in stored.items() if not _is_spare(name, tie=tie)}
    expected = expected_tensors(shape, tie_embeddings=tie)
    require_tensors({name: tensor.shape for name, tensor in wanted.items()}, expected)
    tokenizer = folder / "tokenizer.json"
    return ModelSource(
        name=str(config.get("_name_or_path") or folder.resolve().name)[:200],
        shape=shape,
        rms_epsilon=float32_value(_number(config, "rms_norm_eps")),
        rope_theta=float32_value(_rope_theta(config)),
        tie_embeddings=tie,
        tensors=partial(_read_all, wanted),
        tokenizer_json=tokenizer.read_text("utf-8") if tokenizer.is_file() else None,
    )


def read_safetensors_header(file: Path) -> dict[str, StoredTensor]:
    """All tensors of one file by name; BF16, F16 and F32 only. Raises MalformedRecordError."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 or length > min(_HEADER_MOST, size - 8):
            raise MalformedRecordError(
                f"{file.name}: header length is wrong",
                expected=f"at most {max(size - 8, 0)} bytes",
                found=str(length),
            )
        header = _object(stream.read(length), what=file.name)
    header.pop("__metadata__", None)
    position, tensors = 8 + length, {}
    for name, (begin, end, dtype, shape) in _in_file_order(file, header):
        if 8 + length + begin != position or end - begin != _byte_size(dtype, shape):
            raise MalformedRecordError(
                f"{file.name}: tensor {name[:80]} lies wrong",
                expected=f"{_byte_size(dtype, shape)} bytes at {position - 8 - length}",
                found=f"bytes {begin} to {end}",
            )
        tensors[name] = StoredTensor(file=file, dtype=dtype, shape=shape, offset=position)
        position += end - begin
    if position != size:
        raise MalformedRecordError(f"{file.name}: wrong size", expected=str(position), found=str(size))
    return tensors


def _in_file_order(
    file: Path, header: dict[str, Any]
) -> list[tuple[str, tuple[int, int, str, tuple[int, ...]]]]:
    entries = [(name, _entry(file, name, value)) for name, value in header.items()]
    return sorted(entries, key=lambda item: item[1][:2])


def _entry(file: Path, name: str, value: Any) -> tuple[int, int, str, tuple[int, ...]]:
    match value:
        case {
            "dtype": "BF16" | "F16" | "F32" as dtype,
            "shape": [*shape],
            "data_offsets": [begin, end],
            **rest,
        } if not rest and all(type(n) is int and 0 <= n < 2**62 for n in (*shape, begin, end)):
            return begin, end, dtype, tuple(shape)
    raise MalformedRecordError(
        f"{file.name}: tensor {name[:80]} is not described properly",
        expected="dtype BF16, F16 or F32, shape, two data_offsets",
        found=str(value)[:120],
    )


def _byte_size(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * np.dtype(_STORED[dtype]).itemsize


def _disjoint(left: dict[str, StoredTensor], right: dict[str, StoredTensor]) -> dict[str, StoredTensor]:
    if repeated := left.keys() & right.keys():
        raise MalformedRecordError(
            "a tensor is stored twice", expected="every name once", found=min(repeated)[:120]
        )
    return left | right


def _is_spare(name: str, *, tie: bool) -> bool:
    """Stored by some exporters though the model does not have it: derived or tied copies."""
    return name.endswith("rotary_emb.inv_freq") or (tie and name == OUTPUT)


def _read_all(stored: dict[str, StoredTensor]) -> Iterator[NamedTensor]:
    for name, tensor in stored.items():
        yield name, tensor.bits()


def _object(encoded: bytes, *, what: str) -> dict[str, Any]:
    try:
        value = json.loads(encoded, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise MalformedRecordError(
            f"{what} is not JSON", expected="one JSON object", found=str(error)[:120]
        ) from error
    if not isinstance(value, dict):
        raise MalformedRecordError(
            f"{what} is not an object", expected="one JSON object", found=type(value).__name__
        )
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key is repeated")
    return dict(pairs)


def _shape(config: dict[str, Any]) -> ModelShape:
    refused = {
        "model_type": config.get("model_type") not in ("llama", "mistral"),
        "hidden_act": config.get("hidden_act", "silu") != "silu",
        "attention_bias": bool(config.get("attention_bias")),
        "mlp_bias": bool(config.get("mlp_bias")),
        "sliding_window": config.get("sliding_window") is not None,
    }
    for key, is_refused in refused.items():
        if is_refused:
            raise MalformedRecordError(
                f"config.json: {key} is not supported",
                expected="a Llama-family model: silu, no biases, full attention",
                found=str(config.get(key))[:80],
            )
    heads = config.get("num_attention_heads", 0)
    hidden = config.get("hidden_size", 0)
    head_dim = config.get("head_dim")
    if head_dim is None and type(heads) is int and type(hidden) is int and heads > 0:
        head_dim = hidden // heads
    return ModelShape(
        layers=config.get("num_hidden_layers", 0),
        hidden=hidden,
        ff=config.get("intermediate_size", 0),
        heads=heads,
        kv_heads=config.get("num_key_value_heads", heads),
        head_dim=head_dim or 0,
        vocab=config.get("vocab_size", 0),
    )


def _rope_theta(config: dict[str, Any]) -> float:
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    plain = parameters if isinstance(parameters, dict) else {"rope_type": "unreadable"}
    kind = plain.get("rope_type", plain.get("type", "default"))
    if kind != "default":
        raise MalformedRecordError(
            "config.json: scaled rotary positions are not supported",
            expected="rope type default",
            found=str(kind)[:60],
        )
    return _number(config | plain, "rope_theta", default=10_000.0)


def _number(config: dict[str, Any], key: str, *, default: float | None = None) -> float:
    value = config.get(key, default)
    if not isinstance(value, int | float) or not 0 < value < 1e30:
        raise MalformedRecordError(
            f"config.json: {key} is unusable", expected="a number above 0", found=str(value)[:60]
        )
    return float(value)

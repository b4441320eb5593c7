"""A tiny random Llama on disk, as a GGUF file and as a safetensors folder, for the runner tests.

GGUF's row order, which the builder makes and the reader undoes, is checked here."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from creditledger.activations.bf16 import round_bf16, to_bf16_bits
from creditledger.activations.model import ModelShape
from creditledger.activations.runners.gguf_weights import unpermute_rows
from creditledger.activations.runners.model_source import expected_tensors

SHAPE = ModelShape(layers=2, hidden=64, ff=96, heads=4, kv_heads=2, head_dim=16, vocab=260)
THETA, EPSILON = 10_000.0, 1e-5
Tensors = dict[str, NDArray[np.float32]]

_GGUF_WHOLE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_GGUF_PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def tiny_tensors(*, seed: int = 1, tie: bool = True) -> Tensors:
    """bf16-exact float32 weights by HuggingFace name, large enough for every part to matter."""
    random = np.random.default_rng(seed)
    tensors: Tensors = {}
    for name, size in expected_tensors(SHAPE, tie_embeddings=tie).items():
        values = random.standard_normal(size, dtype=np.float32)
        if len(size) == 1:
            values = 1 + np.float32(0.2) * values
        elif "embed" not in name:
            values *= np.float32(1.5 / size[1] ** 0.5)
        tensors[name] = round_bf16(values)
    return tensors


def write_safetensors_folder(
    folder: Path, tensors: Tensors, *, dtype: str = "BF16", **config: object
) -> Path:
    folder.mkdir(parents=True)
    write_safetensors(folder / "model.safetensors", tensors, dtype=dtype)
    facts = {
        "model_type": "llama",
        "num_hidden_layers": SHAPE.layers,
        "hidden_size": SHAPE.hidden,
        "intermediate_size": SHAPE.ff,
        "num_attention_heads": SHAPE.heads,
        "num_key_value_heads": SHAPE.kv_heads,
        "head_dim": SHAPE.head_dim,
        "vocab_size": SHAPE.vocab,
        "rms_norm_eps": EPSILON,
        "rope_theta": THETA,
        "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps({"_name_or_path": "tiny"} | facts | config))
    return folder


def write_safetensors(file: Path, tensors: Tensors, *, dtype: str = "BF16") -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, values in tensors.items():
        encoded = _encoded(values, dtype)
        header[name] = {
            "dtype": dtype,
            "shape": list(values.shape),
            "data_offsets": [len(body), len(body) + len(encoded)],
        }
        body += encoded
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)


def _encoded(values: NDArray[np.float32], dtype: str) -> bytes:
    if dtype == "BF16":
        return to_bf16_bits(values).astype("<u2").tobytes()
    return values.astype({"F16": "<f2", "F32": "<f4"}[dtype]).tobytes()


def permuted(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """HuggingFace's query or key rows in GGUF's order: row (half, i) of a head becomes 2i + half."""
    half = weight.shape[0] // heads // 2
    out = np.empty_like(weight)
    for head in range(heads):
        for i in range(half):
            for side in range(2):
                out[head * 2 * half + 2 * i + side] = weight[head * 2 * half + side * half + i]
    return out


def write_gguf(file: Path, tensors: Tensors, *, pre: str = "smollm") -> Path:
    gguf = pytest.importorskip("gguf", reason="gguf is not installed")
    writer = gguf.GGUFWriter(file, "llama")
    _add_facts(writer, pre)
    for name, values in tensors.items():
        _add_tensor(gguf, writer, name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tensor(gguf: Any, writer: Any, name: str, values: NDArray[np.float32]) -> None:
    heads = {"q_proj": SHAPE.heads, "k_proj": SHAPE.kv_heads}.get(name.split(".")[-2])
    stored = values if heads is None else permuted(values, heads)
    if values.ndim == 1:
        writer.add_tensor(_gguf_name(name), stored)
        return
    kind = gguf.GGMLQuantizationType.BF16
    writer.add_tensor(_gguf_name(name), gguf.quants.quantize(stored, kind), raw_dtype=kind)


def _gguf_name(name: str) -> str:
    if name in _GGUF_WHOLE:
        return _GGUF_WHOLE[name]
    layer, part = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
    return f"blk.{layer}.{_GGUF_PARTS.get(part, part)}.weight"


def _add_facts(writer: Any, pre: str) -> None:
    writer.add_name("tiny")
    writer.add_block_count(SHAPE.layers)
    writer.add_embedding_length(SHAPE.hidden)
    writer.add_feed_forward_length(SHAPE.ff)
    writer.add_head_count(SHAPE.heads)
    writer.add_head_count_kv(SHAPE.kv_heads)
    writer.add_vocab_size(SHAPE.vocab)
    writer.add_rope_freq_base(THETA)
    writer.add_layer_norm_rms_eps(EPSILON)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(_tokens())
    writer.add_token_types([3] + [1] * (SHAPE.vocab - 1))
    writer.add_token_merges(["1 2", "h i", "hi Ġ"])


def _tokens() -> list[str]:
    """A control token, GPT-2's 256 byte letters, and the three merges."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = (chr(256 + n) for n in range(256))
    letters = [chr(byte) if byte in plain else next(spare) for byte in range(256)]
    return ["<|end|>", *letters, "12", "hi", "hiĠ"]


def test_the_row_order_of_gguf_is_undone() -> None:
    """Two heads of four rows: GGUF keeps the halves of a head interleaved."""
    rows = np.arange(8, dtype=np.float32)[:, None]
    assert permuted(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert unpermute_rows(permuted(rows, 2), 2).tolist() == rows.tolist()


@pytest.mark.parametrize("heads", [1, 3])
def test_rows_come_back_in_place_for_any_number_of_heads(heads: int) -> None:
    weight = np.random.default_rng(1).standard_normal((heads * 16, 5), dtype=np.float32)
    np.testing.assert_array_equal(unpermute_rows(permuted(weight, heads), heads), weight)
    assert not np.array_equal(permuted(weight, heads), weight)

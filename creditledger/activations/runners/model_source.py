"""A Llama-family model in whatever file holds it: constants, tensors as bf16, tokenizer.

Every reader gives the HuggingFace layout, so that equal weights are equal bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from creditledger.activations.bf16 import Bf16Bits
from creditledger.activations.model import ModelShape
from creditledger.errors import MalformedRecordError

EMBEDDING: Final = "model.embed_tokens.weight"
FINAL_NORM: Final = "model.norm.weight"
OUTPUT: Final = "lm_head.weight"

NamedTensor = tuple[str, Bf16Bits]
"""HuggingFace name and bf16 bits: uint16, shape as in the safetensors file (outputs, inputs)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """What a model file says. Reading a file anew for each use is the reader's business."""

    name: str
    shape: ModelShape
    rms_epsilon: float
    rope_theta: float
    tie_embeddings: bool
    tensors: Callable[[], Iterator[NamedTensor]]
    """Each expected tensor once, in any order; raises MalformedRecordError for a broken one."""
    tokenizer_json: str | None
    """In the format of the ``tokenizers`` package; None when the file has none we can use."""


def layer_tensors(shape: ModelShape, layer: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of one decoder layer's tensors, in the order of `LayerWeights`."""
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    parts: dict[str, tuple[int, ...]] = {
        "input_layernorm": (shape.hidden,),
        "self_attn.q_proj": (queries, shape.hidden),
        "self_attn.k_proj": (keys, shape.hidden),
        "self_attn.v_proj": (keys, shape.hidden),
        "self_attn.o_proj": (shape.hidden, queries),
        "post_attention_layernorm": (shape.hidden,),
        "mlp.gate_proj": (shape.ff, shape.hidden),
        "mlp.up_proj": (shape.ff, shape.hidden),
        "mlp.down_proj": (shape.hidden, shape.ff),
    }
    return {f"model.layers.{layer}.{part}.weight": size for part, size in parts.items()}


def expected_tensors(shape: ModelShape, *, tie_embeddings: bool) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of a model: what the digest covers, no more, no less."""
    expected: dict[str, tuple[int, ...]] = {EMBEDDING: (shape.vocab, shape.hidden)}
    for layer in range(shape.layers):
        expected |= layer_tensors(shape, layer)
    expected[FINAL_NORM] = (shape.hidden,)
    if not tie_embeddings:
        expected[OUTPUT] = (shape.vocab, shape.hidden)
    return expected


def require_tensors(found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]) -> None:
    """Check names and shapes of all tensors of a file. Raises MalformedRecordError."""
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise MalformedRecordError(
                f"model file: tensor {name[:120]} is not as this architecture has it",
                expected=str(expected.get(name, "no such tensor")),
                found=str(found.get(name, "no such tensor")),
            )


def float32_value(value: float) -> float:
    """``value`` rounded to float32, so that 1e-5 from JSON and from a GGUF are one number."""
    return float(np.float32(value))

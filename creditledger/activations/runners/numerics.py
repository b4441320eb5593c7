"""Where a kernel rounds, to what, and in which order it sums: all in which honest kernels differ.

All accumulate in float32. Source: specs/model.md §3.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from creditledger.activations.bf16 import Float32Array, round_bf16


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerics:
    """A rounding policy: most fields say whether that intermediate is rounded."""

    name: str
    matmul: bool
    """Results of the seven weight products."""
    normalised: bool
    """RMSNorm before its weight."""
    norm: bool
    """RMSNorm after its weight."""
    rotation_terms: bool
    """Cosines, sines, and the two products of the rotation."""
    rotation: bool
    """The rotated queries and keys."""
    scores: bool
    """Query-key products, and again once scaled."""
    probabilities: bool
    """Softmax, itself computed in float32."""
    context: bool
    """Probability-weighted values."""
    activation: bool
    """SiLU of the gate."""
    product: bool
    """Activated gate times up."""
    middle_residual: bool
    """The residual stream between attention and feed-forward."""
    residual: bool
    """The residual stream between layers."""
    output: bool
    """What leaves the span, to bf16 in every format."""
    partial_sums: int = 1
    """Into how many pieces the inner dimension of each product is cut, summed in float32."""
    partial_sums_rounded: bool = False
    """Whether each of those pieces is rounded before it is summed: `bf16_partials` of a receipt."""
    key_block: int = 0
    """Keys attended to at a time under a running maximum, as flash attention does; 0 for all at once."""
    is_half: bool = False
    """Whether intermediates are rounded to fp16, not bf16."""

    def round(self, values: Float32Array) -> Float32Array:
        """``values`` (float32, C-contiguous) itself, each rounded in place to this kernel's format."""
        if not self.is_half:
            return round_bf16(values, out=values)
        with np.errstate(over="ignore"):
            values[...] = values.astype(np.float16)
        return values


REFERENCE: Final = Numerics(
    name="reference",
    matmul=False,
    normalised=False,
    norm=False,
    rotation_terms=False,
    rotation=False,
    scores=False,
    probabilities=False,
    context=False,
    activation=False,
    product=False,
    middle_residual=False,
    residual=False,
    output=False,
)
"""float32 all through: what the others are measured against."""

YARDSTICK: Final = Numerics(
    name="yardstick",
    matmul=True,
    normalised=True,
    norm=True,
    rotation_terms=True,
    rotation=True,
    scores=True,
    probabilities=True,
    context=True,
    activation=True,
    product=True,
    middle_residual=True,
    residual=True,
    output=True,
)
"""The canonical unfused kernel: rounds after every elementary operation."""

FUSED: Final = replace(
    YARDSTICK,
    name="fused",
    normalised=False,
    rotation_terms=False,
    scores=False,
    probabilities=False,
    activation=False,
)
"""Fused attention, norm and SwiGLU: only what is written to memory is rounded."""

FUSED_RESIDUAL32: Final = replace(FUSED, name="fused-residual32", middle_residual=False)
"""`FUSED`, with the residual stream kept in float32 inside a layer."""

FP32_ACTIVATIONS: Final = replace(REFERENCE, name="fp32-activations", output=True)
"""float32 until the span's end, rounded once for delivery."""

SPLIT_K4: Final = replace(YARDSTICK, name="split-k4", partial_sums=4)
"""The yardstick's rounding with another order of summation."""

SPLIT_K8: Final = replace(YARDSTICK, name="split-k8", partial_sums=8)
"""The same in eight pieces."""

SPLIT_K4_BF16: Final = replace(SPLIT_K4, name="split-k4-bf16", partial_sums_rounded=True)
"""`SPLIT_K4` that writes its partial sums in bf16: for the default rule, not the strict one."""

FLASH: Final = replace(FUSED, name="flash", key_block=64)
"""`FUSED`, with attention in blocks of 64 keys."""

FP16_ACTIVATIONS: Final = replace(FUSED, name="fp16-activations", is_half=True)
"""`FUSED` in fp16; what it delivers is rounded to bf16."""

HONEST_KERNELS: Final = (
    YARDSTICK,
    SPLIT_K4,
    SPLIT_K8,
    FUSED,
    FUSED_RESIDUAL32,
    FLASH,
    FP16_ACTIVATIONS,
    FP32_ACTIVATIONS,
    SPLIT_K4_BF16,
)
"""What a node may honestly run under a bf16 policy; the last only if that declares bf16 partial sums."""

"""Where a kernel rounds to bf16: the one thing in which honest kernels differ.

All accumulate in float32. Source: specs/model.md §3.
"""

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Numerics:
    """A rounding policy: each field says whether that intermediate is rounded to bf16."""

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
    """What leaves the span."""
    partial_sums: int = 1
    """Into how many pieces the inner dimension of each product is cut, summed in float32."""


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

HONEST_KERNELS: Final = (YARDSTICK, SPLIT_K4, FUSED, FUSED_RESIDUAL32, FP32_ACTIVATIONS)
"""What a node may honestly run under the bf16 policy; the profile is calibrated on these."""

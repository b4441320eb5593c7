"""What work earns and what GPU time costs: integers, rounded once, to the payer's favour.

Source: specs/credits.md §3."""

from typing import Final

from creditledger.errors import AmountError
from creditledger.quantities import require_amount
from creditledger.records.parameters import ModelTerms

FLOPS_PER_TFLOP: Final = 10**12
MS_PER_SECOND: Final = 1_000


def span_flops(terms: ModelTerms, layers: int, first_position: int, positions: int) -> int:
    """Exact floating-point operations of ``layers`` layers over ``positions`` positions.

    Per layer and position p: ``2 (2 hidden heads head_dim + 2 hidden kv_heads head_dim + 3 hidden ff)
    + 4 heads head_dim (p + 1)``: projections, gated feed-forward, and attention over what stands
    before p and p itself. ``first_position`` counts from 0. Source: specs/credits.md §3."""
    if min(layers, first_position, positions) < 0:
        raise AmountError("a span counts from 0 upwards")
    projections = 2 * terms.hidden * terms.head_dim * (terms.heads + terms.kv_heads)
    per_position = 2 * (projections + 3 * terms.hidden * terms.ff)
    contexts = positions * first_position + positions * (positions + 1) // 2
    return layers * (positions * per_position + 4 * terms.heads * terms.head_dim * contexts)


def span_price(terms: ModelTerms, flops: int) -> int:
    """Micro-credits for ``flops`` of this model, rounded down. Source: specs/credits.md §3."""
    return flops * terms.micro_per_tflop // FLOPS_PER_TFLOP


def gpu_price(*, gpus: int, duration_ms: int, micro_per_gpu_second: int) -> int:
    """Micro-credits for ``gpus`` GPUs over ``duration_ms``, rounded down.

    Raises AmountError above 2^63-1. Source: specs/credits.md §3."""
    return require_amount(gpus * duration_ms * micro_per_gpu_second // MS_PER_SECOND, what="price")


def levy(amount_micro: int, levy_ppm: int) -> int:
    """The part of ``amount_micro`` that the pool takes, rounded down. Source: specs/credits.md §3."""
    return amount_micro * levy_ppm // 1_000_000

"""Whether delivered tokens follow from the recomputed scores. Source: specs/check.md §9.

Honest kernels disagree only where two tokens score nearly alike, and by no more than the verifier's
own two runs do; a token from elsewhere lies far below the best one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from creditledger.activations.bf16 import Float32Array
from creditledger.activations.sampler import Sampler, SamplerKind

Scores = Callable[[Float32Array], Float32Array]
"""Rows ``(n, hidden)`` that leave the last layer to scores ``(n, vocab)``."""

NOT_SAMPLED: Final = 0xFFFFFFFF
"""In place of a token where none was drawn: inside a prompt."""
MARGIN_SPREADS: Final = 8.0
SURPRISE_MAX_NATS: Final = 25.0
SURPRISE_DEVIATIONS_MAX: Final = 6.0
_BLOCK: Final = 32
"""Positions scored at a time: bounds memory at wide vocabularies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSupport:
    """How well the tokens of one window follow from its scores; no units, 1 is the most allowed."""

    worst: float
    """Of all positions, the largest distance below the best token over its margin."""
    surprise: float
    """Free samplers: surprise beyond what is expected, over what chance explains."""
    sampled: int
    """Positions where a token was drawn."""

    @property
    def is_supported(self) -> bool:
        """Whether an honest node could have drawn them."""
        return self.worst <= 1.0 and self.surprise <= 1.0


def token_support(
    tokens: Sequence[int],
    *,
    sampler: Sampler,
    first_position: int,
    reference: Float32Array,
    yardstick: Float32Array,
    scores: Scores,
) -> TokenSupport:
    """Measure one window's tokens. ``reference``, ``yardstick``: its rows, ``(positions, hidden)``.

    ``tokens``: one a position, `NOT_SAMPLED` where none was drawn. One beyond the vocabulary is
    infinitely far off."""
    where = [index for index, token in enumerate(tokens) if token != NOT_SAMPLED]
    worst, excess, variance = 0.0, 0.0, 0.0
    for start in range(0, len(where), _BLOCK):
        block = where[start : start + _BLOCK]
        exact, rounded = scores(reference[block]), scores(yardstick[block])
        for index, z, other in zip(block, exact, rounded, strict=True):
            if tokens[index] >= len(z):
                return TokenSupport(worst=float("inf"), surprise=0.0, sampled=len(where))
            if sampler.kind == SamplerKind.FREE:
                nats, expected, spread = _surprise(z, tokens[index], sampler.temperature)
                worst = max(worst, nats / SURPRISE_MAX_NATS)
                excess, variance = excess + nats - expected, variance + spread
            else:
                keys = sampler.keys(z, first_position + index)
                below = float(keys.max() - keys[tokens[index]])
                worst = max(worst, below / margin(z, other))
    allowed = SURPRISE_DEVIATIONS_MAX * (variance + 1.0) ** 0.5
    return TokenSupport(worst=worst, surprise=max(0.0, excess / allowed), sampled=len(where))


def margin(exact: Float32Array, rounded: Float32Array) -> float:
    """How far below the best an honest token may score, given both runs' scores ``(vocab,)``.

    Eight times the spread of the runs' difference, and one bf16 spacing of the largest score."""
    spread = float(np.std(rounded.astype(np.float64) - exact))
    largest = float(np.abs(exact).max())
    spacing = float(np.ldexp(1.0, int(np.frexp(largest)[1]) - 8))
    return MARGIN_SPREADS * spread + spacing


def _surprise(z: Float32Array, token: int, temperature: float) -> tuple[float, float, float]:
    """Surprise at ``token``, its expectation and its variance, in nats, before any cut-off."""
    scaled = z.astype(np.float64) / temperature
    scaled -= scaled.max()
    logs = scaled - np.log(np.exp(scaled).sum())
    chances = np.exp(logs)
    entropy = -float(chances @ logs)
    return -float(logs[token]), entropy, float(chances @ logs**2) - entropy**2

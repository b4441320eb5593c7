"""How long rows may be that enter a model's first layer. Source: specs/check.md §5.4.

Every layer adds to the row that it is given. Where a client makes that row long, bf16 drowns what the first
layers add, and lesser weights hide behind the yardstick's own error; where it makes it short, the layers are
run far from where they were trained, and honest kernels come apart."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from creditledger.activations.bf16 import Float32Array

LENGTH_FACTOR_MAX: Final = 2.0
"""A row is at most this much longer than the longest embedding, and shorter than the shortest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingLengths:
    """Euclidean lengths of the rows that a model's tokens give layer 0."""

    shortest: float
    """Of those that are not 0; above 0."""
    longest: float

    @classmethod
    def of(cls, blocks: Iterable[Float32Array]) -> Self:
        """Of all rows of ``blocks``, each ``(n, hidden)``: at least one is not 0."""
        shortest, longest = np.inf, 0.0
        for block in blocks:
            norms = row_norms(block)
            shortest = norms[norms > 0].min(initial=shortest)
            longest = norms.max(initial=longest)
        return cls(shortest=float(shortest), longest=float(longest))

    def positions_within(self, rows: Float32Array) -> int:
        """How many rows of ``(n, hidden)``, finite, stand before the first that is too long or too short.

        A row need not be an embedding: tuned prompts of such lengths pass."""
        norms = row_norms(rows)
        is_within = norms <= LENGTH_FACTOR_MAX * self.longest
        is_within &= norms >= self.shortest / LENGTH_FACTOR_MAX
        outside = np.flatnonzero(~is_within)
        return int(outside[0]) if len(outside) else len(rows)


def row_norms(rows: Float32Array) -> NDArray[np.float64]:
    """The Euclidean length of each row of ``(n, hidden)``: ``(n,)``."""
    squares: NDArray[np.float64] = np.square(rows, dtype=np.float64).sum(axis=1)
    return np.sqrt(squares, out=squares)

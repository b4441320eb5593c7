"""How long rows of layer 0 may be. Source: specs/check.md §5.4."""

from pathlib import Path

import numpy as np
import pytest

from creditledger.activations.embedding_bound import EmbeddingLengths
from creditledger.activations.runners.layer_runner import EmbeddingRuler
from creditledger.activations.runners.numpy_llama import NumpyLlama
from fakes.tiny_llama import SHAPE, tiny_llama

LENGTHS = EmbeddingLengths(shortest=10.0, longest=2.5)
"""Turned round, so that a row of length 5 stands at both bounds."""


def rows(*lengths: float) -> np.ndarray:
    """Rows of these lengths, each a multiple of (3, 4)."""
    return np.array([[0.6 * length, 0.8 * length] for length in lengths], dtype=np.float32)


def test_a_row_at_both_bounds_is_within() -> None:
    assert LENGTHS.positions_within(rows(5.0, 5.0, 5.0)) == 3


@pytest.mark.parametrize("length", [5.0001, 4.9999, 5e6, 0.0])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_row_beyond_ends_what_is_within(length: float, place: int) -> None:
    lengths = [5.0, 5.0, 5.0]
    lengths[place] = length
    assert LENGTHS.positions_within(rows(*lengths)) == place


def test_lengths_are_of_all_blocks_and_of_rows_that_are_not_zero() -> None:
    """A vocabulary's unused rows are often 0: they would let any row be as short as it likes."""
    found = EmbeddingLengths.of([rows(0.0, 0.0), rows(7.0, 0.0, 5.0), rows(10.0)])
    assert found.shortest == pytest.approx(5.0)
    assert found.longest == pytest.approx(10.0)


def test_a_runner_measures_its_models_embeddings(tmp_path: Path) -> None:
    """Every token is within, and twice the longest of them; no further."""
    model = tiny_llama(tmp_path / "weights")
    runner = NumpyLlama(model)
    assert isinstance(runner, EmbeddingRuler)
    embeddings, lengths = model.embedding(range(SHAPE.vocab)), runner.embedding_lengths()
    norms = np.linalg.norm(embeddings.astype(np.float64), axis=1)
    assert (lengths.shortest, lengths.longest) == pytest.approx((norms.min(), norms.max()))
    assert lengths.positions_within(embeddings) == SHAPE.vocab
    longest, shortest = embeddings[norms.argmax()], embeddings[norms.argmin()]
    for row, factor, within in ((longest, 2, 1), (longest, 2.02, 0), (shortest, 0.5, 1), (shortest, 0.49, 0)):
        assert lengths.positions_within(row[None] * np.float32(factor)) == within

"""Made-up outputs are what they say: the checks that catch them are measured elsewhere."""

import numpy as np
import pytest

from creditledger.activations.bf16 import is_bf16_exact, round_bf16
from creditledger.activations.runners.counterfeits import (
    noise_like,
    replayed,
    shifted,
    with_exact_channels,
    with_faked_rows,
)

ROWS = round_bf16(np.random.default_rng(1).standard_normal((80, 48), dtype=np.float32))
OTHER = round_bf16(np.random.default_rng(2).standard_normal((80, 48), dtype=np.float32))


def test_noise_has_the_rows_norms_and_nothing_else_of_them() -> None:
    noise = noise_like(ROWS, np.random.default_rng(3))
    assert is_bf16_exact(noise)
    np.testing.assert_allclose(np.linalg.norm(noise, axis=1), np.linalg.norm(ROWS, axis=1), rtol=0.01)
    assert abs(np.corrcoef(noise.reshape(-1), ROWS.reshape(-1))[0, 1]) < 0.1


@pytest.mark.parametrize("count", [1, 16])
def test_so_many_rows_of_every_32_are_faked(count: int) -> None:
    """The last 16 of 80 rows are a block of their own."""
    mixed = with_faked_rows(ROWS, OTHER, count, np.random.default_rng(3))
    faked = (mixed != ROWS).any(axis=1)
    assert [int(faked[start : start + 32].sum()) for start in (0, 32, 64)] == [count, count, count]
    np.testing.assert_array_equal(mixed[faked], OTHER[faked])


def test_a_replay_is_cut_or_repeated_to_length() -> None:
    np.testing.assert_array_equal(replayed(OTHER, ROWS[:20]), OTHER[:20])
    assert replayed(OTHER[:20], ROWS).shape == ROWS.shape
    np.testing.assert_array_equal(shifted(ROWS)[1:], ROWS[:-1])


def test_the_largest_channels_stay_exact() -> None:
    exact = ROWS * np.linspace(1, 2, 48, dtype=np.float32)
    mixed = with_exact_channels(OTHER, exact, 4)
    same = (mixed == exact).all(axis=0)
    assert same.sum() == 4
    assert np.square(exact[:, same]).mean(axis=0).min() >= np.square(exact[:, ~same]).mean(axis=0).max()
    np.testing.assert_array_equal(mixed[:, ~same], OTHER[:, ~same])

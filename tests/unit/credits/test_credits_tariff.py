"""Prices are exact integers, rounded once and down."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.credits import tariff
from creditledger.errors import AmountError
from fakes.pool import MODEL


def slow_flops(layers: int, first: int, positions: int) -> int:
    """The formula of the specification, summed position by position."""
    per_position = 2 * (
        MODEL.hidden * MODEL.heads * MODEL.head_dim * 2
        + 2 * MODEL.hidden * MODEL.kv_heads * MODEL.head_dim
        + 3 * MODEL.hidden * MODEL.ff
    )
    return sum(
        layers * (per_position + 4 * MODEL.heads * MODEL.head_dim * (p + 1))
        for p in range(first, first + positions)
    )


@given(st.integers(0, 8), st.integers(0, 5000), st.integers(0, 300))
def test_flops_are_the_sum_over_layers_and_positions(layers: int, first: int, positions: int) -> None:
    assert tariff.span_flops(MODEL, layers, first, positions) == slow_flops(layers, first, positions)


@given(st.integers(1, 8), st.integers(0, 2000), st.integers(0, 2000))
def test_flops_of_two_windows_add_up(layers: int, first: int, second: int) -> None:
    whole = tariff.span_flops(MODEL, layers, 0, first + second)
    parts = tariff.span_flops(MODEL, layers, 0, first) + tariff.span_flops(MODEL, layers, first, second)
    assert whole == parts


def test_flops_of_fewer_than_no_positions_are_refused() -> None:
    assert tariff.span_flops(MODEL, 1, 0, 0) == 0
    with pytest.raises(AmountError):
        tariff.span_flops(MODEL, 1, 0, -1)


@pytest.mark.parametrize(
    ("gpus", "duration_ms", "price", "expected"),
    [(1, 1_000, 7, 7), (1, 999, 1, 0), (3, 500, 1, 1), (8, 3_600_000, 1_500_001, 43_200_028_800)],
)
def test_gpu_time_is_priced_per_second_and_rounded_down(
    gpus: int, duration_ms: int, price: int, expected: int
) -> None:
    found = tariff.gpu_price(gpus=gpus, duration_ms=duration_ms, micro_per_gpu_second=price)
    assert found == expected


def test_a_price_beyond_the_largest_amount_is_refused() -> None:
    largest = 2**63 - 1
    assert tariff.gpu_price(gpus=1, duration_ms=1_000, micro_per_gpu_second=largest) == largest
    with pytest.raises(AmountError):
        tariff.gpu_price(gpus=2, duration_ms=1_000, micro_per_gpu_second=largest)


@pytest.mark.parametrize(("amount", "ppm", "expected"), [(99, 10_000, 0), (100, 10_000, 1), (7, 10**6, 7)])
def test_the_levy_is_rounded_down(amount: int, ppm: int, expected: int) -> None:
    assert tariff.levy(amount, ppm) == expected

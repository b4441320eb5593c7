"""The draw can be repeated by anyone, and comes as often as the rate says."""

import math

import pytest

from creditledger.credits.duty import draw_hash, draw_threshold, drawn_members, is_drawn, rate_ppm
from fakes.cast import fake_digest, pool_parameters

RECEIPTS = [fake_digest("receipt", number) for number in range(20_000)]
SEEDS = {member: fake_digest("seed", member) for member in range(3)}


@pytest.mark.parametrize("rate", [20_000, 300_000, 999_999])
def test_each_member_is_drawn_at_its_share_of_the_rate(rate: int) -> None:
    """Within 5 standard deviations of rate / members."""
    share = rate / 10**6 / 4
    for seed in SEEDS.values():
        drawn = sum(is_drawn(seed, receipt, rate=rate, members=4) for receipt in RECEIPTS)
        deviation = math.sqrt(len(RECEIPTS) * share * (1 - share))
        assert abs(drawn - len(RECEIPTS) * share) <= 5 * deviation


def test_below_certainty_the_drawn_are_exactly_those_whose_hash_is_low() -> None:
    for receipt in RECEIPTS[:500]:
        expected = [m for m, seed in SEEDS.items() if is_drawn(seed, receipt, rate=700_000, members=3)]
        assert drawn_members(SEEDS, receipt, rate=700_000, members=3) == expected


def test_a_hash_at_the_threshold_is_not_drawn_and_one_below_is() -> None:
    receipt, seed = RECEIPTS[0], SEEDS[0]
    first = int.from_bytes(draw_hash(seed, receipt)[:8], "big")
    rate = -(-(first * 10**6) // 2**64)
    assert draw_threshold(rate=rate, members=1) >= first
    assert is_drawn(seed, receipt, rate=rate + 1, members=1)
    assert not is_drawn(seed, receipt, rate=rate - 1, members=1)


def test_a_rate_of_zero_draws_nobody() -> None:
    assert not any(drawn_members(SEEDS, receipt, rate=0, members=3) for receipt in RECEIPTS[:500])


def test_at_certainty_the_two_signers_of_lowest_hash_are_drawn() -> None:
    for receipt in RECEIPTS[:500]:
        ranked = sorted(SEEDS, key=lambda member: draw_hash(SEEDS[member], receipt))
        assert drawn_members(SEEDS, receipt, rate=10**6, members=9) == sorted(ranked[:2])
    chosen = [m for receipt in RECEIPTS for m in drawn_members(SEEDS, receipt, rate=10**6, members=3)]
    for member in SEEDS:
        expected, deviation = len(RECEIPTS) * 2 / 3, math.sqrt(len(RECEIPTS) * 2 / 9)
        assert abs(chosen.count(member) - expected) <= 5 * deviation


def test_at_certainty_a_lone_signer_is_drawn_alone() -> None:
    assert drawn_members({5: SEEDS[0]}, RECEIPTS[0], rate=10**6, members=9) == [5]
    assert drawn_members({}, RECEIPTS[0], rate=10**6, members=9) == []


@pytest.mark.parametrize(
    ("settled", "expected"),
    [(0, 10**6), (1_000, 10**6), (1_001, 999_000), (2_000, 500_000), (49_999, 20_000), (10**12, 20_000)],
)
def test_the_rate_falls_with_settled_value_to_the_floor(settled: int, expected: int) -> None:
    parameters = pool_parameters(probation_micro=1_000, check_floor_ppm=20_000, real_bls=False)
    assert rate_ppm(parameters, settled_micro=settled, is_alarmed=False) == expected


def test_without_probation_the_floor_holds_from_the_start() -> None:
    parameters = pool_parameters(probation_micro=0, check_floor_ppm=20_000, real_bls=False)
    assert rate_ppm(parameters, settled_micro=0, is_alarmed=False) == 20_000
    assert rate_ppm(parameters, settled_micro=0, is_alarmed=True) == 10**6


@pytest.mark.parametrize(
    ("above", "value", "expected"), [(500, 500, 20_000), (500, 501, 10**6), (0, 10**15, 20_000)]
)
def test_a_receipt_above_the_always_check_value_is_certain(above: int, value: int, expected: int) -> None:
    parameters = pool_parameters(probation_micro=0, always_check_micro=above, real_bls=False)
    assert rate_ppm(parameters, settled_micro=0, is_alarmed=False, value_micro=value) == expected

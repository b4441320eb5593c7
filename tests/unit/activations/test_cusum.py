"""The integer steps of specs/check.md §5.3."""

import json
import math
from pathlib import Path

import pytest

from creditledger.activations.cusum import (
    CUSUM_ALARM_MICRO,
    CUSUM_STEP_MAX_MICRO,
    cusum_next,
    cusum_step_micro,
    is_cusum_alarm,
)
from creditledger.activations.distance import DEFAULT_RULE, RULES, STRICT_RULE
from creditledger.errors import ActivationError

VECTOR = Path(__file__).parents[2] / "vectors" / "check" / "cusum-steps.json"


def test_stored_vectors() -> None:
    for case in json.loads(VECTOR.read_text())["steps"]:
        assert cusum_step_micro(case["ratio"], RULES[case["rule"]]) == case["step_micro"], case


def test_a_step_is_zero_half_a_shift_above_the_worst_honest_ratio() -> None:
    middle = 1.10 * math.sqrt(1.2)
    assert cusum_step_micro(middle, DEFAULT_RULE) == 0
    assert cusum_step_micro(middle, STRICT_RULE) > 0


def test_steps_are_too_coarse_to_hold_a_guess_against() -> None:
    """D9: whatever the ratio, one of five; nearly all honest work has the first."""
    ratios = [0.3 + 0.001 * number for number in range(2_000)]
    for rule in RULES.values():
        steps = {cusum_step_micro(ratio, rule) for ratio in ratios}
        assert steps == {-6_000_000, -3_000_000, 0, 3_000_000, 6_000_000}
    for kernel in (0.49, 0.63, 0.76, 0.83, 0.89):
        assert (
            cusum_step_micro(kernel, STRICT_RULE)
            == cusum_step_micro(1.2 * kernel, DEFAULT_RULE)
            == -6_000_000
        )


def test_steps_are_clipped() -> None:
    assert cusum_step_micro(100.0, DEFAULT_RULE) == CUSUM_STEP_MAX_MICRO == 6_000_000
    assert cusum_step_micro(math.inf, DEFAULT_RULE) == 6_000_000
    assert cusum_step_micro(1e-9, DEFAULT_RULE) == -6_000_000
    assert cusum_step_micro(0.0, DEFAULT_RULE) == -6_000_000


@pytest.mark.parametrize("ratio", [math.nan, -0.5])
def test_what_is_no_ratio_is_refused(ratio: float) -> None:
    with pytest.raises(ActivationError):
        cusum_step_micro(ratio, DEFAULT_RULE)


def test_the_level_never_falls_below_zero() -> None:
    assert cusum_next(1_000_000, -6_000_000) == 0
    assert cusum_next(1_000_000, 2_000_000) == 3_000_000


def test_the_alarm_takes_three_of_the_largest_steps() -> None:
    assert round(math.log(1e7) * 1e6) == CUSUM_ALARM_MICRO
    assert not is_cusum_alarm(cusum_next(6_000_000, 6_000_000))
    assert not is_cusum_alarm(CUSUM_ALARM_MICRO)
    assert is_cusum_alarm(18_000_000)


def test_honest_ratios_never_raise_the_level() -> None:
    level = 0
    for ratio in (0.89, 1.16, 1.03, 1.09, 0.78, 1.19):
        level = cusum_next(level, cusum_step_micro(ratio, DEFAULT_RULE))
        assert level == 0

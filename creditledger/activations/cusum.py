"""A node's running sum over checks, in integers: it grows while ratios stay too high.

Here, and nowhere else, a ratio becomes an integer. Source: specs/check.md §5.3."""

import math
from typing import Final

from creditledger.activations.distance import Rule
from creditledger.errors import ActivationError
from creditledger.records.verdict import CUSUM_STEP_BIAS

CUSUM_SHIFT: Final = math.log(1.2)
"""The rise of ln(ratio) above the worst honest one that should be noticed."""
CUSUM_DEVIATION: Final = 0.06
"""Standard deviation of ln(ratio) between checks of one honest node."""
CUSUM_STEP_MAX_MICRO: Final = CUSUM_STEP_BIAS
CUSUM_GRAIN_MICRO: Final = 3_000_000
CUSUM_ALARM_MICRO: Final = 16_118_096
"""ln(10^7) in 10^-6, rounded: an alarm takes at least three checks."""


def cusum_step_micro(ratio: float, rule: Rule) -> int:
    """The step of one conclusive check in 10^-6, from -6,000,000 to 6,000,000.

    ``(ln 1.2 / 0.06^2) (ln ratio - ln r1 - ln 1.2 / 2)`` in float64, clipped to +-6, rounded to the
    nearest multiple of 3 (ties to an even one), times 10^6: steps are published, and a fine one would be
    something to hold a guess of the prompt against. A ratio of 0 gives the lowest step, an infinite one
    the highest. Raises ActivationError for NaN or a negative ratio."""
    if not ratio >= 0:
        raise ActivationError("ratio is not a ratio", expected="0 or more", found=str(ratio)[:40])
    if ratio == 0:
        return -CUSUM_STEP_MAX_MICRO
    excess = math.log(ratio) - math.log(rule.cusum_ratio) - CUSUM_SHIFT / 2
    step = CUSUM_SHIFT / CUSUM_DEVIATION**2 * excess
    return round(max(-6.0, min(6.0, step)) * 1_000_000 / CUSUM_GRAIN_MICRO) * CUSUM_GRAIN_MICRO


def cusum_next(level_micro: int, step_micro: int) -> int:
    """``max(0, level + step)``: the node's level after one more check, in 10^-6."""
    return max(0, level_micro + step_micro)


def is_cusum_alarm(level_micro: int) -> bool:
    """Whether ``level_micro`` is above ln(10^7)."""
    return level_micro > CUSUM_ALARM_MICRO

"""Laws of the comparison: what must hold for any span, not only for one set of numbers."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from creditledger.activations.bf16 import round_bf16
from creditledger.activations.calibration import channel_exponents
from creditledger.activations.cusum import CUSUM_STEP_MAX_MICRO, cusum_next, cusum_step_micro
from creditledger.activations.distance import (
    DEFAULT_RULE,
    RULES,
    CheckedWindow,
    SpotStatistics,
    judge_statistics,
    spot_statistics,
)
from creditledger.activations.sketch import sketch
from creditledger.records.verdict import Outcome, Reason

SEEDS = st.integers(0, 2**32 - 1)


class Span:
    """A made-up residual span with outlier channels: inputs, reference, yardstick, exponents."""

    def __init__(self, seed: int, *, scale: float = 1.0, positions: int = 256) -> None:
        rng = np.random.default_rng(seed)
        shape = (positions, int(rng.integers(48, 160)))
        channels = np.exp2(rng.integers(-3, 4, shape[1]).astype(float))
        channels[0] = 200.0
        inputs = rng.standard_normal(shape) * channels
        update = rng.standard_normal(shape) * channels * 0.3
        self.inputs = round_bf16((inputs * scale).astype(np.float32))
        self.reference = (self.inputs + update).astype(np.float32)
        noise = rng.standard_normal(shape) * channels * 0.003
        self.yardstick = round_bf16((self.reference + noise).astype(np.float32))
        self.exponents = channel_exponents(self.reference, least_positions=positions)
        self.rng = rng

    def rescale(self, factor: float) -> None:
        for name in ("inputs", "reference", "yardstick"):
            setattr(self, name, getattr(self, name) * np.float32(factor))
        self.exponents = channel_exponents(self.reference, least_positions=len(self.reference))

    def check(self, claim: np.ndarray) -> SpotStatistics:
        seed = self.rng.bytes(32)
        window = CheckedWindow(
            claimed=sketch(round_bf16(claim), seed=seed, exponents=self.exponents),
            seed=seed,
            reference=self.reference,
            yardstick=self.yardstick,
            inputs=self.inputs,
        )
        return spot_statistics([window], exponents=self.exponents)


@given(SEEDS)
@settings(max_examples=30)
def test_the_yardsticks_own_output_has_a_ratio_near_one(seed: int) -> None:
    """Trimming two squared projections costs a little: about 0.87 is expected, never far off."""
    span = Span(seed)
    stats = span.check(span.yardstick)
    assert 0.7 < stats.ratio < 1.1
    assert judge_statistics(stats, rule=DEFAULT_RULE) == (Outcome.UPHELD, Reason.MATCH)


@given(SEEDS)
@settings(max_examples=20)
def test_the_reference_itself_has_a_ratio_near_zero(seed: int) -> None:
    span = Span(seed)
    assert span.check(span.reference).ratio < 0.2


@given(SEEDS)
@settings(max_examples=20)
def test_identity_scores_what_the_resolution_says(seed: int) -> None:
    """rho is the ratio that untouched inputs would have, up to the noise of two projections."""
    span = Span(seed)
    stats = span.check(span.inputs)
    assert stats.ratio > 20
    assert 0.6 < stats.ratio / stats.resolution < 1.2
    assert judge_statistics(stats, rule=DEFAULT_RULE) == (Outcome.REFUTED, Reason.RATIO)


@given(SEEDS)
@settings(max_examples=20)
def test_noise_is_refuted(seed: int) -> None:
    span = Span(seed)
    claim = span.rng.permutation(span.reference, axis=0)
    assert judge_statistics(span.check(claim), rule=DEFAULT_RULE)[0] == Outcome.REFUTED


@given(SEEDS)
@settings(max_examples=20)
def test_inputs_that_drown_the_layer_are_inconclusive_whatever_is_claimed(seed: int) -> None:
    """Scaled by 1000, the residual hides in bf16 what the layers do; so nothing can be earned."""
    span = Span(seed, scale=1000.0)
    for claim in (span.yardstick, span.inputs, span.reference * np.float32(2)):
        outcome = judge_statistics(span.check(claim), rule=DEFAULT_RULE)
        assert outcome == (Outcome.INCONCLUSIVE, Reason.RESOLUTION)


@given(SEEDS, st.integers(0, 14))
@settings(max_examples=40)
def test_no_scale_of_the_inputs_gets_honest_work_refuted(seed: int, power: int) -> None:
    """Whoever supplies the inputs could otherwise frame a node whose kernel rounds elsewhere."""
    span = Span(seed, scale=2.0**power)
    update = np.sqrt(np.square(span.reference - span.inputs, dtype=np.float64).mean(axis=0))
    noise = span.rng.standard_normal(span.reference.shape) * update * 0.01
    stats = span.check((span.reference + noise).astype(np.float32))
    assert judge_statistics(stats, rule=DEFAULT_RULE)[0] != Outcome.REFUTED


@given(SEEDS, st.integers(-8, 8))
@settings(max_examples=30)
def test_a_common_power_of_two_changes_no_term_of_the_verifier(seed: int, power: int) -> None:
    """Ratio, tail and resolution have no unit; quiet spans are lifted by their exponents."""
    span = Span(seed)
    plain = span.check(span.yardstick)
    span.rescale(2.0**power)
    scaled = span.check(span.yardstick)
    assert abs(scaled.resolution / plain.resolution - 1) < 0.02
    assert 0.7 < scaled.ratio < 1.1


@given(st.floats(min_value=0, allow_nan=False), st.floats(min_value=0, allow_nan=False))
def test_steps_rise_with_the_ratio_and_stay_in_range(a: float, b: float) -> None:
    for rule in RULES.values():
        low, high = (cusum_step_micro(ratio, rule) for ratio in sorted((a, b)))
        assert -CUSUM_STEP_MAX_MICRO <= low <= high <= CUSUM_STEP_MAX_MICRO


@given(st.lists(st.integers(-6_000_000, 6_000_000), max_size=30))
def test_the_level_is_the_largest_sum_of_latest_steps(steps: list[int]) -> None:
    """The well-known other form of a one-sided running sum."""
    level = 0
    for step in steps:
        level = cusum_next(level, step)
    assert level == max(sum(steps[start:]) for start in range(len(steps) + 1))

"""Statistics and decisions of specs/check.md §4-5, on synthetic spans with outlier channels."""

import math
from dataclasses import replace

import numpy as np
import pytest

from creditledger.activations.bf16 import round_bf16, to_bf16_bits
from creditledger.activations.calibration import channel_exponents
from creditledger.activations.distance import (
    DECLARED_RULE,
    DEFAULT_RULE,
    RULES,
    STRICT_RULE,
    CheckedWindow,
    SpotStatistics,
    compare_tensors,
    judge_statistics,
    rule_for,
    spot_statistics,
    threshold,
    trimmed_mean,
)
from creditledger.activations.sketch import sketch
from creditledger.errors import ActivationError
from creditledger.records.receipt import BF16_NUMERICS, Dtype
from creditledger.records.verdict import Outcome, Reason

SEED = bytes(range(32))
WIDTH = 96


def span(positions: int, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, high-precision outputs and bf16 outputs of a made-up residual span."""
    rng = np.random.default_rng(seed)
    channels = np.ones(WIDTH)
    channels[:3] = (60, 25, 9)
    inputs = round_bf16((rng.standard_normal((positions, WIDTH)) * channels).astype(np.float32))
    update = rng.standard_normal((positions, WIDTH)) * channels * 0.3
    reference = (inputs + update).astype(np.float32)
    noise = rng.standard_normal((positions, WIDTH)) * channels * 0.004
    yardstick = round_bf16((reference + noise).astype(np.float32))
    return inputs, reference, yardstick


def window_of(claim: np.ndarray, positions: int = 256, seed: bytes = SEED) -> CheckedWindow:
    inputs, reference, yardstick = span(positions)
    return CheckedWindow(
        claimed=sketch(round_bf16(claim), seed=seed, exponents=EXPONENTS),
        seed=seed,
        reference=reference,
        yardstick=yardstick,
        inputs=inputs,
    )


INPUTS, REFERENCE, YARDSTICK = span(256)
EXPONENTS = channel_exponents(REFERENCE, least_positions=256)
HONEST = round_bf16(
    (REFERENCE + np.random.default_rng(9).standard_normal(REFERENCE.shape) * 0.002).astype(np.float32)
)


def naive_statistics(window: CheckedWindow, claimed: np.ndarray) -> tuple[float, float, float]:
    """Section 4 with loops: the claim's sums come from the sketch, the signs from unit rows."""
    n, width = window.reference.shape
    signs = np.stack(
        [
            np.sign(sketch(row, seed=window.seed, exponents=np.zeros(width, np.int8)).astype(float))
            for row in np.broadcast_to(np.eye(width, dtype=np.float32)[:, None], (width, n, width))
        ],
        axis=2,
    )
    star = round_bf16(window.reference).astype(float)
    weights = [2.0 ** int(e) for e in EXPONENTS]
    q, y, x, u = [], [], [], []
    for t in range(n):
        norm = sum((w * v) ** 2 for w, v in zip(weights, star[t], strict=True))
        errors = []
        for k in range(2):
            expected = sum(
                s * round(v * w * 2**12) for s, v, w in zip(signs[t, k], star[t], weights, strict=True)
            )
            errors.append(float(claimed[t, k]) * 2.0**8 - expected / 2.0**12)
        q.append(sum(e * e for e in errors) / 2 / norm)
        for into, rows in ((y, window.yardstick), (x, window.inputs)):
            gaps = rows[t].astype(float) - star[t]
            into.append(sum((w * g) ** 2 for w, g in zip(weights, gaps, strict=True)) / norm)
        ulps = [2.0 ** (math.floor(math.log2(abs(v))) - 7) if v else 0.0 for v in star[t]]
        u.append(max((w * ulp) ** 2 for w, ulp in zip(weights, ulps, strict=True)) / norm)
    low = [sum(sorted(v)[: n * 9 // 10]) / (n * 9 // 10) for v in (q, y, x)]
    tail = max(math.sqrt(a / (b + low[1] + c)) for a, b, c in zip(q, y, u, strict=True))
    return math.sqrt(low[0] / low[1]), tail, math.sqrt(low[2] / low[1])


def test_statistics_equal_a_naive_reading_of_the_specification() -> None:
    window = window_of(span(40)[2] * np.float32(1.003), positions=40)
    stats = spot_statistics([window], exponents=EXPONENTS)
    ratio, tail, resolution = naive_statistics(window, window.claimed)
    assert stats.ratio == pytest.approx(ratio, rel=1e-6)
    assert stats.tail == pytest.approx(tail, rel=1e-6)
    assert stats.resolution == pytest.approx(resolution, rel=1e-6)
    assert (stats.positions, stats.unresolved) == (40, 0)


def test_honest_work_is_upheld() -> None:
    stats = spot_statistics([window_of(HONEST)], exponents=EXPONENTS)
    assert judge_statistics(stats, rule=DEFAULT_RULE) == (Outcome.UPHELD, Reason.MATCH)


@pytest.mark.parametrize(
    "cheat",
    [
        lambda: INPUTS,
        lambda: -REFERENCE,
        lambda: np.roll(REFERENCE, 1, axis=0),
        lambda: np.zeros_like(REFERENCE),
        lambda: np.random.default_rng(5).standard_normal(REFERENCE.shape).astype(np.float32) * 20,
        lambda: YARDSTICK + np.random.default_rng(5).standard_normal(REFERENCE.shape).astype("f4") * 0.05,
    ],
    ids=["identity", "negated", "shifted", "zero", "noise", "coarse"],
)
def test_cheats_are_refuted_by_the_ratio(cheat) -> None:
    stats = spot_statistics([window_of(cheat())], exponents=EXPONENTS)
    assert stats.ratio > threshold(256, ratio_floor=1.15)
    assert judge_statistics(stats, rule=DEFAULT_RULE) == (Outcome.REFUTED, Reason.RATIO)


def test_one_faked_row_is_refuted_by_the_tail() -> None:
    claim = HONEST.copy()
    claim[77] = INPUTS[77]
    stats = spot_statistics([window_of(claim)], exponents=EXPONENTS)
    assert judge_statistics(stats, rule=DEFAULT_RULE) == (Outcome.REFUTED, Reason.TAIL)
    assert stats.worst_position == 77


def test_a_short_window_is_judged_with_its_predecessor() -> None:
    short = window_of(span(20)[2], positions=20, seed=b"s" * 32)
    alone = spot_statistics([short], exponents=EXPONENTS)
    assert judge_statistics(alone, rule=DEFAULT_RULE) == (Outcome.INCONCLUSIVE, Reason.TOO_SHORT)
    both = spot_statistics([window_of(HONEST), short], exponents=EXPONENTS)
    assert both.positions == 276
    assert judge_statistics(both, rule=DEFAULT_RULE) == (Outcome.UPHELD, Reason.MATCH)


def test_thirty_two_positions_are_enough() -> None:
    stats = spot_statistics([window_of(span(32)[2], positions=32)], exponents=EXPONENTS)
    assert judge_statistics(stats, rule=DEFAULT_RULE) == (Outcome.UPHELD, Reason.MATCH)


@pytest.mark.parametrize(
    ("row", "value"), [("reference", 0.0), ("reference", np.nan), ("inputs", np.inf), ("yardstick", np.nan)]
)
def test_a_position_that_tells_nothing_leaves_the_check_inconclusive(row: str, value: float) -> None:
    """Whoever feeds such rows earns nothing by it, and the validator does not stumble."""
    window = window_of(HONEST)
    rows = getattr(window, row).copy()
    rows[3] = value
    stats = spot_statistics([replace(window, **{row: rows})], exponents=EXPONENTS)
    assert stats.unresolved == 1
    assert judge_statistics(stats, rule=DEFAULT_RULE) == (Outcome.INCONCLUSIVE, Reason.RESOLUTION)


def test_references_beyond_what_a_sketch_stores_are_unresolved() -> None:
    """Both sides would saturate alike, whatever was computed."""
    window = window_of(HONEST)
    stats = spot_statistics([replace(window, reference=REFERENCE * np.float32(1e9))], exponents=EXPONENTS)
    assert stats.unresolved > 200
    assert judge_statistics(stats, rule=DEFAULT_RULE)[1] == Reason.RESOLUTION


def test_no_resolved_position_at_all_is_inconclusive() -> None:
    window = window_of(HONEST)
    stats = spot_statistics([replace(window, reference=REFERENCE * 0)], exponents=EXPONENTS)
    assert (stats.unresolved, stats.ratio, stats.tail) == (256, 0.0, 0.0)
    assert judge_statistics(stats, rule=DEFAULT_RULE)[0] == Outcome.INCONCLUSIVE


def test_a_yardstick_without_error_measures_nothing() -> None:
    window = replace(window_of(HONEST), yardstick=round_bf16(REFERENCE))
    stats = spot_statistics([window], exponents=EXPONENTS)
    assert stats.ratio == math.inf
    assert stats.resolution == 0
    assert judge_statistics(stats, rule=DEFAULT_RULE)[0] == Outcome.INCONCLUSIVE


@pytest.mark.parametrize(("silent", "reason"), [(25, Reason.MATCH), (26, Reason.RESOLUTION)])
def test_a_yardstick_silent_in_more_than_a_tenth_measures_nothing(silent: int, reason: Reason) -> None:
    yardstick = YARDSTICK.copy()
    yardstick[:silent] = round_bf16(REFERENCE[:silent])
    stats = spot_statistics([replace(window_of(HONEST), yardstick=yardstick)], exponents=EXPONENTS)
    assert judge_statistics(stats, rule=DEFAULT_RULE)[1] == reason


STATS = SpotStatistics(
    ratio=0.9, tail=2.0, tails_above=0, resolution=60.0, positions=256, unresolved=0, worst_position=0
)
MOST = threshold(256, ratio_floor=1.15)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, Reason.MATCH),
        ({"positions": 32}, Reason.MATCH),
        ({"positions": 31}, Reason.TOO_SHORT),
        ({"resolution": 20.0}, Reason.MATCH),
        ({"resolution": 19.99}, Reason.RESOLUTION),
        ({"resolution": math.nan}, Reason.RESOLUTION),
        ({"unresolved": 1}, Reason.RESOLUTION),
        ({"ratio": MOST}, Reason.MATCH),
        ({"ratio": MOST * 1.0001}, Reason.RATIO),
        ({"ratio": math.nan}, Reason.RATIO),
        ({"tail": 8.0}, Reason.MATCH),
        ({"tail": 8.01, "tails_above": 1}, Reason.TAIL),
        ({"ratio": 99.0, "resolution": 5.0}, Reason.RESOLUTION),
    ],
)
def test_each_limit_decides_at_its_place(change: dict, reason: Reason) -> None:
    assert judge_statistics(replace(STATS, **change), rule=DEFAULT_RULE)[1] == reason


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"tail": 8.01, "tails_above": 1}, Outcome.INCONCLUSIVE),
        ({"tail": 24.0, "tails_above": 1}, Outcome.INCONCLUSIVE),
        ({"tail": 24.01, "tails_above": 1}, Outcome.REFUTED),
        ({"tail": math.inf, "tails_above": 1}, Outcome.REFUTED),
        ({"tail": 8.01, "tails_above": 2}, Outcome.REFUTED),
    ],
)
def test_one_row_a_little_far_off_convicts_nobody(change: dict, outcome: Outcome) -> None:
    """E18: two projections know a distance up to a factor; two such rows, or one far off, are no chance."""
    assert judge_statistics(replace(STATS, **change), rule=DEFAULT_RULE) == (outcome, Reason.TAIL)


def test_the_profile_raises_the_resolution_asked_for() -> None:
    assert judge_statistics(STATS, rule=DEFAULT_RULE, profile_resolution=240.0)[1] == Reason.MATCH
    assert judge_statistics(STATS, rule=DEFAULT_RULE, profile_resolution=241.0)[1] == Reason.RESOLUTION


def test_thresholds_are_the_measured_ones() -> None:
    for rule, at_32, at_256 in ((DEFAULT_RULE, 1.758, 1.336), (STRICT_RULE, 1.452, 1.104)):
        assert round(threshold(32, ratio_floor=rule.ratio_floor), 3) == at_32
        assert round(threshold(256, ratio_floor=rule.ratio_floor), 3) == at_256
    assert round(threshold(256, ratio_floor=DECLARED_RULE.ratio_floor), 3) == 0.523
    assert set(RULES) == {"default", "strict", "declared"}


def test_the_numerics_policy_chooses_the_rule() -> None:
    assert rule_for(BF16_NUMERICS) is STRICT_RULE
    assert rule_for(BF16_NUMERICS.replace(bf16_partials=1)) is DEFAULT_RULE
    for dtype in (Dtype.FP16, Dtype.FP32):
        assert rule_for(BF16_NUMERICS.replace(activations=dtype)) is DECLARED_RULE


def test_the_trimmed_mean_drops_the_highest_tenth() -> None:
    assert trimmed_mean(np.array([1.0] * 9 + [1000.0])) == 1.0
    assert trimmed_mean(np.array([5.0])) == 5.0
    assert trimmed_mean(np.array([])) == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"claimed": np.zeros((255, 2), np.float16)},
        {"claimed": np.zeros((256, 2), np.float32)},
        {"claimed": np.full((256, 2), np.inf, np.float16)},
        {"inputs": INPUTS[:255]},
        {"yardstick": YARDSTICK.astype(np.float64)},
        {"reference": REFERENCE[:0]},
    ],
    ids=["short", "float32", "infinite", "inputs", "float64", "empty"],
)
def test_arrays_that_do_not_fit_are_refused(change: dict) -> None:
    with pytest.raises(ActivationError):
        spot_statistics([replace(window_of(HONEST), **change)], exponents=EXPONENTS)


def test_no_window_is_refused() -> None:
    with pytest.raises(ActivationError):
        spot_statistics([], exponents=EXPONENTS)


def test_compare_accepts_floats_and_bit_patterns_alike() -> None:
    from_floats = compare_tensors(HONEST, REFERENCE, YARDSTICK, INPUTS, EXPONENTS)
    from_bits = compare_tensors(
        to_bf16_bits(HONEST), REFERENCE, to_bf16_bits(YARDSTICK), to_bf16_bits(INPUTS), EXPONENTS
    )
    assert from_floats == from_bits
    assert from_floats.outcome == Outcome.UPHELD


def test_compare_judges_windows_as_receipts_are_judged() -> None:
    inputs, reference, yardstick = span(600)
    claim = yardstick.copy()
    good = compare_tensors(claim, reference, yardstick, inputs, EXPONENTS)
    assert [window.statistics.positions for window in good.windows] == [256, 344]
    assert good.outcome == Outcome.UPHELD
    claim[300:] = inputs[300:]
    bad = compare_tensors(claim, reference, yardstick, inputs, EXPONENTS)
    assert [window.outcome for window in bad.windows] == [Outcome.UPHELD, Outcome.REFUTED]
    assert bad.worst is bad.windows[1]


def test_compare_refuses_tensors_of_different_shape() -> None:
    with pytest.raises(ActivationError):
        compare_tensors(HONEST[:-1], REFERENCE, YARDSTICK, INPUTS, EXPONENTS)

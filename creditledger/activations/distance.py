"""How far claimed rows are from re-executed ones, and what that decides. Source: specs/check.md §4-5.

A claim is measured against the verifier's own bf16 run: both distances are from one reference on
the same input, so their ratio needs no threshold per model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from creditledger.activations.bf16 import round_bf16, to_bf16_bits
from creditledger.activations.delivered import Rows, delivered_root
from creditledger.activations.row_format import rounded_to
from creditledger.activations.sketch import (
    BLOCK_POSITIONS,
    FRACTION_BITS,
    PROJECTIONS,
    STORED_MAX,
    Exponents,
    Sketch,
    real_rows,
    require_exponents,
    signed_sums,
    sketch,
    stored_scale,
    sums_of_sketch,
)
from creditledger.errors import ActivationError
from creditledger.records.receipt import WINDOW, Dtype, Numerics
from creditledger.records.verdict import Outcome, Reason

Float32Rows: TypeAlias = NDArray[np.float32]
PerPosition: TypeAlias = NDArray[np.float64]

POSITIONS_MIN: Final = 32
RESOLUTION_MIN: Final = 20.0
PROFILE_RESOLUTION_SHARE: Final = 0.25
TAIL_MAX: Final = 8.0
LONE_TAIL_MAX: Final = 24.0
"""What one position may reach before it refutes by itself. Source: specs/check.md §5.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How strictly a numerics policy is judged. Source: specs/check.md §5.1."""

    name: str
    ratio_floor: float
    """r0: the ratio that is still accepted over endlessly many positions."""
    cusum_ratio: float
    """r1: the worst honest ratio over 256 positions, where the running sum starts to rise."""


DEFAULT_RULE: Final = Rule(name="default", ratio_floor=1.15, cusum_ratio=1.10)
"""bf16 activations; partial sums of a split product may be rounded to bf16."""
STRICT_RULE: Final = Rule(name="strict", ratio_floor=0.95, cusum_ratio=0.92)
"""bf16 activations; partial sums stay in fp32."""
DECLARED_RULE: Final = Rule(name="declared", ratio_floor=0.45, cusum_ratio=0.43)
"""The node declares fp16 or fp32 activations, and is held to their precision."""
RULES: Final = {rule.name: rule for rule in (DEFAULT_RULE, STRICT_RULE, DECLARED_RULE)}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedWindow:
    """One receipt's window as a validator has it before it judges. All ``(positions, hidden)``."""

    claimed: Sketch
    """float16 ``(positions, 2)``: opened from the receipt's commitment."""
    seed: bytes
    reference: Float32Rows
    """The verifier's high-precision run, not rounded."""
    yardstick: Float32Rows
    """The verifier's canonical bf16 run."""
    inputs: Float32Rows
    """What both runs, and the claim, started from."""
    delivered: Dtype = Dtype.BF16
    """The format of the claimed rows: the reference is rounded to it before it is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotStatistics:
    """What a check measured; no units. Source: specs/check.md §4."""

    ratio: float
    """Distance of the claim over distance of the yardstick; infinite if only the latter is 0."""
    tail: float
    """Largest distance of one position over what its rounding explains."""
    tails_above: int
    """Positions whose distance is above 8 times that."""
    resolution: float
    """rho: distance of the untouched input over distance of the yardstick; 0 if that is mostly 0."""
    positions: int
    unresolved: int
    """Positions that tell nothing: not finite, zero, or beyond what a sketch stores."""
    worst_position: int
    """Index of the position with the largest tail, counted over all windows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedWindow:
    """The outcome of one check."""

    statistics: SpotStatistics
    threshold: float
    outcome: Outcome
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The outcome over all windows of a tensor: the worst window's, and every window's."""

    worst: JudgedWindow
    windows: tuple[JudgedWindow, ...]

    @property
    def outcome(self) -> Outcome:
        """Refuted if any window is, else inconclusive if any is, else upheld."""
        return self.worst.outcome


def spot_statistics(windows: Sequence[CheckedWindow], *, exponents: Exponents) -> SpotStatistics:
    """Measure the claim of one receipt; a short last window comes with its predecessor.

    ``exponents``: int8 ``(hidden,)``. Raises ActivationError for arrays that do not fit together;
    values that are not finite are counted as unresolved instead. Source: specs/check.md §4."""
    if not windows:
        raise ActivationError("no window to measure", expected="one or more")
    terms = [_window_terms(window, exponents) for window in windows]
    columns = [np.concatenate(column) for column in zip(*terms, strict=True)]
    positions = len(columns[0])
    where = np.flatnonzero(columns[4] > 0)
    q, y, x, u = (column[where] for column in columns[:4])
    floor = trimmed_mean(y)
    tails = _tails(q, y + floor + u)
    worst = int(np.argmax(tails)) if len(tails) else 0
    return SpotStatistics(
        ratio=_root_ratio(trimmed_mean(q), floor),
        tail=float(tails[worst]) if len(tails) else 0.0,
        resolution=0.0 if _is_silent(y) else _root_ratio(trimmed_mean(x), floor),
        positions=positions,
        tails_above=int((~(tails <= TAIL_MAX)).sum()),
        unresolved=positions - len(where),
        worst_position=int(where[worst]) if len(tails) else 0,
    )


def trimmed_mean(values: PerPosition) -> float:
    """B: the mean of the lowest ``floor(0.9 n)`` values, at least one; 0 for none."""
    if not len(values):
        return 0.0
    kept = max(1, len(values) * 9 // 10)
    return float(np.sort(values)[:kept].mean())


def threshold(n: int, *, ratio_floor: float, projections: int = PROJECTIONS) -> float:
    """T(n) = r0 exp(4 * 0.6 / sqrt(n k / 2)): what ``n`` positions may reach. ``n`` is 1 or more."""
    return ratio_floor * math.exp(4 * 0.6 / math.sqrt(n * projections / 2))


def rule_for(numerics: Numerics) -> Rule:
    """The rule that a declared numerics policy is judged by. Source: specs/check.md §5.1."""
    if numerics.activations in (Dtype.FP16, Dtype.FP32):
        return DECLARED_RULE
    return DEFAULT_RULE if numerics.bf16_partials else STRICT_RULE


def judge_statistics(
    stats: SpotStatistics, *, rule: Rule, profile_resolution: float | None = None
) -> tuple[Outcome, Reason]:
    """Decide one check. ``profile_resolution``: the profile's median rho, None without a profile.

    What depends on the verifier's runs alone comes first: a claim makes itself inconclusive by one row at
    most. Source: specs/check.md §5.2."""
    if stats.positions < POSITIONS_MIN:
        return Outcome.INCONCLUSIVE, Reason.TOO_SHORT
    least = max(RESOLUTION_MIN, PROFILE_RESOLUTION_SHARE * (profile_resolution or 0.0))
    if stats.unresolved or not stats.resolution >= least:
        return Outcome.INCONCLUSIVE, Reason.RESOLUTION
    if not stats.ratio <= threshold(stats.positions, ratio_floor=rule.ratio_floor):
        return Outcome.REFUTED, Reason.RATIO
    if stats.tails_above > 1 or not stats.tail <= LONE_TAIL_MAX:
        return Outcome.REFUTED, Reason.TAIL
    if stats.tails_above:
        return Outcome.INCONCLUSIVE, Reason.TAIL
    return Outcome.UPHELD, Reason.MATCH


def compare_tensors(
    claimed: Rows,
    reference: Rows,
    yardstick: Rows,
    inputs: Rows,
    exponents: Exponents,
    *,
    rule: Rule = DEFAULT_RULE,
    profile_resolution: float | None = None,
) -> Comparison:
    """Judge whole tensors as receipts of 256 positions would be: each window is sketched and checked.

    All ``(positions, hidden)``, float32, float16, or bf16 as uint16 bit patterns. ``claimed`` and
    ``yardstick`` are rounded to bf16 first, as they are when delivered; a last window of less than
    256 is judged with its predecessor. Raises ActivationError. Source: specs/check.md §4."""
    arrays = [real_rows(rows) for rows in (claimed, reference, yardstick, inputs)]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1:
        raise ActivationError("tensors differ in shape", found=str(sorted(shapes))[:120])
    require_exponents(exponents, width=arrays[0].shape[1])
    windows = [
        _sketched_window(arrays, slice(start, start + WINDOW), exponents)
        for start in range(0, len(arrays[0]), WINDOW)
    ]
    judged = []
    for group in _grouped(windows):
        stats = spot_statistics(group, exponents=exponents)
        outcome, reason = judge_statistics(stats, rule=rule, profile_resolution=profile_resolution)
        most = threshold(stats.positions, ratio_floor=rule.ratio_floor)
        judged.append(JudgedWindow(statistics=stats, threshold=most, outcome=outcome, reason=reason))
    return Comparison(worst=max(judged, key=_badness), windows=tuple(judged))


def _sketched_window(arrays: Sequence[Float32Rows], window: slice, exponents: Exponents) -> CheckedWindow:
    claimed, reference, yardstick, inputs = (array[window] for array in arrays)
    # There is no receipt, so no context: the root of the claim alone fixes the signs.
    seed = delivered_root(to_bf16_bits(claimed), boundary_key=bytes(32), first_position=window.start)
    return CheckedWindow(
        claimed=sketch(round_bf16(claimed), seed=seed, exponents=exponents),
        seed=seed,
        reference=reference,
        yardstick=round_bf16(yardstick),
        inputs=inputs,
    )


def _grouped(windows: list[CheckedWindow]) -> list[list[CheckedWindow]]:
    groups = [[window] for window in windows]
    if len(groups) > 1 and len(groups[-1][0].reference) < WINDOW:
        groups[-2:] = [groups[-2] + groups[-1]]
    return groups


def _badness(window: JudgedWindow) -> tuple[int, float]:
    order = (Outcome.UPHELD, Outcome.INCONCLUSIVE, Outcome.REFUTED)
    return order.index(window.outcome), window.statistics.ratio / window.threshold


def _window_terms(window: CheckedWindow, exponents: Exponents) -> tuple[PerPosition, ...]:
    """Per position: q, y, x, u of specs/check.md §4, and 1 where they mean something, else 0."""
    _require_window(window, exponents)
    norms, y, x, u, rounded = yardstick_terms(
        window.reference, window.yardstick, window.inputs, exponents, delivered=window.delivered
    )
    resolved = norms > 0
    rounded[~resolved] = 0.0
    expected = signed_sums(rounded, seed=window.seed, exponents=exponents)
    resolved &= (np.abs(stored_scale(expected)) <= STORED_MAX).all(axis=1)
    errors = np.ldexp(sums_of_sketch(window.claimed) - expected, -FRACTION_BITS)
    q = np.square(errors).mean(axis=1) / np.where(resolved, norms, 1.0)
    return q, y, x, u, resolved.astype(np.float64)


def yardstick_terms(
    reference: Float32Rows,
    yardstick: Float32Rows,
    inputs: Float32Rows,
    exponents: Exponents,
    *,
    delivered: Dtype = Dtype.BF16,
) -> tuple[PerPosition, PerPosition, PerPosition, PerPosition, Float32Rows]:
    """The verifier's own terms, per position: N, y, x, u, and Y*, the reference as ``delivered`` holds it.

    N is 0 where a row is zero or not finite; the others mean nothing there.
    Source: specs/check.md §4."""
    rounded = rounded_to(reference, delivered)
    starts = range(0, len(rounded), BLOCK_POSITIONS)  # Blocks stay in the cache.
    blocks = [slice(start, start + BLOCK_POSITIONS) for start in starts]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        raw = [_block_terms(rounded[b], yardstick[b], inputs[b], exponents) for b in blocks]
        norms, y, x, u = np.concatenate(raw, axis=1)
        known = np.isfinite(norms + y + x + u) & (norms > 0)
        y, x, u = (np.where(known, term / norms, 0.0) for term in (y, x, u))
    return np.where(known, norms, 0.0), y, x, u, rounded


def _block_terms(
    rounded: Float32Rows, yardstick: Float32Rows, inputs: Float32Rows, exponents: Exponents
) -> NDArray[np.float64]:
    """``(4, positions)``: weighted energies of a row, its yardstick's error, its input's; u before N."""
    weights = np.ldexp(np.float32(1), exponents.astype(np.int32))
    squared_weights = weights.astype(np.float64) ** 2
    energies = []
    for rows in (rounded, yardstick - rounded, inputs - rounded):
        squares = rows.astype(np.float64)
        squares *= squares
        energies.append(squares @ squared_weights)
    peaks = np.abs(rounded * weights).max(axis=1)
    # 2^(floor(log2 peak) - 7): frexp's mantissa lies in [1/2, 1), hence the 8.
    spacings = np.ldexp(np.where(np.isfinite(peaks), 1.0, np.nan), np.frexp(peaks)[1] - 8)
    return np.stack([*energies, spacings**2])


def _is_silent(y: PerPosition) -> bool:
    """Whether bf16 swallowed the yardstick's own error in more than a tenth of the positions.

    Inputs made for it get there; then single roundings decide, and honest kernels look far apart."""
    return not bool((y > 0).any()) or int((y == 0).sum()) * 10 > len(y)


def _tails(q: PerPosition, explained: PerPosition) -> PerPosition:
    with np.errstate(divide="ignore", invalid="ignore"):
        roots: PerPosition = np.sqrt(q / explained)
    return np.nan_to_num(roots, nan=0.0, posinf=math.inf)


def _root_ratio(above: float, below: float) -> float:
    if below > 0:
        return math.sqrt(above / below)
    return math.inf if above > 0 else 0.0


def _require_window(window: CheckedWindow, exponents: Exponents) -> None:
    shape = window.reference.shape
    for name in ("reference", "yardstick", "inputs"):
        rows = getattr(window, name)
        if rows.dtype != np.float32 or rows.ndim != 2 or rows.shape != shape or not len(rows):
            raise ActivationError(
                f"{name} does not fit",
                expected=f"float32 {shape}"[:80],
                found=f"{rows.dtype} {rows.shape}"[:80],
            )
    require_exponents(exponents, width=shape[1])
    claimed = window.claimed
    if claimed.dtype != np.float16 or claimed.shape != (shape[0], PROJECTIONS):
        raise ActivationError(
            "claimed sketch does not fit",
            expected=f"float16 ({shape[0]}, {PROJECTIONS})",
            found=f"{claimed.dtype} {claimed.shape}"[:80],
        )
    if not bool(np.isfinite(claimed).all()):
        raise ActivationError("claimed sketch is not finite")

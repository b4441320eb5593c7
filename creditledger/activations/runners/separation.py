"""How far honest kernels and cheats lie apart on a span, and whether a check can tell them.

Source: specs/check.md §6."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from creditledger.activations.distance import (
    DEFAULT_RULE,
    RULES,
    STRICT_RULE,
    Rule,
    judge_statistics,
    threshold,
)
from creditledger.activations.runners.span_kernels import INT8
from creditledger.activations.runners.span_samples import SHORT_WINDOW, Sample
from creditledger.errors import ActivationError, RefusedError
from creditledger.records.receipt import WINDOW
from creditledger.records.verdict import Outcome

HONEST_ROOM: Final = 1.1
"""The 99.9 % point of honest ratios stays this far below the threshold of 32 positions."""
HONEST_TAIL_MAX: Final = 6.0
CHEAT_ROOM: Final = 1.3
"""The median ratio of int8 weights stays this far above the threshold of 256 positions."""
BF16_RULES: Final = (DEFAULT_RULE, STRICT_RULE)
"""What receipts under a bf16 policy are judged by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFigures:
    """All windows of one length that one kernel delivered; no units."""

    kernel: str
    is_honest: bool
    has_bf16_partials: bool
    positions: int
    windows: int
    ratio_median: float
    ratio_p999: float
    """The 99.9 % point, the next larger sample: of fewer than a thousand, the largest."""
    tail_max: float
    resolution_min: float
    refuted: dict[str, float]
    """Share of the windows that a rule refutes, by the rule's name."""
    inconclusive: float
    """Share of the windows that decide nothing, under any rule."""

    def is_allowed_by(self, rule: Rule) -> bool:
        """Whether ``rule`` must never refute this kernel."""
        return self.is_honest and not (self.has_bf16_partials and rule is STRICT_RULE)


def kernel_figures(
    samples: Iterable[Sample], *, profile_resolution: float | None = None
) -> list[KernelFigures]:
    """One per kernel and window length, in the order they come. ``profile_resolution``: the median rho."""
    grouped: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        grouped.setdefault((sample.kernel, sample.statistics.positions), []).append(sample)
    return [_figures(group, profile_resolution) for group in grouped.values()]


def require_separation(figures: Sequence[KernelFigures]) -> None:
    """Check that both bf16 rules pass honest kernels with room to spare and catch int8 weights with more.

    For each rule: every honest kernel's 99.9 % ratio over 32 positions below ``T(32) / 1.1`` and its tails
    below 6; the median ratio of int8 over 256 positions above ``1.3 T(256)``. Raises RefusedError, or
    ActivationError without figures of both. Source: specs/check.md §6."""
    for rule in BF16_RULES:
        honest = [figure for figure in figures if figure.is_allowed_by(rule)]
        cheats = [figure for figure in figures if figure.kernel == INT8 and figure.positions == WINDOW]
        if not honest or not cheats:
            raise ActivationError("nothing to tell apart", expected=f"honest kernels and {INT8}")
        for figure in honest:
            _require_honest(figure, rule)
        least = CHEAT_ROOM * threshold(WINDOW, ratio_floor=rule.ratio_floor)
        if not cheats[0].ratio_median > least:
            raise RefusedError(
                f"the {rule.name} rule would not catch {INT8} weights on this span",
                expected=f"a median ratio above {least:.3f}",
                found=f"{cheats[0].ratio_median:.3f}",
            )


def _require_honest(figure: KernelFigures, rule: Rule) -> None:
    most = threshold(SHORT_WINDOW, ratio_floor=rule.ratio_floor) / HONEST_ROOM
    if figure.positions == SHORT_WINDOW and not figure.ratio_p999 < most:
        raise RefusedError(
            f"the {rule.name} rule would refute the honest kernel {figure.kernel} on this span",
            expected=f"ratios below {most:.3f} over {SHORT_WINDOW} positions",
            found=f"{figure.ratio_p999:.3f}",
        )
    if not figure.tail_max < HONEST_TAIL_MAX:
        raise RefusedError(
            f"single rows of the honest kernel {figure.kernel} lie too far off on this span",
            expected=f"tails below {HONEST_TAIL_MAX:g}",
            found=f"{figure.tail_max:.2f}",
        )
    if figure.inconclusive:
        raise RefusedError(
            "checks on this span would decide nothing: it hardly changes its inputs",
            expected="a resolution of 20 or more in every window",
            found=f"{figure.resolution_min:.1f}",
        )


def _figures(group: Sequence[Sample], profile_resolution: float | None) -> KernelFigures:
    ratios = np.array([sample.statistics.ratio for sample in group])
    first = group[0]
    outcomes = {
        name: [
            judge_statistics(sample.statistics, rule=rule, profile_resolution=profile_resolution)[0]
            for sample in group
        ]
        for name, rule in RULES.items()
    }
    return KernelFigures(
        kernel=first.kernel,
        is_honest=first.is_honest,
        has_bf16_partials=first.has_bf16_partials,
        positions=first.statistics.positions,
        windows=len(group),
        ratio_median=float(np.quantile(ratios, 0.5, method="higher")),
        ratio_p999=float(np.quantile(ratios, 0.999, method="higher")),
        tail_max=max(sample.statistics.tail for sample in group),
        resolution_min=min(sample.statistics.resolution for sample in group),
        refuted={name: found.count(Outcome.REFUTED) / len(group) for name, found in outcomes.items()},
        inconclusive=outcomes[DEFAULT_RULE.name].count(Outcome.INCONCLUSIVE) / len(group),
    )

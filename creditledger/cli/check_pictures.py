"""Pictures of checks: ratios on a logarithmic axis beside the thresholds that decide. Needs matplotlib.

Honest work is light, round and blue, cheats are dark, crossed and red: they differ in grey as well."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from creditledger.activations.distance import DEFAULT_RULE, STRICT_RULE, threshold

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from creditledger.activations.runners.span_samples import Sample

HONEST: Final = "#4C9BD6"
CHEAT: Final = "#7A0C1E"
OUTCOMES: Final[dict[str, dict[str, Any]]] = {
    "upheld": {"color": HONEST, "hatch": ""},
    "refuted": {"color": CHEAT, "hatch": "xx"},
    "inconclusive": {"color": "#D9D9D9", "hatch": ".."},
}
MARKERS: Final = {"upheld": "o", "refuted": "X", "inconclusive": "^"}
RATIO_MIN, RATIO_MAX = 0.01, 1000.0
_STYLE: Final[dict[Any, Any]] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.hashsalt": "creditledger",
    "hatch.linewidth": 0.6,
}
DOTS_MAX: Final = 400
"""Dots drawn of one kernel: more would only fill its row."""


def calibration_picture(samples: "Sequence[Sample]", *, title: str, kind: str) -> bytes:
    """Ratios by kernel, for every window length a panel. ``kind``: ``svg`` or ``png``; its bytes."""
    lengths = sorted({sample.statistics.positions for sample in samples})
    honest, cheats = (_names(samples, is_honest) for is_honest in (True, False))
    rows = [*cheats, *honest]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.2 * max(1, len(lengths)), 1.6 + 0.3 * len(rows)), layout="constrained")
        panels = np.atleast_1d(figure.subplots(1, max(1, len(lengths)), sharey=True))
        for panel, length in zip(panels, lengths, strict=False):
            _thresholds(panel, length)
            for height, name in enumerate(rows):
                _kernel_row(panel, samples, name, length, height, is_honest=name in honest)
            _ratio_axis(panel)
            panel.set_title(_limits(length), fontsize=9)
            panel.axhline(len(cheats) - 0.5, color="0.8", linewidth=0.8)
        panels[0].set_yticks(range(len(rows)), rows)
        panels[0].set_ylim(-0.7, len(rows) - 0.3)
        figure.suptitle(f"Honest kernels and cheats: {title}", fontsize=11)
        figure.legend(handles=_legend(), loc="outside lower center", ncols=5, frameon=False)
        return _bytes(figure, kind)


def ledger_picture(
    nodes: Sequence[dict[str, Any]],
    rounds: Sequence[dict[str, Any]],
    ratios: Sequence[dict[str, Any]],
    *,
    kind: str,
) -> bytes:
    """Outcomes by node and by round, and a validator's ratios, rows as ``report checks --json`` has them."""
    heights = [0.8 + 0.32 * max(1, len(nodes)), 2.2, *([3.0] if ratios else [])]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, sum(heights) + 1), layout="constrained")
        panels = figure.subplots(len(heights), 1, height_ratios=heights)
        _node_bars(panels[0], nodes)
        _round_bars(panels[1], rounds)
        if ratios:
            _ratio_dots(panels[2], ratios)
        figure.suptitle("Checks of this ledger", fontsize=11)
        return _bytes(figure, kind)


def _names(samples: "Sequence[Sample]", is_honest: bool) -> list[str]:
    """Kernels in the order of their median ratio, the largest first: they are drawn from below."""
    ratios: dict[str, list[float]] = {}
    for sample in samples:
        if sample.is_honest == is_honest:
            ratios.setdefault(sample.kernel, []).append(sample.statistics.ratio)
    return sorted(ratios, key=lambda name: (-float(np.median(ratios[name])), name))


def _kernel_row(
    panel: "Axes", samples: "Sequence[Sample]", name: str, length: int, height: int, *, is_honest: bool
) -> None:
    found = [s.statistics.ratio for s in samples if s.kernel == name and s.statistics.positions == length]
    if not found:
        return
    ratios = np.clip(np.array(found), RATIO_MIN, RATIO_MAX)
    color = HONEST if is_honest else CHEAT
    shown = ratios[:: -(-len(ratios) // DOTS_MAX)]
    spread = np.random.default_rng(0).uniform(-0.28, 0.28, len(shown))
    panel.scatter(
        shown,
        height + spread,
        s=9,
        marker="o" if is_honest else "x",
        color=color,
        alpha=0.45,
        linewidths=0.7,
        rasterized=True,
    )
    panel.hlines(height, ratios.min(), ratios.max(), color=color, linewidth=1.2)
    panel.plot(np.median(ratios), height, marker="|", markersize=13, markeredgewidth=2, color="black")


def _thresholds(panel: "Axes", length: int) -> None:
    for rule, style in ((DEFAULT_RULE, "-"), (STRICT_RULE, "--")):
        most = threshold(length, ratio_floor=rule.ratio_floor)
        panel.axvline(most, color="black", linestyle=style, linewidth=1.1, zorder=3)
    panel.axvspan(threshold(length, ratio_floor=DEFAULT_RULE.ratio_floor), RATIO_MAX, color="0.94", zorder=0)


def _limits(length: int) -> str:
    default, strict = (threshold(length, ratio_floor=r.ratio_floor) for r in (DEFAULT_RULE, STRICT_RULE))
    return f"windows of {length} positions: refuted beyond {default:.3f}, strict {strict:.3f}"


def _ratio_axis(panel: "Axes") -> None:
    panel.set_xscale("log")
    panel.set_xlim(RATIO_MIN, RATIO_MAX)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.grid(axis="x", which="major", color="0.88", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.set_xlabel("ratio: distance of the claim / distance of the yardstick (no unit)")


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], marker="o", color=HONEST, linestyle="", label="honest"),
        Line2D([], [], marker="x", color=CHEAT, linestyle="", label="cheat"),
        Line2D([], [], marker="|", color="black", markersize=11, linestyle="", label="median"),
        Line2D([], [], color="black", linestyle="-", label="default rule refutes beyond"),
        Line2D([], [], color="black", linestyle="--", label="strict rule refutes beyond"),
    ]


def _node_bars(panel: "Axes", nodes: Sequence[dict[str, Any]]) -> None:
    left = np.zeros(len(nodes))
    for outcome, style in OUTCOMES.items():
        counts = np.array([row[outcome] for row in nodes], dtype=float)
        panel.barh(range(len(nodes)), counts, left=left, label=outcome, edgecolor="white", **style)
        left += counts
    for height, (row, end) in enumerate(zip(nodes, left, strict=True)):
        marks = [name for name in ("suspended", "alarmed") if row[name]]
        panel.annotate(
            f"{row['checks']}{' ' if marks else ''}{', '.join(marks)}",
            (end, height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
        )
    panel.set_yticks(range(len(nodes)), [_short(row["name"]) for row in nodes])
    panel.set_xlim(0, max(1.0, float(left.max(initial=0)) * 1.2))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("checks, by node")
    panel.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False)


def _round_bars(panel: "Axes", rounds: Sequence[dict[str, Any]]) -> None:
    numbers = [row["round"] for row in rounds]
    bottom = np.zeros(len(rounds))
    for outcome, style in OUTCOMES.items():
        counts = np.array([row[outcome] for row in rounds], dtype=float)
        panel.bar(numbers, counts, bottom=bottom, edgecolor="white", **style)
        bottom += counts
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel("round")
    panel.set_ylabel("verdicts")


def _ratio_dots(panel: "Axes", ratios: Sequence[dict[str, Any]]) -> None:
    names = sorted({row["name"] for row in ratios})
    for outcome, marker in MARKERS.items():
        rows = [(place, row) for place, row in enumerate(ratios) if row["outcome"] == outcome]
        shares = [
            min(max(row["ratio"] / max(row["threshold"], 1e-6), RATIO_MIN), RATIO_MAX) for _, row in rows
        ]
        panel.scatter(
            [place + 1 for place, _ in rows],
            shares,
            marker=marker,
            s=34,
            color=OUTCOMES[outcome]["color"],
            edgecolors="black",
            linewidths=0.5,
            label=outcome,
        )
    panel.axhline(1, color="black", linewidth=1.1)
    panel.annotate("refuted above", (1, 1), xycoords=("axes fraction", "data"), ha="right", va="bottom")
    panel.set_yscale("log")
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_xlabel(f"checks of this validator, in order; nodes: {', '.join(map(_short, names))[:100]}")
    panel.set_ylabel("ratio / threshold (no unit)")


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:21]}..."


def _bytes(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    metadata: dict[str, Any] = {"Date": None} if kind == "svg" else {}
    figure.savefig(buffer, format=kind, dpi=150, metadata=metadata)
    return buffer.getvalue()

"""The figures of the check, measured anew: what it costs, what it refutes, what it must never refute.

``python -m tests.benchmarks.detection [--json FILE] [--quick] [--only KIND] [--processes N]`` on SmolLM2's
real weights, layers 0, 6, 14, 28, 12-15 and all 30. Beside ours stand TOPLOC's figures from an earlier
measurement on the same weights: they are not measured here. Source: specs/check.md §6."""

import argparse
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from creditledger.activations.bf16 import Float32Array, round_bf16
from creditledger.activations.calibration import CalibrationProfile, CalibrationRun, measure_profile
from creditledger.activations.distance import RULES, judge_statistics
from creditledger.activations.embedding_bound import LENGTH_FACTOR_MAX, row_norms
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.span_calibration import text_sequences
from creditledger.activations.runners.span_kernels import (
    SpanKernel,
    counterfeit_kernels,
    degraded_kernels,
    honest_kernels,
)
from creditledger.activations.runners.span_samples import Sample, measure_samples, span_run, span_runs
from creditledger.activations.runners.weights import LoadedModel, load_model
from creditledger.records.receipt import BF16_NUMERICS
from creditledger.records.verdict import Outcome
from tests.benchmarks.minting_cost import CostRow, cost_rows

Span = tuple[int, int]
CALIBRATION_SEQUENCES: Final = 8
CHUNK: Final = 4
"""Sequences of one task: bounds memory, and gives both processes work to the end."""
SCALES: Final = (0.01, 16.0, 100.0, 300.0, 1000.0)
"""What a client multiplies the inputs of layer 0 by; those of later layers, by the last."""
SLOW_KERNELS: Final = ("torch-sdpa-fp16",)
"""fp16 products are emulated on a CPU: run on the first chunk only."""


@dataclass(frozen=True, slots=True)
class SpanPlan:
    """How much is measured on one span: sequences of 256 tokens, and sketches drawn of each output."""

    span: Span
    honest_sequences: int
    honest_seeds: int
    cheat_sequences: int
    cheat_seeds: int


Plan = tuple[SpanPlan, ...]
SHORT: Final = ((12, 16), (28, 29), (14, 15), (6, 7), (0, 1))
FULL: Final = (SpanPlan((0, 30), 6, 12, 4, 16), *(SpanPlan(span, 20, 4, 8, 8) for span in SHORT))
QUICK: Final = (SpanPlan((6, 7), 4, 2, 2, 2),)
SCALED_SEQUENCES: Final = 2
TEXT_SEQUENCES: Final = 32
"""Into how many the text is cut: the first calibrate, the others test."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """All windows of one length of one kernel, on one span or many."""

    is_honest: bool = False
    windows: int = 0
    upheld: int = 0
    inconclusive: int = 0
    refuted: dict[str, int] = field(default_factory=lambda: dict.fromkeys(RULES, 0))
    ratios: list[float] = field(default_factory=list)
    tail_max: float = 0.0

    def count(self, sample: Sample, resolution: float, *, is_blinded: bool) -> None:
        """Add one window. ``is_blinded``: its check says nothing, since a row before its end is too long."""
        self.is_honest = sample.is_honest
        self.windows += 1
        self.ratios.append(sample.statistics.ratio)
        self.tail_max = max(self.tail_max, sample.statistics.tail)
        if is_blinded:
            self.inconclusive += 1
            return
        for name, rule in RULES.items():
            outcome, _ = judge_statistics(sample.statistics, rule=rule, profile_resolution=resolution)
            self.refuted[name] += outcome is Outcome.REFUTED
            if name == "default":
                self.upheld += outcome is Outcome.UPHELD
                self.inconclusive += outcome is Outcome.INCONCLUSIVE

    def add(self, other: "Tally") -> None:
        """Add all windows of another tally."""
        self.is_honest = other.is_honest
        self.windows += other.windows
        self.upheld += other.upheld
        self.inconclusive += other.inconclusive
        for name, count in other.refuted.items():
            self.refuted[name] += count
        self.ratios += other.ratios
        self.tail_max = max(self.tail_max, other.tail_max)

    def share(self, rule: str) -> float:
        """Of all windows, those that ``rule`` refutes."""
        return self.refuted[rule] / self.windows

    def quantile(self, share: float) -> float:
        """Of the ratios."""
        ordered = sorted(self.ratios)
        return min(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1e9)


Key = tuple[str, int, Span]
"""Kernel, window length, span."""
HONEST, CHEATS, SCALED = KINDS = ("honest", "cheats", "scaled")
AT_BOUND: Final = 0.0
"""Instead of a scale: every row as long as the check still takes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What one process does at a time."""

    kind: str
    profile: CalibrationProfile
    first: int
    """Of the sequences after those that calibrate."""
    count: int
    seeds: int
    scale: float = 1.0

    @property
    def span(self) -> Span:
        return self.profile.layer_start, self.profile.layer_stop


def measured(
    plan: Plan, pool: Executor, *, tell: Callable[[str], None], kinds: Sequence[str] = KINDS
) -> dict[Key, Tally]:
    """Everything in ``plan``, or of it some ``kinds``.

    The same plan gives the same figures, however many processes share it."""
    profiles = dict(pool.map(_profile, [part.span for part in plan]))
    tell("profiles are measured")
    waiting = [pool.submit(run_task, task) for task in _tasks(plan, profiles) if task.kind in kinds]
    found: dict[Key, Tally] = {}
    for done, future in enumerate(as_completed(waiting), start=1):
        for key, tally in future.result().items():
            found.setdefault(key, Tally()).add(tally)
        tell(f"{done} of {len(waiting)} tasks")
    return found


def _tasks(plan: Plan, profiles: dict[Span, CalibrationProfile]) -> Iterator[Task]:
    for part in plan:
        for kind, sequences, seeds in (
            (HONEST, part.honest_sequences, part.honest_seeds),
            (CHEATS, part.cheat_sequences, part.cheat_seeds),
        ):
            for first in range(0, sequences, CHUNK):
                yield Task(
                    kind=kind,
                    profile=profiles[part.span],
                    first=first,
                    count=min(CHUNK, sequences - first),
                    seeds=seeds,
                )
        for scale in (AT_BOUND, *SCALES) if part.span[0] == 0 else SCALES[-1:]:
            yield Task(
                kind=SCALED,
                profile=profiles[part.span],
                first=0,
                count=SCALED_SEQUENCES,
                seeds=1,
                scale=scale,
            )


def run_task(task: Task) -> dict[Key, Tally]:
    """One task's tallies."""
    model = load_model()
    _one_thread_of_torch()
    start = CALIBRATION_SEQUENCES + task.first
    runs = _runs(model, task.span, slice(start, start + task.count), scale=task.scale)
    within = [_positions_within(model, task.span, run) for run in runs]
    samples = measure_samples(
        _kernels(model, task),
        runs,
        exponents=task.profile.exponents,
        seeds=task.seeds,
        first_sequence=start,
    )
    tallies: dict[Key, Tally] = {}
    for sample in samples:
        name = f"{_prefix(task.scale)}{sample.kernel}" if task.kind == SCALED else sample.kernel
        positions = sample.statistics.positions
        tally = tallies.setdefault((name, positions, task.span), Tally())
        is_blinded = sample.first_position + positions > within[sample.sequence - start]
        tally.count(sample, task.profile.resolution_median, is_blinded=is_blinded)
    return tallies


def _prefix(scale: float) -> str:
    return f"{SCALED} {scale:g}:"


def _positions_within(model: LoadedModel, span: Span, run: CalibrationRun) -> int:
    """Positions before the first row that blinds a check: only rows of layer 0 can."""
    if span[0]:
        return len(run.inputs)
    return model.embedding_lengths.positions_within(run.inputs)


def _kernels(model: LoadedModel, task: Task) -> list[SpanKernel]:
    span = {"layer_start": task.span[0], "layer_stop": task.span[1]}
    honest = honest_kernels(model, **span)
    if task.kind == HONEST:
        return [kernel for kernel in honest if task.first == 0 or kernel.name not in SLOW_KERNELS]
    if task.kind == CHEATS:
        return [*degraded_kernels(model, **span), *counterfeit_kernels(seed=task.first)]
    cheats = degraded_kernels(model, kinds=["int8", "int4", "skip"], **span)
    return [*honest[:1], *cheats, *counterfeit_kernels(seed=0)[:1]]


def _profile(span: Span) -> tuple[Span, CalibrationProfile]:
    model = load_model()
    profile = measure_profile(
        _runs(model, span, slice(0, CALIBRATION_SEQUENCES)),
        model=model.description.digest,
        layer_start=span[0],
        layer_stop=span[1],
        numerics=BF16_NUMERICS,
    )
    return span, profile


def _runs(model: LoadedModel, span: Span, part: slice, *, scale: float = 1.0) -> list[CalibrationRun]:
    sequences = list(text_sequences(model, TEXT_SEQUENCES))
    # Every fourth calibrates: these and the others both come from all over the text.
    calibrating = sequences[:: TEXT_SEQUENCES // CALIBRATION_SEQUENCES]
    chosen = [*calibrating, *(tokens for tokens in sequences if tokens not in calibrating)][part]
    if scale != AT_BOUND:
        return list(span_runs(model, chosen, layer_start=span[0], layer_stop=span[1], input_factor=scale))
    inputs = [_lengthened(model, model.embedding(tokens)) for tokens in chosen]
    return [span_run(NumpyLlama(model), rows, layer_start=span[0], layer_stop=span[1]) for rows in inputs]


def _lengthened(model: LoadedModel, rows: Float32Array) -> Float32Array:
    """Rows of layer 0, each as long as the check takes it, short of a bf16 spacing."""
    most = LENGTH_FACTOR_MAX * model.embedding_lengths.longest * (1 - 2**-8)
    return round_bf16(rows * (most / row_norms(rows))[:, None].astype(np.float32))


def _one_thread_of_torch() -> None:
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table."""

    case: str
    ours: str
    toploc: str
    goal: str
    met: bool

    def to_json(self) -> dict[str, Any]:
        """The shape of ``--json``."""
        return {name: getattr(self, name) for name in ("case", "ours", "toploc", "goal", "met")}


CAUGHT: Final = (
    # case, kernel, rule, least share of 256-token checks refuted, TOPLOC as shipped (any of 8 proofs)
    ("int8 per channel", "int8", "default", 0.999, "0.000"),
    ("int8 in groups of 64", "int8-g64", "default", 0.95, "0.000"),
    ("int8 in groups of 64, strict rule", "int8-g64", "strict", 0.99, "0.000"),
    ("fp8 e4m3", "fp8", "default", 1.0, "0.000 / all layers 0.071"),
    ("int4 in groups of 64", "int4", "default", 1.0, "0.200 / all layers 1.000"),
    ("int4 but 64 exact channels", "int4-but-64-channels", "default", 1.0, "0.000"),
    ("10 % pruned", "prune-10", "default", 1.0, "0.000"),
    ("30 % pruned", "prune-30", "default", 1.0, "0.400 / all layers 1.000"),
    ("LoRA of 1 % of the norm", "lora-1", "default", 1.0, "0.000"),
    ("LoRA of 3 % of the norm", "lora-3", "default", 1.0, "0.000 / all layers 0.214"),
    ("int4 key-value cache", "kv-int4", "default", 1.0, "0.000 / all layers 1.000"),
    ("a layer skipped", "skip", "default", 1.0, "0.179 / all layers 1.000"),
    ("identity: the input delivered", "identity", "default", 1.0, "0.957 / all layers 1.000"),
    ("noise of the right norm", "noise", "default", 1.0, "1.000"),
    ("replay of another sequence", "replay", "default", 1.0, "1.000"),
    ("replay shifted by a token", "replay-shifted", "default", 1.0, "1.000"),
    ("negated output", "negated", "default", 1.0, "0.000"),
    ("1 of 32 rows faked, noise", "fake-1-of-32", "default", 0.99, "0.000"),
    ("1 of 32 rows faked, the input", "fake-1-of-32-identity", "default", 0.99, "0.000"),
    ("16 of 32 rows faked", "fake-16-of-32", "default", 1.0, "1.000"),
)
LIMITS: Final = (
    ("LoRA of 0.3 % of the norm", "lora-0.3", "0.000"),
    ("LoRA of 0.1 % of the norm", "lora-0.1", "0.000"),
    ("int8 key-value cache", "kv-int8", "0.000"),
)
HONEST_WINDOWS_MIN: Final = 30_000
DETECTED_AT_32: Final = (("int8 per channel, 32 tokens", "int8", 0.85), ("fp8 e4m3, 32 tokens", "fp8", 1.0))
STRICT_EXEMPT: Final = "split-k4-bf16"


def detection_rows(found: dict[Key, Tally], *, least_windows: int, kinds: Sequence[str] = KINDS) -> list[Row]:
    """The table's rows about outcomes of ``kinds``."""
    honest = sorted(
        {
            kernel
            for (kernel, _, _), tally in found.items()
            if tally.is_honest and not kernel.startswith(SCALED)
        }
    )
    rows = []
    if HONEST in kinds:
        strict = [name for name in honest if name != STRICT_EXEMPT]
        rows += [
            _honest_row(found, honest, 32, "default", least_windows),
            _honest_row(found, strict, 32, "strict", least_windows),
            _honest_row(found, honest, 256, "default", 0),
        ]
    return [*rows, *(_cheat_rows(found) if CHEATS in kinds else ()), *_scaled_rows(found)]


def _cheat_rows(found: dict[Key, Tally]) -> list[Row]:
    rows = []
    for case, kernel, rule, least, toploc in CAUGHT:
        rows.append(_caught(found, case, kernel, 256, rule, least, toploc))
    for case, kernel, least in DETECTED_AT_32:
        rows.append(_caught(found, case, kernel, 32, "default", least, "not shipped for 32"))
    for case, kernel, toploc in LIMITS:
        share = pooled(found, [kernel], 256).share("default")
        rows.append(Row(case=case, ours=f"{share:.3f}", toploc=toploc, goal="a documented limit", met=True))
    return rows


def _scaled_rows(found: dict[Key, Tally]) -> Iterator[Row]:
    for scale in SCALES:
        for spans, is_later in (("from layer 0", False), ("of later layers", True)):
            tallies = _scaled(found, scale, is_later=is_later)
            total = _total(tallies)
            if total.windows:
                yield Row(
                    case=f"input scaled x{scale:g}, spans {spans}",
                    ours=_outcomes(tallies),
                    toploc="-",
                    goal="inconclusive, never upheld",
                    met=total.inconclusive == total.windows,
                )
    for who, is_honest, goal in (("honest", True, "upheld"), ("cheats", False, "refuted")):
        at_bound = _scaled(found, AT_BOUND, is_later=False)
        tallies = [(kernel, tally) for kernel, tally in at_bound if tally.is_honest == is_honest]
        total = _total(tallies)
        if total.windows:
            yield Row(
                case=f"input as long as allowed, {who}",
                ours=_outcomes(tallies),
                toploc="-",
                goal=goal,
                met=total.windows == (total.upheld if is_honest else total.refuted["default"]),
            )


def _outcomes(tallies: Sequence[tuple[str, Tally]]) -> str:
    total, upheld = _total(tallies), sorted({kernel for kernel, tally in tallies if tally.upheld})
    named = f" ({', '.join(upheld)})" if upheld else ""
    return f"{total.upheld} of {total.windows} upheld{named}, {total.inconclusive} inconclusive"


def _scaled(found: dict[Key, Tally], scale: float, *, is_later: bool) -> list[tuple[str, Tally]]:
    """Kernels under one scale, with windows of 256 positions, from layer 0 on or from a later one."""
    return [
        (kernel.removeprefix(_prefix(scale)), tally)
        for (kernel, positions, (start, _)), tally in found.items()
        if kernel.startswith(_prefix(scale)) and positions == 256 and (start > 0) == is_later
    ]


def _total(tallies: Iterable[tuple[str, Tally]]) -> Tally:
    total = Tally()
    for _, tally in tallies:
        total.add(tally)
    return total


def pooled(found: dict[Key, Tally], kernels: Iterable[str], positions: int) -> Tally:
    """All windows of one length of some kernels, over all spans."""
    names, total = set(kernels), Tally()
    for (kernel, length, _), tally in found.items():
        if kernel in names and length == positions:
            total.add(tally)
    return total


def _honest_row(
    found: dict[Key, Tally], kernels: Sequence[str], positions: int, rule: str, least: int
) -> Row:
    total = pooled(found, kernels, positions)
    goal = f"0 of {least:,} or more" if least else "0"
    return Row(
        case=f"honest refuted, {positions} tokens, {rule} rule",
        ours=f"{total.refuted[rule]} of {total.windows:,}, {total.inconclusive} inconclusive",
        toploc="0",
        goal=goal,
        met=total.refuted[rule] == total.inconclusive == 0 and total.windows >= max(least, 1),
    )


def _caught(
    found: dict[Key, Tally], case: str, kernel: str, positions: int, rule: str, least: float, toploc: str
) -> Row:
    total = pooled(found, [kernel], positions)
    share = total.share(rule)
    return Row(
        case=case,
        ours=f"{share:.4f} of {total.windows:,}",
        toploc=toploc,
        goal=f">= {least:g}" if least < 1 else "1.000",
        met=share >= least,
    )


def kernel_lines(found: dict[Key, Tally]) -> list[dict[str, Any]]:
    """Per kernel, window length and span: what the rows above are made of."""
    return [
        {
            "kernel": kernel,
            "positions": positions,
            "span": list(span),
            "windows": tally.windows,
            "ratio_median": round(tally.quantile(0.5), 4),
            "ratio_p999": round(tally.quantile(0.999), 4),
            "ratio_max": round(tally.quantile(1.0), 4),
            "tail_max": round(min(tally.tail_max, 1e9), 3),
            "upheld": tally.upheld,
            "inconclusive": tally.inconclusive,
            "refuted": tally.refuted,
        }
        for (kernel, positions, span), tally in sorted(found.items())
    ]


def as_row(cost: CostRow) -> Row:
    """A cost in the table's shape."""
    return Row(case=cost.case, ours=cost.ours, toploc=cost.toploc, goal=cost.goal, met=cost.met)


def show(rows: Sequence[Row]) -> str:
    """The table as GitHub's markdown has it."""
    lines = ["| case | ours | TOPLOC as shipped | goal | met |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.case} | {row.ours} | {row.toploc} | {row.goal} | {'yes' if row.met else 'NO'} |"
        for row in rows
    ]
    return "\n".join(lines)


@contextmanager
def processes(count: int) -> Iterator[Executor]:
    """``count`` processes of one thread each."""
    for library in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[library] = "1"
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        yield pool


def main() -> int:
    """Measure, print, and exit 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="where rows and all they are made of go")
    parser.add_argument("--quick", action="store_true", help="one layer, a few windows")
    parser.add_argument("--only", choices=KINDS, help="the rows of one kind, and no costs")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    began = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - began:7.1f} s  {text}", file=sys.stderr, flush=True)

    rows, kinds = [], KINDS if asked.only is None else (asked.only,)
    with processes(asked.processes) as pool:
        if asked.only is None:
            rows = [as_row(cost) for cost in pool.submit(cost_rows).result()]
            tell("costs are measured")
        found = measured(QUICK if asked.quick else FULL, pool, tell=tell, kinds=kinds)
    least = 0 if asked.quick else HONEST_WINDOWS_MIN
    rows += detection_rows(found, least_windows=least, kinds=kinds)
    seconds = time.monotonic() - began
    print(show(rows))
    print(f"\n{seconds:.0f} s in {asked.processes} processes")
    if asked.json is not None:
        answer = {
            "rows": [row.to_json() for row in rows],
            "kernels": kernel_lines(found),
            "seconds": round(seconds),
        }
        asked.json.write_text(json.dumps(answer, indent=1, allow_nan=False) + "\n")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Runs a target for a while, and weighs what it was fed."""

import gc
import random
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fuzz.edge_targets import EDGE_TARGETS
from fuzz.evidence_target import EVIDENCE_TARGETS
from fuzz.log_targets import LOG_TARGETS
from fuzz.mutations import inflated, mutated
from fuzz.record_targets import RECORD_TARGETS
from fuzz.target import MEMORY_MAX, Target

TARGETS: Final = {**RECORD_TARGETS, **EVIDENCE_TARGETS, **LOG_TARGETS, **EDGE_TARGETS}
_WEIGHED_EVERY: Final = 200
"""Tracing memory is slow: one input of so many, and every one that was slow."""


@dataclass(slots=True, kw_only=True)
class Report:
    """What a campaign did."""

    executions: int = 0
    read: int = 0
    """How many inputs some reader took."""
    slowest_s: float = 0.0
    most_bytes: int = 0
    """The largest memory one input took, of those that were weighed."""


def run(target: Target, *, seconds: float, seed: int, slack: int = 1) -> Report:
    """Feed seeds, then mutations of them. Raises AssertionError, or whatever the target does.

    ``slack``: by how much a busy machine may exceed the time that one input may take."""
    seeds, chance, report = list(target.seeds()), random.Random(seed), Report()
    for data in seeds:
        report.read += target.feed(data)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        data = mutated(target, seeds, chance)
        start = time.process_time()
        is_read = _fed(target, data)
        taken = time.process_time() - start
        report.executions += 1
        report.read += is_read
        if taken > slack * target.seconds_max or report.executions % _WEIGHED_EVERY == 0:
            weigh(target, data, report, slack=slack)
    return report


def _fed(target: Target, data: bytes) -> bool:
    try:
        return target.feed(data)
    except Exception as error:
        error.add_note(f"the input: {data!r}"[:3_000])
        raise


def weigh(target: Target, data: bytes, report: Report, *, slack: int = 1) -> None:
    """Measure one input; a cost above the bounds fails."""
    seconds = min(_seconds(target, data) for _ in range(3))
    if seconds > slack * target.seconds_max:
        # Once more without the garbage of everything that runs in this process.
        gc.collect()
        gc.freeze()
        seconds = min(_seconds(target, data) for _ in range(5))
        gc.unfreeze()
    tracemalloc.start()
    try:
        target.feed(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    report.slowest_s, report.most_bytes = max(report.slowest_s, seconds), max(report.most_bytes, peak)
    assert seconds <= slack * target.seconds_max, (
        f"{seconds * 1e3:.0f} ms for {len(data)} bytes: {data[:200]!r}"
    )
    assert peak <= MEMORY_MAX, f"{peak} bytes of memory for {len(data)} bytes: {data[:200]!r}"


def weigh_all(target: Target, inputs: Sequence[bytes], *, seed: int = 0) -> Report:
    """Measure each of ``inputs``, and what comes of each when a piece of it fills 64 KiB."""
    report, chance = Report(), random.Random(seed)
    for data in inputs:
        for weighed in (data, inflated(data, chance)):
            report.executions += 1
            weigh(target, weighed, report)
    return report


def _seconds(target: Target, data: bytes) -> float:
    start = time.process_time()
    target.feed(data)
    return time.process_time() - start

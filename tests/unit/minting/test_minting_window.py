"""Portions of any size become aligned windows. Source: specs/minting.md §2."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.errors import ActivationError
from creditledger.minting.window import Portion, Window, WindowBuilder

ROWS = np.arange(1200 * 4, dtype=np.uint16).reshape(1200, 4)


def portion(start: int, stop: int) -> Portion:
    return Portion(
        inputs=ROWS[start:stop],
        outputs=ROWS[start:stop] + 1,
        first_position=start,
        started_unix_ms=start,
        ended_unix_ms=stop,
    )


def windows_of(cuts: list[int]) -> list[Window]:
    builder = WindowBuilder(start=0, stop=1200)
    found = [window for start, stop in pairwise(cuts) for window in builder.add(portion(start, stop))]
    rest = builder.rest()
    return found if rest is None else [*found, rest]


@given(st.sets(st.integers(1, 1199), max_size=30), st.integers(1, 1200))
def test_how_rows_arrive_does_not_matter(cuts: set[int], end: int) -> None:
    """Whole windows, then a short one; the rows are those that came, in order."""
    windows = windows_of([0, *sorted(cut for cut in cuts if cut < end), end])
    assert [window.start for window in windows] == list(range(0, end, 256))
    assert [len(window.inputs) for window in windows[:-1]] == [256] * (len(windows) - 1)
    assert np.array_equal(np.concatenate([window.inputs for window in windows]), ROWS[:end])
    assert np.array_equal(np.concatenate([window.outputs for window in windows]), ROWS[:end] + 1)


def test_a_window_knows_when_it_began_and_ended() -> None:
    first, second = windows_of([0, 100, 300, 512])
    assert (first.started_unix_ms, first.ended_unix_ms) == (0, 300)
    assert (second.started_unix_ms, second.ended_unix_ms) == (100, 512)


@pytest.mark.parametrize(
    ("first", "stop"), [(1, 10), (0, 1201)], ids=["a gap", "more positions than the job allows"]
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(first: int, stop: int) -> None:
    builder = WindowBuilder(start=0, stop=1200 if stop <= 1200 else 1000)
    with pytest.raises(ActivationError):
        list(builder.add(portion(first, min(stop, 1200))))
    assert builder.next_position == 0
    assert builder.rest() is None


def test_rows_of_another_width_are_refused() -> None:
    builder = WindowBuilder(start=0, stop=1200)
    list(builder.add(portion(0, 10)))
    wide = Portion(
        inputs=np.zeros((2, 5), np.uint16),
        outputs=np.zeros((2, 5), np.uint16),
        first_position=10,
        started_unix_ms=0,
        ended_unix_ms=0,
    )
    with pytest.raises(ActivationError, match="shape"):
        list(builder.add(wide))


def test_a_chain_resumes_at_a_whole_window() -> None:
    assert WindowBuilder(start=512, stop=1024).next_position == 512
    with pytest.raises(ActivationError, match="whole window"):
        WindowBuilder(start=500, stop=1024)

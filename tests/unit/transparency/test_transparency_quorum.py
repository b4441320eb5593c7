"""Which witnesses are enough, and which of them can be spared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.transparency.quorum import WitnessGroup, is_quorum, quorum_time, smallest_quorum

NAMES = tuple("abcde")
PAIR = WitnessGroup(name="pair", threshold=2, members=("a", "b"))
ANY = WitnessGroup(name="any", threshold=1, members=("c", "d"))
BOTH = WitnessGroup(name="both", threshold=2, members=("pair", "any"))
GROUPS = (PAIR, ANY, BOTH)
TIMES = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 5))


@pytest.mark.parametrize(
    ("times", "quorum", "kept"),
    [
        ({"a": 5, "b": 4, "c": 3}, "pair", {"a", "b"}),
        ({"c": 5, "d": 5}, "any", {"c"}),
        ({"d": 5, "c": 5}, "any", {"d"}),
        ({"c": 4, "d": 5}, "any", {"d"}),
        ({"a": 5, "b": 4, "c": 3, "d": 4, "e": 9}, "both", {"a", "b", "d"}),
        ({"a": 5, "c": 3}, "pair", {"a", "c"}),
        ({"a": 5, "e": 3}, "none", set()),
    ],
)
def test_the_witnesses_that_are_kept(times: dict[str, int], quorum: str, kept: set[str]) -> None:
    """The most welcome first, unless it makes the quorum's time earlier; all where they are no quorum."""
    assert smallest_quorum(times, quorum=quorum, groups=GROUPS) == kept


@given(TIMES, st.sampled_from(["a", "pair", "any", "both"]))
def test_none_of_the_kept_can_be_spared_and_the_time_stays(times: dict[str, int], quorum: str) -> None:
    kept = smallest_quorum(times, quorum=quorum, groups=GROUPS)
    since = quorum_time(times, quorum=quorum, groups=GROUPS)
    assert quorum_time({name: times[name] for name in kept}, quorum=quorum, groups=GROUPS) == since
    if since is not None:
        assert not any(is_quorum(kept - {name}, quorum=quorum, groups=GROUPS) for name in kept)

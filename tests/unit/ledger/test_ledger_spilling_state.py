"""A state that spills says what one in memory says, whatever it was asked and wherever its rows are."""

import itertools
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creditledger.credits.state import MemoryState, update_view
from creditledger.errors import StorageError
from creditledger.ledger.spilling_state import SpillingState

PRODUCTS = (itertools.product(b"ab\xff", repeat=size) for size in (1, 2, 3))
KEYS = st.sampled_from([bytes(key) for keys in PRODUCTS for key in keys])
VALUES = st.one_of(st.none(), st.binary(max_size=3))
STEPS = st.lists(st.one_of(st.tuples(KEYS, VALUES), st.dictionaries(KEYS, VALUES, max_size=5)), max_size=60)


@settings(max_examples=200)
@given(steps=STEPS, held_max=st.integers(1, 12))
def test_it_answers_as_memory_does(
    steps: list[tuple[bytes, bytes | None] | dict[bytes, bytes | None]], held_max: int
) -> None:
    ours, theirs = SpillingState(held_max=held_max), MemoryState()
    for step in steps:
        if isinstance(step, dict):
            ours.update(step)
            update_view(theirs, step)
            continue
        key, value = step
        for state in (ours, theirs):
            state.delete(key) if value is None else state.put(key, value)
        assert ours.get(key) == theirs.get(key)
        assert list(ours.scan(key[:2])) == list(theirs.scan(key[:2]))
    assert list(ours.scan(b"")) == list(theirs.scan(b""))


def test_without_room_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def small(*arguments: object, **options: object) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **options)  # type: ignore[call-overload]
        connection.execute("pragma page_size = 512")
        connection.execute("pragma max_page_count = 4")
        return connection

    monkeypatch.setattr(sqlite3, "connect", small)
    state = SpillingState(held_max=2)
    state.put(b"a", b"")
    state.put(b"b", b"")
    assert state.get(b"a") == b""
    state.put(b"c", bytes(5_000))
    with pytest.raises(StorageError, match="no room"):
        state.put(b"d", b"")

"""What pages keep: made once for a version, by one, and not again and again. specs/service.md §9."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from creditledger.errors import StorageError
from creditledger.service.page.shelf import REST, Shelf
from ledger_pools import FixedClock


class Maker:
    """Makes numbers, each some time after the one before."""

    def __init__(self, clock: FixedClock, *, takes_ms: int = 0) -> None:
        self.made = 0
        self._clock = clock
        self._takes_ms = takes_ms

    def __call__(self) -> int:
        self.made += 1
        self._clock.now += self._takes_ms
        return self.made


def test_a_thing_is_made_once_for_a_version() -> None:
    clock = FixedClock()
    shelf, make = Shelf(elapsed=clock), Maker(clock)
    assert [shelf.get("k", 1, make), shelf.get("k", 1, make)] == [1, 1]
    assert shelf.get("other", 1, make) == 2
    assert shelf.get("k", 2, make) == 3


def test_what_took_long_is_believed_for_long() -> None:
    """H6: whoever asks on and on has the server work a ninth of the time at most."""
    clock = FixedClock()
    shelf, make = Shelf(elapsed=clock), Maker(clock, takes_ms=100)
    assert shelf.get("k", 1, make) == 1
    clock.now += REST * 100 - 1
    assert shelf.get("k", 2, make) == 1
    clock.now += 1
    assert shelf.get("k", 2, make) == 2


def test_many_who_ask_at_once_have_it_made_once() -> None:
    clock = FixedClock()
    shelf, begun, may_end = Shelf(elapsed=clock), threading.Event(), threading.Event()
    made: list[int] = []

    def make() -> int:
        made.append(1)
        begun.set()
        assert may_end.wait(10)
        return len(made)

    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(shelf.get, "k", 1, make)
        assert begun.wait(10)
        others = [threads.submit(shelf.get, "k", 1, make) for _ in range(8)]
        may_end.set()
        assert [one.result(10) for one in (first, *others)] == [1] * 9


def test_who_asks_while_a_new_one_is_made_gets_the_old_one() -> None:
    clock = FixedClock()
    shelf, begun, may_end = Shelf(elapsed=clock), threading.Event(), threading.Event()
    assert shelf.get("k", 1, lambda: "old") == "old"

    def make() -> str:
        begun.set()
        assert may_end.wait(10)
        return "new"

    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(shelf.get, "k", 2, make)
        assert begun.wait(10)
        assert shelf.get("k", 2, lambda: "another") == "old"
        may_end.set()
        assert waiting.result(10) == "new"
    assert shelf.get("k", 2, lambda: "another") == "new"


def test_nothing_is_kept_of_what_failed() -> None:
    clock = FixedClock()
    shelf, make = Shelf(elapsed=clock), Maker(clock)

    def fail() -> int:
        raise StorageError("no")

    with pytest.raises(StorageError):
        shelf.get("k", 1, fail)
    assert shelf.get("k", 1, make) == 1
    with pytest.raises(StorageError):
        shelf.get("k", 2, fail)
    assert shelf.get("k", 2, make) == 2


def test_the_longest_unused_goes_first() -> None:
    clock = FixedClock()
    shelf, make = Shelf(elapsed=clock, kept_max=2), Maker(clock)
    for key in ("a", "b", "a", "c", "a"):
        shelf.get(key, 1, make)
    assert make.made == 3
    shelf.get("b", 1, make)
    assert make.made == 4

"""What a network witness keeps: swapped whole, found again, never another log's."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.errors import BusyError, IntegrityError, StorageError
from creditledger.service.witness_state import LmdbWitnessState, origin_digest
from creditledger.transparency.witness import StaleSizeError
from fakes.small_log import SmallLog

LOG = SmallLog()


@pytest.fixture
def state(tmp_path: Path) -> LmdbWitnessState:
    LmdbWitnessState.create(tmp_path / "state")
    return LmdbWitnessState(tmp_path / "state")


def put(state: LmdbWitnessState, old: int | None, new: int, log: SmallLog = LOG) -> None:
    expected = None if old is None else log.head(old)
    state.put(log.origin, expected=expected, new=log.head(new), note=log.note(new))


def test_what_was_put_is_there_after_opening_anew(state: LmdbWitnessState, tmp_path: Path) -> None:
    assert state.get(LOG.origin) is None
    assert state.note(origin_digest(LOG.origin)) is None
    put(state, None, 3)
    put(state, 3, 7)
    state.close()
    again = LmdbWitnessState(tmp_path / "state")
    assert again.get(LOG.origin) == LOG.head(7)
    assert again.note(origin_digest(LOG.origin)) == LOG.note(7)
    assert again.get("log.example/other") is None
    again.close()


def test_whoever_is_slower_is_told_the_size(state: LmdbWitnessState) -> None:
    put(state, None, 3)
    for old in (None, 2, 4):
        with pytest.raises(StaleSizeError) as refusal:
            put(state, old, 7)
        assert refusal.value.stored_size == 3
    with pytest.raises(StaleSizeError):
        put(state, 3, 7, LOG.forked(1))
    assert state.get(LOG.origin) == LOG.head(3)
    put(state, 3, 3)
    put(state, 3, 7)


def test_an_empty_log_and_an_unknown_one_are_the_same_to_continue(state: LmdbWitnessState) -> None:
    put(state, None, 0)
    put(state, None, 0)
    put(state, 0, 2)


def test_one_of_many_swaps(state: LmdbWitnessState) -> None:
    """Threat L9, at the bottom: one transaction compares and swaps."""
    put(state, None, 1)
    forks = [LOG.forked(1, str(number)) for number in range(24)]
    won: list[SmallLog] = []
    gate = threading.Barrier(len(forks))

    def attempt(fork: SmallLog) -> None:
        gate.wait()
        try:
            put(state, 1, 5, fork)
        except StaleSizeError:
            return
        won.append(fork)

    threads = [threading.Thread(target=attempt, args=(fork,)) for fork in forks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert state.get(LOG.origin) == won[0].head(5)


def test_a_note_must_say_what_is_put(state: LmdbWitnessState) -> None:
    with pytest.raises(IntegrityError):
        state.put(LOG.origin, expected=None, new=LOG.head(3), note=LOG.note(4))
    assert state.get(LOG.origin) is None
    put(state, None, 3)


def test_damage_is_never_taken_for_a_state(state: LmdbWitnessState, tmp_path: Path) -> None:
    """A witness that misreads what it saw would cosign a fork."""
    put(state, None, 3)
    state.close()
    data = tmp_path / "state" / "data.mdb"
    content = data.read_bytes()
    at = content.rindex(LOG.note(3)[:40])
    data.write_bytes(content[: at + 20] + bytes([content[at + 20] ^ 1]) + content[at + 21 :])
    damaged = LmdbWitnessState(tmp_path / "state")
    with pytest.raises(IntegrityError):
        damaged.get(LOG.origin)
    with pytest.raises(IntegrityError):
        damaged.put(LOG.origin, expected=LOG.head(3), new=LOG.head(4), note=LOG.note(4))
    damaged.close()


def test_a_row_under_another_logs_name_is_refused(state: LmdbWitnessState) -> None:
    other = replace(LOG, origin="log.example/other")
    with state._store.write() as view:
        view.put(b"log/" + origin_digest(other.origin), LOG.note(3))
    with pytest.raises(IntegrityError, match="another log"):
        state.get(other.origin)


def test_a_state_is_made_once_and_opened_once(state: LmdbWitnessState, tmp_path: Path) -> None:
    with pytest.raises(BusyError):
        LmdbWitnessState(tmp_path / "state")
    with pytest.raises(StorageError):
        LmdbWitnessState.create(tmp_path / "state")
    with pytest.raises(StorageError):
        LmdbWitnessState(tmp_path / "nothing")
    state.close()
    LmdbWitnessState(tmp_path / "state").close()

"""A writer whose clock jumps says so, and nothing is dated, expires or vests by it."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from creditledger.credits.fold import due_expiries
from creditledger.errors import BusyError
from creditledger.ledger import clock as clocks
from creditledger.ledger.ledger import Ledger
from ledger_pools import START_MS, FixedClock, found, registration, working

DAY_MS = 86_400_000


@dataclass(slots=True)
class Times:
    """The writer's clock and its witness's."""

    writer: FixedClock
    witness: FixedClock

    def pass_by(self, duration_ms: int) -> None:
        self.writer.now += duration_ms
        self.witness.now += duration_ms


@pytest.fixture
def times() -> Times:
    return Times(FixedClock(), FixedClock())


@pytest.fixture
def ledger(tmp_path: Path, times: Times) -> Iterator[Ledger]:
    found(tmp_path / "pool", times.writer).close()
    with Ledger.open(tmp_path / "pool", clock=times.writer, witness_clock=times.witness) as opened:
        yield opened


@pytest.mark.parametrize("jump_ms", [DAY_MS, -DAY_MS])
def test_a_writer_whose_clock_jumps_by_a_day_appends_nothing(
    ledger: Ledger, times: Times, jump_ms: int
) -> None:
    """And goes on once its clock is right again."""
    ledger.append(registration(ledger.id, "alice"))
    times.writer.now += jump_ms
    for attempt in (lambda: ledger.append(registration(ledger.id, "bob")), ledger.close_round):
        with pytest.raises(BusyError, match="clock"):
            attempt()
    assert ledger.size == 2
    times.writer.now -= jump_ms
    ledger.append(registration(ledger.id, "bob"))
    assert ledger.size == 3


def test_nothing_expires_vests_or_settles_by_a_clock_that_jumped(ledger: Ledger, times: Times) -> None:
    """A hold whose time seems over, and a round whose certificate would let lots vest: neither is logged."""
    working(ledger)
    jump = 30 * DAY_MS
    times.writer.now += jump
    with ledger.read() as state:
        before = dict(state.scan(b""))
        assert list(due_expiries(state, times.writer()))
    size, published = ledger.size, ledger.policy().verify_checkpoint(ledger.checkpoint())
    for attempt in (ledger.expire_due, ledger.complete_round, ledger.close_round):
        with pytest.raises(BusyError, match="clock"):
            attempt()
    assert ledger.settle_due() == []
    with ledger.read() as state:
        assert (dict(state.scan(b"")), ledger.size) == (before, size)
    again = ledger.policy().verify_checkpoint(ledger.checkpoint())
    assert again.cosigned_unix_ms == published.cosigned_unix_ms
    times.writer.now -= jump
    assert ledger.expire_due() == []
    times.pass_by(jump)
    assert len(ledger.expire_due()) == 1


def test_a_clock_that_jumps_while_a_record_is_logged_dates_nothing(
    ledger: Ledger, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that the witnesses bear out is the time that the entry has: nothing is read in between."""
    compared = FixedClock.__call__

    def jump_once_read(clock: FixedClock) -> int:
        now = compared(clock)
        if clock is times.writer:
            clock.now += DAY_MS
        return now

    with monkeypatch.context() as patch:
        patch.setattr(FixedClock, "__call__", jump_once_read)
        ledger.append(registration(ledger.id, "alice"))
    assert times.writer.now > START_MS
    assert ledger.entry(1).time_unix_ms == START_MS


def test_a_day_that_has_really_passed_is_no_jump(ledger: Ledger, times: Times) -> None:
    times.pass_by(DAY_MS)
    ledger.append(registration(ledger.id, "alice"))
    assert ledger.entry(1).time_unix_ms == START_MS + DAY_MS


def test_the_pools_tolerance_is_the_limit(ledger: Ledger, times: Times) -> None:
    tolerance = ledger.genesis.parameters.clock_tolerance_ms
    times.writer.now += tolerance + 1_001
    with pytest.raises(BusyError):
        ledger.append(registration(ledger.id, "alice"))
    times.writer.now -= 1
    ledger.append(registration(ledger.id, "alice"))
    times.writer.now = START_MS - tolerance - 1
    with pytest.raises(BusyError):
        ledger.append(registration(ledger.id, "bob"))


def test_witnesses_are_asked_once_per_tolerance(ledger: Ledger, times: Times) -> None:
    tolerance = ledger.genesis.parameters.clock_tolerance_ms
    before = ledger.checkpoint()
    ledger.append(registration(ledger.id, "alice"))
    times.pass_by(tolerance // 2)
    ledger.append(registration(ledger.id, "bob"))
    assert ledger.checkpoint() == before
    times.pass_by(tolerance)
    ledger.append(registration(ledger.id, "carol"))
    again = ledger.checkpoint()
    assert again != before
    ledger.append(registration(ledger.id, "dora"))
    assert ledger.checkpoint() == again


def test_a_clock_that_jumped_while_nobody_wrote_is_noticed_at_the_first_append(
    tmp_path: Path, times: Times
) -> None:
    found(tmp_path / "pool", times.writer).close()
    times.writer.now += DAY_MS
    with Ledger.open(tmp_path / "pool", clock=times.writer, witness_clock=times.witness) as opened:
        with pytest.raises(BusyError, match="clock"):
            opened.append(registration(opened.id, "alice"))
        assert opened.size == 1


def test_a_clock_behind_its_witnesses_is_refused_also_after_reopening(ledger: Ledger, times: Times) -> None:
    """Until they say another time themselves."""
    times.pass_by(DAY_MS)
    ledger.publish()
    times.writer.now -= DAY_MS // 2
    with pytest.raises(BusyError, match="clock"):
        ledger.append(registration(ledger.id, "alice"))
    ledger.close()
    with Ledger.open(ledger.path, clock=times.writer, witness_clock=times.witness) as opened:
        with pytest.raises(BusyError, match="clock"):
            opened.append(registration(opened.id, "alice"))
        times.witness.now = times.writer.now
        opened.append(registration(opened.id, "alice"))


def test_without_its_witnesses_a_writer_does_not_know_the_time(
    ledger: Ledger, times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    times.pass_by(DAY_MS)
    (ledger.directory.keys / "witness-local.key").unlink()
    ledger.close()
    with Ledger.open(ledger.path, clock=times.writer) as opened:
        with pytest.raises(BusyError, match="quorum"):
            opened.append(registration(opened.id, "alice"))
        assert opened.size == 1


def test_a_steady_clock_does_not_follow_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    steady = clocks.steady_clock
    before = steady()
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + DAY_MS * 1_000_000)
    assert clocks.system_clock() - before > DAY_MS // 2
    assert 0 <= steady() - before < 60_000


def test_a_jump_of_the_machines_clock_is_noticed_in_a_running_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the only witness is the local one: its own clock counts on."""
    now = FixedClock(clocks.system_clock())
    found(tmp_path / "pool", now).close()
    with Ledger.open(tmp_path / "pool") as opened:
        opened.append(registration(opened.id, "alice"))
        real = time.time_ns
        monkeypatch.setattr(time, "time_ns", lambda: real() + DAY_MS * 1_000_000)
        with pytest.raises(BusyError, match="clock"):
            opened.append(registration(opened.id, "bob"))
        monkeypatch.setattr(time, "time_ns", real)
        opened.append(registration(opened.id, "bob"))


@pytest.mark.parametrize("jump_ms", [3_653 * DAY_MS, -3_653 * DAY_MS])
def test_a_jump_between_two_openings_by_one_process_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump_ms: int
) -> None:
    """H5: a queue opens its ledger again and again, with no witness but the local one; ten years off it
    appends nothing, and expires nothing."""
    found(tmp_path / "pool", FixedClock(clocks.system_clock())).close()
    with Ledger.open(tmp_path / "pool") as opened:
        opened.append(registration(opened.id, "alice"))
        before = opened.size
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + jump_ms * 1_000_000)
    with Ledger.open(tmp_path / "pool") as opened:
        for attempt in (lambda: opened.append(registration(opened.id, "bob")), opened.complete_round):
            with pytest.raises(BusyError, match="clock"):
                attempt()
        assert opened.size == before
    monkeypatch.setattr(time, "time_ns", real)
    with Ledger.open(tmp_path / "pool") as opened:
        opened.append(registration(opened.id, "bob"))

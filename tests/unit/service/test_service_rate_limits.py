"""Shares of what may be asked: per account, per token, one for each crowd; and never more than a minute's."""

import threading

import pytest

from creditledger.errors import RateLimitError
from creditledger.service.pool import rate_limits
from creditledger.service.pool.gate_settings import Limits
from creditledger.service.pool.rate_limits import BURST_MIN, Asker, RateLimits, Share
from ledger_pools import FixedClock

ALICE, BOB = Asker(Share.ACCOUNT, b"a"), Asker(Share.ACCOUNT, b"b")
CROWD = Asker(Share.ANONYMOUS)


def drained(limits: RateLimits, asker: Asker) -> int:
    """How often ``asker`` may ask until it is refused."""
    taken = 0
    while True:
        try:
            limits.take(asker)
        except RateLimitError:
            return taken
        taken += 1


def test_a_minutes_worth_at_once_and_then_as_time_passes() -> None:
    clock = FixedClock()
    limits = RateLimits(Limits(submissions_per_minute=600), clock=clock)
    assert drained(limits, ALICE) == 600
    with pytest.raises(RateLimitError) as caught:
        limits.take(ALICE)
    assert caught.value.retry_after_s == 1
    clock.now += 99
    assert drained(limits, ALICE) == 0
    clock.now += 1
    assert drained(limits, ALICE) == 1
    clock.now += 10**9
    assert drained(limits, ALICE) == 600


def test_a_refusal_says_when_to_ask_again_and_is_right() -> None:
    clock = FixedClock()
    limits = RateLimits(Limits(strangers_per_minute=7), clock=clock)
    stranger = Asker(Share.STRANGERS)
    assert drained(limits, stranger) == BURST_MIN
    with pytest.raises(RateLimitError) as caught:
        limits.take(stranger)
    clock.now += (caught.value.retry_after_s - 1) * 1_000
    assert drained(limits, stranger) == 0
    clock.now += 1_000
    assert drained(limits, stranger) == 1


def test_shares_are_apart() -> None:
    """D1, H7: whoever floods uses up its own share, or that of strangers, and nobody else's."""
    limits = RateLimits(Limits(), clock=FixedClock())
    for flooding in (Asker(Share.STRANGERS), CROWD, ALICE, Asker(Share.TOKEN, b"a")):
        drained(limits, flooding)
    limits.take(BOB, Asker(Share.TOKEN, b"b"))


def test_all_or_nothing() -> None:
    clock = FixedClock()
    limits = RateLimits(Limits(submissions_per_minute=300), clock=clock)
    limits.take_all({ALICE: 250})
    with pytest.raises(RateLimitError):
        limits.take_all({BOB: 250, ALICE: 51})
    limits.take_all({BOB: 250, ALICE: 50})
    with pytest.raises(RateLimitError):
        limits.take_all({BOB: 51})


def test_zero_is_no_limit() -> None:
    limits = RateLimits(Limits(submissions_per_minute=0, anonymous_per_minute=1), clock=FixedClock())
    for _ in range(10_000):
        limits.take(ALICE)
    assert drained(limits, CROWD) == BURST_MIN


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    clock = FixedClock()
    limits = RateLimits(Limits(submissions_per_minute=600), clock=clock)
    limits.take_all({ALICE: 200})
    clock.now -= 10**6
    assert drained(limits, ALICE) == 400
    clock.now += 100
    assert drained(limits, ALICE) == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """H7: the bucket that was asked for longest ago goes first."""
    monkeypatch.setattr(rate_limits, "BUCKETS_MAX", 100)
    limits = RateLimits(Limits(submissions_per_minute=300), clock=FixedClock())
    limits.take_all({ALICE: 256})
    for number in range(1_000):
        limits.take(Asker(Share.ACCOUNT, number.to_bytes(2, "big")), ALICE if number < 40 else CROWD)
    assert len(limits._buckets) == 100
    assert ALICE not in limits._buckets
    assert drained(limits, CROWD) == 60_000 - 960  # it was asked for all the time, and forgets nothing


def test_threads_share_one_bucket() -> None:
    limits, taken = RateLimits(Limits(submissions_per_minute=1_000), clock=FixedClock()), []
    threads = [threading.Thread(target=lambda: taken.append(drained(limits, ALICE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 1_000

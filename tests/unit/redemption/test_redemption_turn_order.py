"""specs/redemption.md §9: the dearest class first, then first come, and nobody waits for ever."""

import random
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.quantities import ZERO_DIGEST
from creditledger.records.transfer import Hold
from creditledger.redemption.queues.turn_order import Occupied, in_turn, next_to_start
from creditledger.redemption.waiting_jobs import WaitingJob

SLOTS = 4


def job(place: int, *, gpus: int = 1, price: int = 10, duration_ms: int = 1_000) -> WaitingJob:
    hold = Hold(
        id=place.to_bytes(16, "big"),
        holder=bytes([place % 7]) * 32,
        amount_micro=1,
        job=ZERO_DIGEST,
        queue=b"\1" * 32,
        hardware="h100",
        gpus=gpus,
        duration_ms=duration_ms,
        micro_per_gpu_second=price,
        expires_unix_ms=1,
    )
    digest = place.to_bytes(32, "big")
    return WaitingJob(digest=digest, hold=hold, place=place, command=("true",), cwd="/", env={})


def chosen(waiting: list[WaitingJob], *running: tuple[int, int], free: int) -> int | None:
    occupied = [Occupied(slots=slots, left_ms=left_ms) for slots, left_ms in running]
    found = next_to_start(waiting, occupied, free=free, overhead_ms=100)
    return None if found is None else found.place


def test_the_dearest_class_goes_first_and_among_equals_who_came_first() -> None:
    waiting = [job(1, price=5), job(2, price=9), job(3, price=9), job(4, price=5)]
    assert [each.place for each in in_turn(waiting)] == [2, 3, 1, 4]
    assert chosen(waiting, free=4) == 2


def test_nothing_but_price_and_place_decides() -> None:
    """Not who holds it, how much, or how long it takes."""
    waiting = [job(1, duration_ms=90_000), job(2, duration_ms=1)]
    rich = replace(waiting[1], hold=waiting[1].hold.replace(amount_micro=10**15))
    assert chosen([waiting[0], rich], free=4) == 1


def test_with_no_free_slots_or_nobody_waiting_nothing_starts() -> None:
    assert chosen([], free=4) is None
    assert chosen([job(1)], (4, 500), free=0) is None


@pytest.mark.parametrize(
    ("duration_ms", "gpus", "goes"), [(400, 1, True), (401, 1, False), (400, 2, True), (400, 3, False)]
)
def test_a_smaller_job_goes_before_a_bigger_one_only_if_it_ends_by_then(
    duration_ms: int, gpus: int, goes: bool
) -> None:
    """Four slots for the first in turn, two of them free in 500 ms: what ends by then goes before it."""
    waiting = [job(1, gpus=4), job(2, gpus=gpus, duration_ms=duration_ms)]
    assert chosen(waiting, (2, 500), free=2) == (2 if goes else None)


def test_slots_that_the_first_in_turn_leaves_over_are_anybodys() -> None:
    waiting = [job(1, gpus=3), job(2, duration_ms=10**9), job(3, duration_ms=10**9)]
    assert chosen(waiting, (2, 500), free=2) == 2
    assert chosen([waiting[0], waiting[2]], (2, 500), (1, 10**9), free=1) is None


@dataclass
class Busy:
    ends_ms: int
    job: WaitingJob


@given(st.integers(0, 2**32))
def test_nobody_waits_longer_than_those_before_him_can_take(seed: int) -> None:
    """Bigger jobs among endless smaller ones: each starts before the sum of all that came before it, and
    of one job more for each that was running, could end."""
    chance = random.Random(seed)
    waiting, running = [], []
    bounds: dict[int, int] = {}
    now = place = 0
    while place < 60 or waiting:
        if place < 60 and chance.random() < 0.8:
            place += 1
            waiting.append(
                job(place, gpus=chance.choice((1, 1, 1, 2, SLOTS)), duration_ms=chance.randint(1, 900))
            )
            before = [*waiting, *(each.job for each in running)]
            bounds[place] = now + sum(each.hold.duration_ms + 100 for each in before)
        free = SLOTS - sum(each.job.hold.gpus for each in running)
        occupied = [Occupied(slots=each.job.hold.gpus, left_ms=each.ends_ms - now) for each in running]
        found = next_to_start(waiting, occupied, free=free, overhead_ms=100)
        if found is not None:
            assert found.hold.gpus <= free
            assert now <= bounds[found.place]
            waiting.remove(found)
            # It may end at any time up to its limit, and usually before.
            running.append(Busy(now + chance.randint(1, found.hold.duration_ms + 100), found))
        elif running and (place == 60 or chance.random() < 0.5):
            now = min(each.ends_ms for each in running)
        running = [each for each in running if each.ends_ms > now]

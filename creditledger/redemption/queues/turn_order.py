"""Whose turn it is: the dearest class first, then who came first, and nobody waits for ever.

Source: specs/redemption.md §9."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from creditledger.redemption.waiting_jobs import WaitingJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupied:
    """Slots that a job has, and after how many milliseconds at most it gives them back."""

    slots: int
    left_ms: int


def in_turn(waiting: Iterable[WaitingJob]) -> list[WaitingJob]:
    """By price per GPU-second, the highest first; then by place. Who holds them makes no difference."""
    return sorted(waiting, key=lambda job: (-job.hold.micro_per_gpu_second, job.place))


def next_to_start(
    waiting: Sequence[WaitingJob], running: Iterable[Occupied], *, free: int, overhead_ms: int
) -> WaitingJob | None:
    """The job that may take some of ``free`` slots now, or None.

    That is the first in turn, if they are enough for it. If not, the slots that it waits for are its own
    from the moment when enough of them are free: another job goes before it only if it ends by then, or
    takes slots that will be left over. ``overhead_ms``: what a job may take beyond its hold's duration."""
    ordered = in_turn(waiting)
    if not ordered:
        return None
    first, others = ordered[0], ordered[1:]
    if first.hold.gpus <= free:
        return first
    begins_ms, spare = _reservation(first.hold.gpus, running, free)
    for job in others:
        ends_in_time = job.hold.duration_ms + overhead_ms <= begins_ms
        if job.hold.gpus <= free and (ends_in_time or job.hold.gpus <= spare):
            return job
    return None


def _reservation(gpus: int, running: Iterable[Occupied], free: int) -> tuple[int, int]:
    """After how long ``gpus`` slots are free at the latest, and how many are left over then."""
    for job in sorted(running, key=lambda job: job.left_ms):
        free += job.slots
        if free >= gpus:
            return job.left_ms, free - gpus
    return 0, 0

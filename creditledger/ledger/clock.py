"""The clock of this machine, for callers that bring none. Source: specs/ledger.md §5."""

import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Gives Unix milliseconds."""


def system_clock() -> int:
    """Unix milliseconds now."""
    return time.time_ns() // 1_000_000


def steady_clock() -> int:
    """Unix milliseconds: the machine's time as this process began, and what elapsed since, sleep included.

    It does not follow when somebody sets the machine's clock: what disagrees with it has jumped, also between
    two openings of a ledger by a process that lives on."""
    return _STARTED_MS + (_elapsed_ns() - _STARTED_NS) // 1_000_000


def _elapsed_ns() -> int:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()


_STARTED_MS, _STARTED_NS = system_clock(), _elapsed_ns()

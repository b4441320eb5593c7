"""The clock of this machine, for callers that bring none. Source: specs/ledger.md §5."""

import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Gives Unix milliseconds."""


def system_clock() -> int:
    """Unix milliseconds now."""
    return time.time_ns() // 1_000_000


def steady_clock() -> Clock:
    """A clock that starts at the machine's time and then counts elapsed time, sleep included.

    It does not follow when somebody sets the machine's clock: what disagrees with it has jumped."""
    started_ms, origin_ns = system_clock(), _elapsed_ns()
    return lambda: started_ms + (_elapsed_ns() - origin_ns) // 1_000_000


def _elapsed_ns() -> int:
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    return time.monotonic_ns()

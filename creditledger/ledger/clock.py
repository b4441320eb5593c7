"""The clock of this machine, for callers that bring none. Source: specs/ledger.md §5."""

import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Gives Unix milliseconds."""


def system_clock() -> int:
    """Unix milliseconds now."""
    return time.time_ns() // 1_000_000

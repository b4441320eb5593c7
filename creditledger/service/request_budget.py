"""How often one log may ask. Source: specs/log.md §9."""

import threading
from typing import Final

DAY_MS: Final = 86_400_000


class RequestBudget:
    """A day's requests at most at once, refilled evenly over the day. For many threads."""

    __slots__ = ("_left", "_lock", "_per_day", "_seen_ms")

    def __init__(self, per_day: int) -> None:
        """``per_day``: at least 1."""
        self._per_day = per_day
        self._left = per_day * DAY_MS
        self._seen_ms: int | None = None
        self._lock = threading.Lock()

    def take(self, now_unix_ms: int) -> int:
        """Take one request: 0, or in how many whole seconds there will be one to take."""
        with self._lock:
            elapsed = 0 if self._seen_ms is None else max(0, now_unix_ms - self._seen_ms)
            self._seen_ms = now_unix_ms
            self._left = min(self._per_day * DAY_MS, self._left + elapsed * self._per_day)
            missing = DAY_MS - self._left
            if missing <= 0:
                self._left -= DAY_MS
                return 0
            return -(-missing // (self._per_day * 1_000))

    def give_back(self) -> None:
        """Undo one `take`: what was asked was not the log's doing."""
        with self._lock:
            self._left = min(self._per_day * DAY_MS, self._left + DAY_MS)

"""What went wrong while minting, counted instead of raised. Source: specs/minting.md §7."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock


class FailureCount:
    """Errors by the name of their class; safe to use from several threads."""

    __slots__ = ("_counts", "_last", "_lock")

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._last: dict[str, str] = {}
        self._lock = Lock()

    def count(self, error: Exception) -> None:
        """One more error of this class."""
        with self._lock:
            self._counts[type(error).__name__] += 1
            self._last[type(error).__name__] = str(error)[:200]

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Whatever is raised inside is counted and goes no further, except what ends the process."""
        try:
            yield
        except Exception as error:
            self.count(error)

    def counts(self) -> dict[str, int]:
        """How often each class was raised."""
        with self._lock:
            return dict(self._counts)

    def last(self) -> dict[str, str]:
        """The last message of each class, at most 200 characters."""
        with self._lock:
            return dict(self._last)

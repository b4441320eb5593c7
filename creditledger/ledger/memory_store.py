"""A store in a dict: for replicas, simulations and tests. Source: specs/ledger.md §2."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from creditledger.credits.state import MemoryState, Overlay, StateView
from creditledger.errors import StorageError
from creditledger.ledger.store import ReadOnly, require_key


class MemoryStore:
    """A `Store` that lasts as long as the process. Readers and the writer take turns."""

    __slots__ = ("_is_closed", "_state", "_turn")

    def __init__(self) -> None:
        self._state = MemoryState()
        self._turn = threading.RLock()
        self._is_closed = False

    @contextmanager
    def read(self) -> Iterator[StateView]:
        """See `Store.read`. Within a thread's own write, the state before it."""
        self._require_open()
        with self._turn:
            yield ReadOnly(self._state)

    @contextmanager
    def write(self) -> Iterator[StateView]:
        """See `Store.write`."""
        self._require_open()
        with self._turn:
            changes = Overlay(self._state)
            yield changes
            for key in changes.changes:
                require_key(key)
            for key, value in changes.changes.items():
                if value is None:
                    self._state.delete(key)
                else:
                    self._state.put(key, value)

    def close(self) -> None:
        self._is_closed = True

    def _require_open(self) -> None:
        if self._is_closed:
            raise StorageError("store is closed", expected="an open store")

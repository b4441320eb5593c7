"""The newest entries of the log, read once each. Source: specs/service.md §9."""

import threading
from collections import deque
from dataclasses import dataclass
from typing import Final

from creditledger.ledger.ledger import Ledger
from creditledger.quantities import LeafIndex, UnixMillisecond
from creditledger.records.entry import Entry
from creditledger.records.record import Record

ENTRIES_MAX: Final = 4_096
BYTES_MAX: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One entry."""

    index: LeafIndex
    time_unix_ms: UnixMillisecond
    record: Record
    size: int
    """Bytes of it in the log."""


class RecentLog:
    """The last entries, `ENTRIES_MAX` and `BYTES_MAX` at most. Safe to use from several threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._turn = threading.Lock()
        self._entries: deque[Logged] = deque()
        self._bytes = 0
        self._next = 0

    def newest_first(self) -> list[Logged]:
        """Up to the log's end now. Raises IntegrityError, StorageError."""
        with self._turn:
            self._follow()
            return list(reversed(self._entries))

    def _follow(self) -> None:
        with self._ledger.snapshot() as snapshot:
            size = snapshot.log.size
            if size - self._next > ENTRIES_MAX:
                self._entries.clear()
                self._bytes, self._next = 0, size - ENTRIES_MAX
            for index in range(self._next, size):
                self._add(index, snapshot.log.entry_bytes(index))
                self._next = index + 1

    def _add(self, index: int, encoded: bytes) -> None:
        entry = Entry.decode(encoded)
        logged = Logged(index=index, time_unix_ms=entry.time_unix_ms, record=entry.record, size=len(encoded))
        self._entries.append(logged)
        self._bytes += logged.size
        while len(self._entries) > ENTRIES_MAX or self._bytes > BYTES_MAX:
            self._bytes -= self._entries.popleft().size

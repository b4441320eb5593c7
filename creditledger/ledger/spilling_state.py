"""The state of a replay whose log may be longer than memory holds. Source: specs/ledger.md §7.

What changed lately is in memory; the rest is in a nameless temporary file that ends with the process."""

from collections.abc import Iterator, Mapping
from typing import Final

from creditledger.credits.state import MemoryState, Overlay
from creditledger.errors import StorageError
from creditledger.ledger.store import ReadOnly

HELD_ROWS: Final = 100_000
"""Changed rows that are held in memory; some hundred bytes each."""
CACHE_KIB: Final = 32 * 1024
"""What the file's pages may take."""


class SpillingState:
    """A `StateView` that takes bounded memory. Not for several threads. Raises StorageError without room."""

    __slots__ = ("_held", "_held_max", "_rows")

    def __init__(self, *, held_max: int = HELD_ROWS) -> None:
        self._held_max = held_max
        self._rows: _SpilledRows | None = None
        self._held = Overlay(MemoryState())

    def get(self, key: bytes, /) -> bytes | None:
        return self._held.get(key)

    def put(self, key: bytes, value: bytes, /) -> None:
        self._held.put(key, value)
        self._spill_if_full()

    def delete(self, key: bytes, /) -> None:
        self._held.delete(key)
        self._spill_if_full()

    def update(self, changes: Mapping[bytes, bytes | None]) -> None:
        """See `credits.state.update_view`."""
        self._held.update(changes)
        self._spill_if_full()

    def scan(self, prefix: bytes, /) -> Iterator[tuple[bytes, bytes]]:
        return self._held.scan(prefix)

    def _spill_if_full(self) -> None:
        if len(self._held.changes) < self._held_max:
            return
        if self._rows is None:
            self._rows = _SpilledRows()
        self._rows.write(self._held.changes)
        self._held = Overlay(self._rows)


class _SpilledRows(ReadOnly):
    """Rows in a temporary SQLite database; its cache is bounded, and nobody keeps it."""

    __slots__ = ("_connection",)

    def __init__(self) -> None:
        import sqlite3

        # The empty name: a private file that is deleted when it is closed.
        self._connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._connection.execute(f"pragma cache_size = -{CACHE_KIB}")
        self._connection.execute("pragma journal_mode = off")
        self._connection.execute("create table row (key blob primary key, value blob not null) without rowid")

    def get(self, key: bytes) -> bytes | None:
        found = self._connection.execute("select value from row where key = ?", (key,)).fetchone()
        return None if found is None else found[0]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        rows = self._connection.execute("select key, value from row where key >= ? order by key", (prefix,))
        for key, value in rows:
            if not key.startswith(prefix):
                return
            yield key, value

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Make all these changes. Raises StorageError where there is no room for them."""
        import sqlite3

        ordered = sorted(changes.items())
        try:
            self._connection.execute("begin")
            self._connection.executemany(
                "insert into row values (?, ?) on conflict do update set value = excluded.value",
                ((key, value) for key, value in ordered if value is not None),
            )
            self._connection.executemany(
                "delete from row where key = ?", ((key,) for key, value in ordered if value is None)
            )
            self._connection.execute("commit")
        except sqlite3.Error as error:
            raise StorageError(
                "the replay's state finds no room on the disk",
                expected="room for temporary files",
                found=str(error),
            ) from error

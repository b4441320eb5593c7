"""Rows that a transaction, or the one writer, need not ask for again.

Source: specs/ledger.md §3 and specs/postgres.md §2."""

from typing import Final

ROW_OVERHEAD: Final = 200


class KnownRows:
    """Rows as they were last committed, absent ones included: only the one writer may keep them for longer
    than a transaction."""

    __slots__ = ("_bytes_max", "_row_bytes_max", "_size", "rows")

    def __init__(self, *, bytes_max: int, row_bytes_max: int) -> None:
        """``bytes_max``: of keys and values; beyond it all are forgotten at once. ``row_bytes_max``: the
        longest value that is worth it."""
        self.rows: dict[bytes, bytes | None] = {}
        self._bytes_max = bytes_max
        self._row_bytes_max = row_bytes_max
        self._size = 0

    def note(self, key: bytes, value: bytes | None) -> None:
        """Remember what stands under ``key``, or nothing of a row that is too long."""
        length = 0 if value is None else len(value)
        if length > self._row_bytes_max:
            self.rows.pop(key, None)
            return
        self._size += len(key) + length + ROW_OVERHEAD
        if self._size > self._bytes_max:
            self.rows.clear()
            self._size = len(key) + length + ROW_OVERHEAD
        self.rows[key] = value

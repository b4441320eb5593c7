"""The rows on the disk as one LMDB transaction sees them. Source: specs/ledger.md §3.

Every value carries a checksum over its key and itself, because LMDB has none and hands out a flipped
byte silently."""

from collections.abc import Callable, Collection, Iterator
from hashlib import blake2b
from typing import Any, Final

from creditledger.errors import IntegrityError
from creditledger.ledger.known_rows import KnownRows
from creditledger.ledger.store import ReadOnly, require_key

CHECKSUM_SIZE: Final = 8
SCAN_ROWS: Final = 256
KNOWN_BYTES_MAX: Final = 4 * 1024 * 1024
KNOWN_ROW_BYTES_MAX: Final = 1_024
EMPTY_MAX: Final = 4_096
"""Prefixes without a row that are remembered."""


def new_known_rows() -> KnownRows:
    """Nothing known yet, and room for what an LMDB transaction or its one writer should know."""
    return KnownRows(bytes_max=KNOWN_BYTES_MAX, row_bytes_max=KNOWN_ROW_BYTES_MAX)


class CommittedRows(ReadOnly):
    """The committed rows that a transaction sees; an `Overlay` above keeps changes until the commit."""

    __slots__ = ("_cursor", "_empty", "_guard", "_known", "_transaction")

    def __init__(self, transaction: Any, guard: Callable[..., Any], known: KnownRows | None = None) -> None:
        self._transaction = transaction
        self._guard = guard
        self._cursor: Any = None
        self._known = new_known_rows() if known is None else known
        """What was read of this one moment. A group of entries asks for the same rows again and again."""
        self._empty: set[bytes] = set()
        """Prefixes that no row of this moment has."""

    def get(self, key: bytes) -> bytes | None:
        known = self._known.rows
        if key in known:
            return known[key]
        found: bytes | None = self._guard(self._read, require_key(key))
        self._known.note(key, found)
        return found

    def prepare(self, keys: Collection[bytes]) -> None:
        """They are near enough."""

    def _read(self, key: bytes) -> bytes | None:
        found: bytes | None = self._transaction.get(key)
        if found is None:
            self._require_absent(key)
        return None if found is None else _checked(key, found)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        if prefix in self._empty:
            return
        start = prefix
        while rows := self._guard(self._rows, start, prefix):
            for key, value in rows:
                yield key, _checked(key, value)
            if len(rows) < SCAN_ROWS:
                return
            start = rows[-1][0] + b"\0"
        if start == prefix and len(self._empty) < EMPTY_MAX:
            self._empty.add(prefix)

    def _require_absent(self, key: bytes) -> None:
        """The keys around the place of ``key`` leave room for it: a damaged branch leads to another place,
        where it would be taken for absent."""
        cursor = self._cursor
        if cursor is None:
            cursor = self._cursor = self._transaction.cursor()
        if cursor.set_range(key):
            _require_ascending(key, cursor.key())
            _require_ascending(cursor.key() if cursor.prev() else b"", key)
        elif cursor.last():
            _require_ascending(cursor.key(), key)

    def _rows(self, start: bytes, prefix: bytes) -> list[tuple[bytes, bytes]]:
        rows: list[tuple[bytes, bytes]] = []
        with self._transaction.cursor() as cursor:
            more = cursor.set_range(start) if start else cursor.first()
            if start and (cursor.prev() if more else cursor.last()):
                _require_ascending(cursor.key(), start)
            if more:
                cursor.set_range(start) if start else cursor.first()
            while more and len(rows) < SCAN_ROWS:
                key, value = cursor.item()
                _require_ascending(rows[-1][0] if rows else start, key, or_equal=not rows)
                if not key.startswith(prefix):
                    break
                rows.append((key, value))
                more = cursor.next()
        return rows


def _require_ascending(first: bytes, second: bytes, *, or_equal: bool = False) -> None:
    """Rows come in the order of their keys, and are looked for in it."""
    if first > second or (first == second and not or_equal):
        raise IntegrityError(
            "the store is damaged: keys out of order",
            expected=f"above {first[:60].hex()}",
            found=second[:60].hex(),
        )


def checksum(key: bytes, value: bytes) -> bytes:
    """What is stored behind ``value``: 8 bytes over it and its key."""
    return blake2b(len(key).to_bytes(2, "big") + key + value, digest_size=CHECKSUM_SIZE).digest()


def _checked(key: bytes, stored: bytes) -> bytes:
    value, found = stored[:-CHECKSUM_SIZE], stored[-CHECKSUM_SIZE:]
    expected = checksum(key, value)
    if found != expected:
        raise IntegrityError(
            "a stored value is not what was written",
            expected=f"checksum {expected.hex()}",
            found=f"{found.hex()} at key {key[:60].hex()}",
        )
    return value

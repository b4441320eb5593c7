"""The rows of a database as one of its transactions sees them. Source: specs/postgres.md §2."""

from collections.abc import Collection, Iterator
from typing import Any, Final, LiteralString

from creditledger.errors import IntegrityError
from creditledger.ledger.known_rows import KnownRows
from creditledger.ledger.lmdb_rows import CHECKSUM_SIZE, checksum
from creditledger.ledger.postgres_session import Ask
from creditledger.ledger.store import ReadOnly, require_key

SCAN_ROWS: Final = 1_024
FETCH_ROWS: Final = 8_192
KNOWN_BYTES_MAX: Final = 64 * 1024 * 1024
"""Keys and values that are remembered; beyond it all are forgotten at once."""


def new_known_rows() -> KnownRows:
    """Nothing known yet, and room for what saves a question to the server."""
    return KnownRows(bytes_max=KNOWN_BYTES_MAX, row_bytes_max=KNOWN_BYTES_MAX)


class TransactionRows(ReadOnly):
    """What a transaction reads; an `Overlay` above keeps changes until the commit."""

    __slots__ = ("_ask", "_empty", "_known", "_schema", "guessed", "is_guessing")

    def __init__(self, ask: Ask, schema: str, known: KnownRows, *, is_guessing: bool = False) -> None:
        """``is_guessing``: a row that is not known is taken to be absent, and noted in ``guessed``."""
        self._ask = ask
        self._schema = schema
        self._known = known
        self._empty: set[bytes] = set()
        self.is_guessing = is_guessing
        self.guessed: set[bytes] = set()

    def get(self, key: bytes) -> bytes | None:
        known = self._known.rows
        if key in known:
            return known[key]
        if self.is_guessing:
            self.guessed.add(require_key(key))
            return None
        rows = self._ask(self._sql("SELECT value FROM {}.row WHERE key = %b"), [require_key(key)])
        value = checked(key, rows[0][0]) if rows else None
        self._known.note(key, value)
        return value

    def prepare(self, keys: Collection[bytes]) -> None:
        """Ask for all that are not known, so many at once; nothing is guessed of them."""
        unknown = [key for key in keys if key not in self._known.rows]
        for start in range(0, len(unknown), FETCH_ROWS):
            self.fetch(set(unknown[start : start + FETCH_ROWS]))

    def fetch(self, keys: set[bytes]) -> bool:
        """Have all of ``keys`` known; whether any of them is there."""
        rows = self._ask(self._sql("SELECT key, value FROM {}.row WHERE key = ANY(%b)"), [sorted(keys)])
        for key, value in rows:
            self._known.note(key, checked(key, value))
        for key in keys.difference(key for key, _ in rows):
            self._known.note(key, None)
        return bool(rows)

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        if prefix in self._empty:
            return
        start, end, is_first = prefix, _after(prefix), True
        while True:
            rows = self._rows(start, end, or_equal=is_first)
            for key, value in rows:
                yield key, checked(key, value)
            if is_first and not rows:
                self._empty.add(prefix)
            if len(rows) < SCAN_ROWS:
                return
            start, is_first = rows[-1][0], False

    def _rows(self, start: bytes, end: bytes | None, *, or_equal: bool) -> list[tuple[Any, ...]]:
        compared = ">=" if or_equal else ">"
        bound, keys = (" AND key < %b", [start, end]) if end is not None else ("", [start])
        where = f"key {compared} %b{bound}"
        sql = self._sql("SELECT key, value FROM {}.row WHERE ") + where + f" ORDER BY key LIMIT {SCAN_ROWS}"
        return self._ask(sql, keys)

    def _sql(self, sql: str) -> LiteralString:
        return in_schema(sql, self._schema)


def in_schema(statement: str, schema: str) -> LiteralString:
    """``statement`` with the quoted schema in the places of ``{}``."""
    # The schema's name was checked when the URL was read; nothing else is ever put into a statement.
    return statement.replace("{}", schema)


def stored(key: bytes, value: bytes) -> bytes:
    """``value`` as it is kept under ``key``: with its checksum behind it."""
    return value + checksum(key, value)


def checked(key: bytes, kept: bytes) -> bytes:
    """The inverse of `stored`. Raises IntegrityError."""
    value, found = kept[:-CHECKSUM_SIZE], kept[-CHECKSUM_SIZE:]
    if found != checksum(key, value):
        raise IntegrityError(
            "a stored value is not what was written",
            expected=f"checksum {checksum(key, value).hex()}",
            found=f"{found.hex()} at key {key[:60].hex()}",
        )
    return value


def _after(prefix: bytes) -> bytes | None:
    """The first key beyond all that begin with ``prefix``; None if there is no such key."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None

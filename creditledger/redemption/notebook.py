"""One SQLite file in which a queue keeps what it has decided: every change is durable on return.

Source: specs/redemption.md §5."""

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from creditledger.errors import BusyError, IntegrityError, StorageError

_BUSY_SECONDS: Final = 30.0
_MODE_ATTEMPTS: Final = 200
_MODE_PAUSE_SECONDS: Final = 0.01


class Notebook:
    """Rows shared by a queue's processes.

    All methods raise StorageError when the disk fails, BusyError when the file stays locked, and
    IntegrityError for a damaged file or one of another version."""

    def __init__(self, path: Path, *, what: str, schema: Sequence[str], version: int) -> None:
        """``what``: how errors call it; ``schema``: statements that may be run again."""
        self._path = path
        self._what = what
        self._lock = threading.Lock()
        with self._errors():
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._write_ahead()
            self._connection.execute("PRAGMA synchronous = FULL")
            with self.write() as write:
                self._prepare(write, schema, version)

    def close(self) -> None:
        """Let go of the file. The rows stay."""
        self._connection.close()

    def select(self, statement: str, *values: bytes | int | str) -> list[Any]:
        """The rows that a query gives."""
        with self._lock, self._errors():
            return self._connection.execute(statement, values).fetchall()

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of it is durable afterwards, or nothing of it happened."""
        with self._lock, self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _write_ahead(self) -> None:
        """SQLite does not wait where several processes change a new file's mode at once: we do."""
        for _ in range(_MODE_ATTEMPTS):
            with suppress(sqlite3.OperationalError):
                self._connection.execute("PRAGMA journal_mode = WAL")
                return
            time.sleep(_MODE_PAUSE_SECONDS)
        self._connection.execute("PRAGMA journal_mode = WAL")

    def _prepare(self, write: sqlite3.Connection, schema: Sequence[str], version: int) -> None:
        found = write.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, version):
            raise IntegrityError(
                f"{self._what} is of another version", expected=str(version), found=str(found)
            )
        for statement in schema:
            write.execute(statement)
        write.execute(f"PRAGMA user_version = {version}")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        where = str(self._path)[-100:]
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise BusyError(f"{self._what} is locked by another process") from None
            raise StorageError(f"{self._what} cannot be used: {error}", found=where) from None
        except sqlite3.DatabaseError as error:
            raise IntegrityError(f"{self._what} is damaged: {error}", found=where) from None

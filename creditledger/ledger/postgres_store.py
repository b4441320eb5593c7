"""The store in a PostgreSQL database: one table of rows, one sequencer, fenced by its term.

Source: specs/postgres.md."""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, LiteralString

from creditledger.credits.state import Overlay, StateView
from creditledger.errors import BusyError, CreditLedgerError, StorageError
from creditledger.ledger.postgres_rows import TransactionRows, in_schema, new_known_rows, stored
from creditledger.ledger.postgres_session import (
    Ask,
    DatabaseUrl,
    asking,
    connect,
    has_schema,
    judged,
    server_errors,
)
from creditledger.ledger.store import GuessedWrongError, ReadOnly, require_key

if TYPE_CHECKING:
    import psycopg

READERS_MAX: Final = 24
"""Reading sessions of one process; who finds all taken waits."""
READER_WAIT_SECONDS: Final = 30.0
BEAT_SECONDS: Final = 0.7
FORMAT: Final = 1
_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE"
_TABLES: Final = (
    "CREATE SCHEMA {}",
    "CREATE TABLE {}.row (key bytea PRIMARY KEY, value bytea NOT NULL)",
    "CREATE TABLE {}.sequencer (is_one boolean PRIMARY KEY DEFAULT true CHECK (is_one), "
    "term bigint NOT NULL, format integer NOT NULL)",
    "CREATE TABLE {}.staged (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, body bytea NOT NULL, "
    "outcome bytea, staged timestamptz NOT NULL DEFAULT now())",
    f"INSERT INTO {{}}.sequencer (term, format) VALUES (0, {FORMAT})",
)


class PostgresStore:
    """A `Store` in one schema of a database. Any number of processes read; the sequencer writes."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        """Open what `create` made, as the sequencer unless ``read_only``.

        Raises StorageError if there is no store, BusyError if another process is the sequencer."""
        self.url = DatabaseUrl.parse(url)
        self._pid = os.getpid()
        self._failure = ""
        self._cause: BaseException | None = None
        self._is_closed = False
        self._turn = threading.RLock()
        self._places = threading.BoundedSemaphore(READERS_MAX)
        self._idle: list[psycopg.Connection[Any]] = []
        self._writer: psycopg.Connection[Any] | None = None
        self._known = new_known_rows()
        self._beside: list[tuple[LiteralString, list[Any]]] = []
        self._is_warm = False
        self._rows: TransactionRows | None = None
        self.term = 0
        """Counts the sequencers of this store; 0 while this process has not been one."""
        self._require_store()
        if not read_only and not self.try_acquire():
            self.close()
            raise BusyError("another sequencer has this ledger open", found=self.url.schema)

    @classmethod
    def create(cls, url: str) -> "PostgresStore":
        """Make an empty store in a schema that must not exist, and open it as the sequencer.

        Raises StorageError if the schema is taken."""
        cls.require_free(url)
        parsed = DatabaseUrl.parse(url)
        with server_errors(), connect(parsed, name="init") as session, session.transaction():
            for statement in _TABLES:
                session.execute(in_schema(statement, parsed.quoted))
        return cls(url)

    @classmethod
    def require_free(cls, url: str) -> None:
        """Check that nothing is where a store may be made. Raises StorageError."""
        if has_schema(url):
            found = DatabaseUrl.parse(url).schema
            raise StorageError("the schema is taken", expected="a new one", found=found)

    @classmethod
    def drop(cls, url: str) -> None:
        """Forget a store and all that is in it. Raises StorageError."""
        parsed = DatabaseUrl.parse(url)
        with server_errors(), connect(parsed, name="drop") as session:
            session.execute(in_schema("DROP SCHEMA IF EXISTS {} CASCADE", parsed.quoted))

    def try_acquire(self) -> bool:
        """Become the sequencer; False if another process is. The lock lasts as long as its session.

        Raises StorageError."""
        with self._turn:
            self._require_usable()
            if self._writer is not None:
                return True
            session = connect(self.url, name="sequencer", is_writer=True)
            try:
                with server_errors():
                    row = session.execute("SELECT pg_try_advisory_lock(%s)", [self._lock_number()]).fetchone()
                    if row is None or not row[0]:
                        session.close()
                        return False
                    self.term = self._next_term(session)
            except BaseException:
                session.close()
                raise
            self._writer, self._known, self._is_warm = session, new_known_rows(), False
            threading.Thread(target=self._beat, args=(session,), name="sequencer", daemon=True).start()
            return True

    def _beat(self, session: "psycopg.Connection[Any]") -> None:
        """Tell the server that the sequencer lives, while it is between two transactions."""
        while self._writer is session and not session.closed:
            if self._turn.acquire(blocking=False):
                try:
                    if self._writer is session:
                        session.execute("SELECT 1")
                except Exception:
                    self._drop_writer()
                finally:
                    self._turn.release()
            time.sleep(BEAT_SECONDS)

    def _next_term(self, session: "psycopg.Connection[Any]") -> int:
        # Waits for a transaction that the last sequencer has left open; the server ends that one in time.
        found = session.execute("SHOW fsync").fetchone()
        if found is None or found[0] != "on":
            raise StorageError("the database does not keep what it commits", expected="fsync = on")
        row = session.execute(
            in_schema("UPDATE {}.sequencer SET term = term + 1 RETURNING term", self._schema)
        ).fetchone()
        if row is None:
            raise StorageError("the database has no sequencer's row", found=self.url.schema)
        return int(row[0])

    @property
    def is_sequencer(self) -> bool:
        """Whether this process may write, as far as it knows; no longer once its session has ended."""
        return self._writer is not None

    @contextmanager
    def read(self) -> Iterator[StateView]:
        """See `Store.read`."""
        self._require_usable()
        if not self._places.acquire(timeout=READER_WAIT_SECONDS):
            raise BusyError("all sessions with the database are taken", expected=f"at most {READERS_MAX}")
        try:
            session = self._reader()
            try:
                with server_errors():
                    session.execute(_READ)
                yield ReadOnly(Overlay(TransactionRows(asking(session), self._schema, new_known_rows())))
            finally:
                self._put_back(session)
        finally:
            self._places.release()

    @contextmanager
    def write(self) -> Iterator[StateView]:
        """See `Store.write`."""
        with self._writing(is_guessing=False) as view:
            yield view

    @contextmanager
    def write_guessing(self) -> Iterator[StateView]:
        """As `write`, but rows not read before are taken to be absent, and asked for in one go at the end.

        Raises GuessedWrongError on leaving, whatever was raised within, if one was there: nothing changed;
        do the same again in a plain `write`, which then knows them."""
        with self._writing(is_guessing=self._is_warm) as view:
            yield view

    def confirm_guesses(self) -> None:
        """Ask for all that this thread's transaction took to be absent so far: raises as leaving it does."""
        if self._rows is not None:
            self._judge_guesses(self._rows, self._require_writer(), None)
            self._rows.guessed.clear()

    def beside(self, statement: LiteralString, parameters: list[Any]) -> None:
        """Run a statement of `specs/postgres.md` §4 in the transaction that this thread writes in."""
        self._beside.append((in_schema(statement, self._schema), parameters))

    def reopen(self) -> None:
        """Open all sessions anew after a failure, as a new process would; the sequencer becomes it again.

        Raises as opening does; the store then stays failed."""
        with self._turn:
            was_sequencer = self.term > 0
            self._drop_sessions()
            failure, self._failure = self._failure, ""
            try:
                self._require_store()
                if was_sequencer and not self.try_acquire():
                    raise BusyError("another sequencer has this ledger open", found=self.url.schema)
            except BaseException:
                self._failure = failure or "not opened anew"
                raise
            self._cause = None

    def close(self) -> None:
        """See `Store.close`. In a forked child the parent's sessions are left alone."""
        if os.getpid() == self._pid:
            self._drop_sessions()
        self._is_closed = True

    def _drop_sessions(self) -> None:
        sessions, self._idle = self._idle, []
        if self._writer is not None:
            sessions.append(self._writer)
            self._writer = None
        for session in sessions:
            with suppress(Exception):
                session.close()

    @contextmanager
    def _writing(self, *, is_guessing: bool) -> Iterator[StateView]:
        with self._turn:
            session = self._require_writer()
            self._beside = []
            rows = TransactionRows(self._asking(session), self._schema, self._known, is_guessing=is_guessing)
            self._rows = rows
            self._begin(session)
            changes = Overlay(rows)
            try:
                yield changes
                for key in changes.changes:
                    require_key(key)
            except BaseException as error:
                self._judge_guesses(rows, session, error)
                self._roll_back(session)
                raise
            self._judge_guesses(rows, session, None)
            self._commit(session, changes.changes)

    def _begin(self, session: "psycopg.Connection[Any]") -> None:
        """Begin, and lock the sequencer's row: nobody takes over before this transaction has ended."""
        with self._ended_by_errors():
            session.execute(_WRITE)
            row = session.execute(
                in_schema("SELECT term FROM {}.sequencer FOR UPDATE", self._schema), prepare=True
            ).fetchone()
        if row is None or row[0] != self.term:
            found = "no term" if row is None else f"term {row[0]}"
            raise self._poison("another sequencer took over", expected=f"term {self.term}", found=found)

    def _judge_guesses(
        self, rows: TransactionRows, session: "psycopg.Connection[Any]", error: BaseException | None
    ) -> None:
        if not rows.guessed or (error is not None and not isinstance(error, Exception)):
            return
        rows.is_guessing = False
        if self._writer is session and rows.fetch(rows.guessed):
            self._roll_back(session)
            raise GuessedWrongError("a row that was taken to be absent is there") from error

    def _commit(self, session: "psycopg.Connection[Any]", changes: dict[bytes, bytes | None]) -> None:
        """Write all changes in two statements and commit."""
        with self._ended_by_errors():
            gone = [key for key, value in changes.items() if value is None]
            put = sorted((key, stored(key, value)) for key, value in changes.items() if value is not None)
            if gone:
                session.execute(in_schema("DELETE FROM {}.row WHERE key = ANY(%b)", self._schema), [gone])
            if put:
                session.execute(
                    in_schema(
                        "INSERT INTO {}.row (key, value) SELECT * FROM unnest(%b::bytea[], %b::bytea[]) "
                        "ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value",
                        self._schema,
                    ),
                    [[key for key, _ in put], [value for _, value in put]],
                )
            for statement, parameters in self._beside:
                session.execute(statement, parameters)
        self._finish(session)
        for key, value in changes.items():
            self._known.note(key, value)
        self._is_warm = True

    def _finish(self, session: "psycopg.Connection[Any]") -> None:
        """Commit. What the server refuses is undone; where no answer came, nobody knows: poisoned."""
        import psycopg

        try:
            done = session.execute("COMMIT")
        except psycopg.Error as error:
            if error.sqlstate and not session.closed and not session.broken:
                self._drop_writer()
                found = judged(error)
                raise found from found.__cause__
            raise self._poison(f"no answer to a commit: {error}", cause=error) from error
        except BaseException as error:
            raise self._poison(f"no answer to a commit: {error}", cause=error) from error
        if done.statusmessage != "COMMIT":
            raise self._poison("the transaction was undone", expected="COMMIT", found=str(done.statusmessage))

    def _roll_back(self, session: "psycopg.Connection[Any]") -> None:
        with suppress(CreditLedgerError), self._ended_by_errors():
            session.execute("ROLLBACK")

    @contextmanager
    def _ended_by_errors(self) -> Iterator[None]:
        """Before a commit an error changes nothing, and ends the sequencer's session."""
        try:
            with server_errors():
                yield
        except BaseException:
            self._drop_writer()
            raise

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        self._known, self._is_warm = new_known_rows(), False
        if writer is not None:
            with suppress(Exception):
                writer.close()

    def _poison(
        self, failure: str, *, expected: str = "a store opened anew", found: str = "", cause: Any = None
    ) -> StorageError:
        self._drop_writer()
        self._failure, self._cause = " ".join(failure.split())[:200], cause
        return StorageError(
            f"store failed: {self._failure}", expected=expected, found=found or self.url.schema
        )

    def _reader(self) -> "psycopg.Connection[Any]":
        with suppress(IndexError):
            return self._idle.pop()
        return connect(self.url, name="reader")

    def _put_back(self, session: "psycopg.Connection[Any]") -> None:
        """Let a session wait for the next reader, if it is still good."""
        try:
            session.execute("COMMIT")
        except Exception:
            session.close()
            return
        if self._is_closed or self._failure:
            session.close()
            return
        self._idle.append(session)

    def _asking(self, session: "psycopg.Connection[Any]") -> Ask:
        """Statements of the writer's transaction: where one fails, its session is over."""
        ask = asking(session)

        def guarded(sql: LiteralString, parameters: list[Any]) -> list[tuple[Any, ...]]:
            with self._ended_by_errors():
                return ask(sql, parameters)

        return guarded

    @property
    def _schema(self) -> str:
        return self.url.quoted

    def _lock_number(self) -> int:
        digest = sha256(b"creditledger/sequencer\0" + self.url.schema.encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

    def _require_store(self) -> None:
        with server_errors(), connect(self.url, name="opening") as session:
            row = session.execute(in_schema("SELECT format FROM {}.sequencer", self._schema)).fetchone()
        if row is None or row[0] != FORMAT:
            raise StorageError("the store has another format", expected=str(FORMAT), found=str(row))

    def _require_writer(self) -> "psycopg.Connection[Any]":
        self._require_usable()
        if self._writer is None:
            if self.term:
                raise StorageError("the sequencer's session has ended", expected="a store opened anew")
            raise StorageError("store is open for reading", expected="a store open for writing")
        return self._writer

    def _require_usable(self) -> None:
        if self._failure:
            error = StorageError(f"store failed before: {self._failure}", expected="a store opened anew")
            error.__cause__ = self._cause
            raise error
        if self._is_closed:
            raise StorageError("store is closed", expected="an open store")
        if os.getpid() != self._pid:
            raise StorageError(
                "store was opened by another process",
                expected=f"process {self._pid}",
                found=f"process {os.getpid()}",
            )

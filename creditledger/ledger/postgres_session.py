"""One session with a PostgreSQL server: how it is opened, and what its errors mean here.

Source: specs/postgres.md §1."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, LiteralString, TypeAlias
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from creditledger.errors import BusyError, CreditLedgerError, IntegrityError, StorageError
from creditledger.ledger.disk_space import no_room

if TYPE_CHECKING:
    import psycopg

SCHEMES: Final = ("postgresql://", "postgres://")
SCHEMA: Final = "creditledger"
"""Where a ledger's tables lie unless its URL says otherwise."""
STATEMENT_MS: Final = 60_000
IDLE_MS: Final = 3_000
"""A sequencer that says nothing for so long is taken for gone: the server ends its session and its lock."""
WRITING_MS: Final = 10_000
"""So long may a writing transaction say nothing: others wait for it."""
READING_MS: Final = 3_600_000
"""And a reading one, which may have much to think about between two rows."""
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_NO_SPACE: Final = "53100"
_DAMAGED: Final = ("XX001", "XX002")
_CROWDED: Final = ("53300", "57P03")
_NOTHING_HERE: Final = ("3D000", "3F000", "42P01")
_UNDECIDED: Final = ("40001", "40P01")

Ask: TypeAlias = Callable[[LiteralString, list[Any]], list[tuple[Any, ...]]]
"""Runs a prepared statement and gives its rows."""


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """Like ``postgresql://user@host/database?schema=name``. All but the schema is libpq's."""

    text: str
    """With the schema, as it was given."""
    server: str
    """Without: what libpq is told."""
    schema: str

    @classmethod
    def parse(cls, text: str) -> "DatabaseUrl":
        """Raises StorageError for another URL, without repeating it: it may hold a password."""
        if not text.startswith(SCHEMES):
            raise StorageError("not the URL of a database", expected="postgresql://...")
        parts = urlsplit(text)
        words = parse_qsl(parts.query, keep_blank_values=True)
        schemas = [value for name, value in words if name == "schema"] or [SCHEMA]
        if len(schemas) != 1 or not _NAME.fullmatch(schemas[0]):
            raise StorageError(
                "not the name of a schema", expected="a-z, 0-9 and _", found=ascii(schemas[-1][:60])
            )
        query = urlencode([word for word in words if word[0] != "schema"], quote_via=quote)
        server = urlunsplit((parts.scheme, parts.netloc, parts.path, query, ""))
        return cls(text=text, server=server, schema=schemas[0])

    @property
    def quoted(self) -> str:
        """The schema as statements name it."""
        return f'"{self.schema}"'

    @property
    def channel(self) -> str:
        """Where news of this ledger is told."""
        return f"creditledger_{self.schema}"[:63]

    def __repr__(self) -> str:
        return f"DatabaseUrl(schema={self.schema})"


def is_database_url(text: str) -> bool:
    """Whether ``text`` names a database."""
    return text.startswith(SCHEMES)


def connect(url: DatabaseUrl, *, name: str, is_writer: bool = False) -> "psycopg.Connection[Any]":
    """A session in autocommit mode; ``is_writer``: one that the server ends when it falls silent.

    Raises StorageError, also where psycopg is missing; BusyError where the server has no place."""
    try:
        import psycopg
    except ImportError as error:
        raise StorageError("a ledger in PostgreSQL needs: pip install 'creditledger[postgres]'") from error
    settings = {
        "statement_timeout": STATEMENT_MS,
        "lock_timeout": STATEMENT_MS,
        "idle_in_transaction_session_timeout": WRITING_MS if is_writer else READING_MS,
        "synchronous_commit": "on",
    } | ({"idle_session_timeout": IDLE_MS} if is_writer else {})
    with server_errors():
        connection = psycopg.connect(
            url.server,
            autocommit=True,
            connect_timeout=10,
            keepalives=1,
            keepalives_idle=2,
            keepalives_interval=1,
            keepalives_count=3,
            tcp_user_timeout=5_000,
            application_name=f"creditledger {name} {os.getpid()}",
            prepare_threshold=0,
        )
        try:
            for setting, value in settings.items():
                connection.execute("SELECT set_config(%s, %s, false)", [setting, str(value)])
        except BaseException:
            connection.close()
            raise
    return connection


def has_schema(url: str) -> bool:
    """Whether anything is where a store may be made. Raises StorageError."""
    parsed = DatabaseUrl.parse(url)
    asked = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
    with server_errors(), connect(parsed, name="init") as session:
        return session.execute(asked, [parsed.schema]).fetchone() is not None


def asking(session: "psycopg.Connection[Any]") -> Ask:
    """Runs statements in a session. Raises as `server_errors`."""

    def ask(sql: LiteralString, parameters: list[Any]) -> list[tuple[Any, ...]]:
        with server_errors():
            return session.cursor(binary=True).execute(sql, parameters, prepare=True).fetchall()

    return ask


@contextmanager
def server_errors() -> Iterator[None]:
    """Turn the server's errors into ours."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        found = judged(error)
        raise found from found.__cause__


def judged(error: "psycopg.Error") -> CreditLedgerError:
    """What an error of the server, or of the way to it, is here. Nothing of it was committed."""
    found = _judged(error)
    if found.__cause__ is None:
        found.__cause__ = error
    return found


def _judged(error: "psycopg.Error") -> CreditLedgerError:
    code = error.sqlstate or ""
    said = " ".join(str(error).split())[:300]
    if code == _NO_SPACE:
        return no_room(StorageError(said, found=code))
    if code in _DAMAGED:
        return IntegrityError(f"the database is damaged: {said}", found=code)
    if code in _CROWDED:
        return BusyError("the database takes no more sessions for now", found=said)
    if code in _NOTHING_HERE:
        return StorageError("there is no ledger in this database", expected="what `init` makes", found=code)
    if code in _UNDECIDED:
        return StorageError("the database could not order two transactions: nothing changed", found=code)
    return StorageError(f"the database failed: {said}", found=code or type(error).__name__)

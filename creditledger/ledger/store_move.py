"""A ledger's rows, moved to a store of another kind: all of them or none. Source: specs/postgres.md §5."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from creditledger.errors import ConflictError, StorageError
from creditledger.ledger.directory import (
    LedgerDirectory,
    WriterLock,
    disk_errors,
    is_there,
    sync_directory,
)
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.store import LedgerStore
from creditledger.ledger.store_place import database_of, name_database
from creditledger.ledger.stored_log import StoredLog, entry_key
from creditledger.ledger.whole_rows import copy_rows, digest_of_rows, require_same, writing_store

_NEW: Final = "store.new"
_OLD: Final = "store.old"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What was moved."""

    size: int
    """Entries."""
    root: bytes
    """32 bytes."""
    rows: int


def move_store(
    path: Path, url: str | None, *, on_rows: Callable[[int, int], None] = lambda done, rows: None
) -> Moved:
    """Move the rows of the ledger in ``path`` to the database at ``url``, or to its own directory for None.

    Nothing writes the ledger meanwhile. The old rows go when the new ones were read back and found to be the
    same; stopped before that, the ledger is as it was, and after it, the next call ends what was begun.
    ``on_rows`` is told now and then how many rows are copied, and of how many.
    Raises BusyError where somebody writes, ConflictError where the rows lie there already, IntegrityError,
    StorageError."""
    directory = LedgerDirectory(path)
    lock = WriterLock(directory.lock)
    try:
        _end_what_was_begun(directory)
        if url == database_of(directory.store) and is_there(directory.store):
            where = url or str(directory.store)
            raise ConflictError("the ledger's rows lie there already", found=where[-100:])
        new = path / _NEW
        # The source stays open, and with it the sequencer's lock, until its rows are gone: what another front
        # end appended in between would be lost.
        with writing_store(directory.store) as source:
            with source.read() as view:
                log = StoredLog(view)
                log.require_sound_edge()
                first = log.entry_bytes(0)
                _discard(new, first)
                expected, rows = digest_of_rows(view)
                with _made(new, url) as target:
                    copy_rows(view.scan(b""), target, lambda done: on_rows(done, rows))
                    require_same(target, expected)
                moved = Moved(size=log.size, root=log.root, rows=rows)
            _switch(directory, first)
        return moved
    finally:
        lock.close()


@contextmanager
def _made(path: Path, url: str | None) -> Iterator[LedgerStore]:
    """A new store, which stays under its name for the next turn where its filling fails."""
    store: LedgerStore
    if url is None:
        store = LmdbStore.create(path)
    else:
        from creditledger.ledger.postgres_store import PostgresStore

        # Named before it is there: who is killed in between leaves nothing that nobody knows of.
        PostgresStore.require_free(url)
        name_database(path, url)
        store = PostgresStore.create(url)
    try:
        yield store
    finally:
        store.close()


def _switch(directory: LedgerDirectory, first: bytes) -> None:
    """The new store takes the old one's name, then the old one goes."""
    old, new = directory.path / _OLD, directory.path / _NEW
    with disk_errors(directory.path):
        os.rename(directory.store, old)
        sync_directory(directory.path)
        os.rename(new, directory.store)
        sync_directory(directory.path)
    _discard(old, first)


def _end_what_was_begun(directory: LedgerDirectory) -> None:
    """Only `_switch` leaves an old store behind: the new one was whole by then."""
    old, new = directory.path / _OLD, directory.path / _NEW
    if not is_there(old):
        return
    if not is_there(directory.store):
        with disk_errors(directory.path):
            os.rename(new, directory.store)
            sync_directory(directory.path)
    with writing_store(directory.store) as store, store.read() as view:
        first = StoredLog(view).entry_bytes(0)
    _discard(old, first)


def _discard(path: Path, first: bytes) -> None:
    """Remove a store and its rows, if they are of the ledger whose entry 0 is ``first``."""
    if not is_there(path):
        return
    url = database_of(path)
    if url is not None:
        from creditledger.ledger.postgres_session import has_schema
        from creditledger.ledger.postgres_store import PostgresStore

        if has_schema(url):
            store = PostgresStore(url, read_only=True)
            with closing(store), store.read() as view:
                if view.get(entry_key(0)) not in (None, first):
                    raise StorageError("another ledger's rows lie there", found=url[-100:])
            PostgresStore.drop(url)
    with disk_errors(path):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        sync_directory(path.parent)

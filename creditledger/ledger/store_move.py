"""A ledger's rows, moved to a store of another kind: all of them or none. Source: specs/postgres.md §5."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from creditledger.credits.account import check_invariant
from creditledger.credits.state import StateView
from creditledger.errors import ConflictError, IntegrityError, StorageError
from creditledger.ledger.directory import (
    LedgerDirectory,
    WriterLock,
    disk_errors,
    is_there,
    sync_directory,
)
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.store import LedgerStore
from creditledger.ledger.store_place import database_of, name_database, open_store
from creditledger.ledger.stored_log import StoredLog, entry_key, state_of

CHUNK_ROWS: Final = 2_000
CHUNK_BYTES: Final = 8 * 1024 * 1024
"""What one transaction of the new store takes, which bounds the memory that a move needs."""
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
        with _opened(directory.store) as source:
            with source.read() as view:
                log = StoredLog(view)
                log.require_sound_edge()
                first = log.entry_bytes(0)
                _discard(new, first)
                expected, rows = _digest(view)
                with _made(new, url) as target:
                    _copy(view, target, lambda done: on_rows(done, rows))
                    _require_same(target, expected)
                moved = Moved(size=log.size, root=log.root, rows=rows)
            _switch(directory, first)
        return moved
    finally:
        lock.close()


@contextmanager
def _opened(path: Path) -> Iterator[LedgerStore]:
    """The store, as its one writer, so that nobody else is."""
    store = open_store(path, read_only=False)
    try:
        yield store
    finally:
        store.close()


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


def _copy(view: StateView, target: LedgerStore, on_rows: Callable[[int], None]) -> None:
    rows, weight = 0, 0
    chunk: list[tuple[bytes, bytes]] = []
    for key, value in view.scan(b""):
        chunk.append((key, value))
        weight += len(key) + len(value)
        rows += 1
        if len(chunk) >= CHUNK_ROWS or weight >= CHUNK_BYTES:
            _put(target, chunk)
            on_rows(rows)
            chunk, weight = [], 0
    _put(target, chunk)
    on_rows(rows)


def _put(target: LedgerStore, rows: list[tuple[bytes, bytes]]) -> None:
    with target.write() as view:
        for key, value in rows:
            view.put(key, value)


def _require_same(target: LedgerStore, expected: bytes) -> None:
    """Every row, the tree's edge and the sum over all accounts, as the new store gives them."""
    with target.read() as moved:
        found, _ = _digest(moved)
        if found != expected:
            raise IntegrityError("the rows did not arrive", expected=expected.hex(), found=found.hex())
        StoredLog(moved).require_sound_edge()
        check_invariant(state_of(moved))


def _digest(view: StateView) -> tuple[bytes, int]:
    """A hash over all rows, and their number."""
    hashed, rows = sha256(), 0
    for key, value in view.scan(b""):
        hashed.update(len(key).to_bytes(2, "big") + key + len(value).to_bytes(4, "big") + value)
        rows += 1
    return hashed.digest(), rows


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
    with _opened(directory.store) as store, store.read() as view:
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

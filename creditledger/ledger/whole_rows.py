"""All rows of a ledger's store: copied, hashed and compared. Source: specs/postgres.md §5."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from creditledger.credits.account import check_invariant
from creditledger.credits.state import StateView
from creditledger.errors import IntegrityError
from creditledger.ledger.store import LedgerStore
from creditledger.ledger.store_place import open_store
from creditledger.ledger.stored_log import StoredLog, state_of

CHUNK_ROWS: Final = 2_000
CHUNK_BYTES: Final = 8 * 1024 * 1024
"""What one transaction of the new store takes, which bounds the memory that a copy needs."""


@contextmanager
def writing_store(path: Path) -> Iterator[LedgerStore]:
    """The store, as its one writer, so that nobody else is."""
    store = open_store(path, read_only=False)
    try:
        yield store
    finally:
        store.close()


def copy_rows(
    rows: Iterable[tuple[bytes, bytes]], target: LedgerStore, on_rows: Callable[[int], None]
) -> None:
    """Put ``rows`` into an empty store. ``on_rows`` is told now and then how many are there."""
    count, weight = 0, 0
    chunk: list[tuple[bytes, bytes]] = []
    for key, value in rows:
        chunk.append((key, value))
        weight += len(key) + len(value)
        count += 1
        if len(chunk) >= CHUNK_ROWS or weight >= CHUNK_BYTES:
            _put(target, chunk)
            on_rows(count)
            chunk, weight = [], 0
    _put(target, chunk)
    on_rows(count)


def _put(target: LedgerStore, rows: list[tuple[bytes, bytes]]) -> None:
    with target.write() as view:
        for key, value in rows:
            view.put(key, value)


def require_same(target: LedgerStore, expected: bytes) -> None:
    """Every row, the tree's edge and the sum over all accounts, as the new store gives them.

    Raises IntegrityError."""
    with target.read() as moved:
        found, _ = digest_of_rows(moved)
        if found != expected:
            raise IntegrityError("the rows did not arrive", expected=expected.hex(), found=found.hex())
        StoredLog(moved).require_sound_edge()
        check_invariant(state_of(moved))


def digest_of_rows(view: StateView) -> tuple[bytes, int]:
    """A hash over all rows, 32 bytes, and their number."""
    hashed, rows = sha256(), 0
    for key, value in view.scan(b""):
        hashed.update(len(key).to_bytes(2, "big") + key + len(value).to_bytes(4, "big") + value)
        rows += 1
    return hashed.digest(), rows

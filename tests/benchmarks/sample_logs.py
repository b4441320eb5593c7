"""Long logs on disk without the rules' work, for benchmarks of the tree alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.stored_log import StoredLog
from creditledger.transparency.merkle import prove_inclusion

CHUNK: Final = 25_000


def entry(index: int) -> bytes:
    """300 bytes that no other entry has."""
    return index.to_bytes(300, "big")


@contextmanager
def log_of(path: Path, size: int) -> Iterator[LmdbStore]:
    """A store with a log of ``size`` entries."""
    store = LmdbStore.create(path)
    try:
        for start in range(0, size, CHUNK):
            with store.write() as view:
                log = StoredLog(view)
                for index in range(start, min(start + CHUNK, size)):
                    log.append(entry(index))
                log.seal()
        yield store
    finally:
        store.close()


def prove_some(store: LmdbStore, chance: random.Random, *, count: int) -> None:
    """The paths of ``count`` entries drawn from one moment of the log."""
    with store.read() as view:
        log = StoredLog(view)
        for _ in range(count):
            prove_inclusion(log.node, index=chance.randrange(log.size), size=log.size)

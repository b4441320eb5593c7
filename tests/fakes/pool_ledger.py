"""A fake pool read as a ledger is: snapshots of its log and state, for what replays or scans a log."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from creditledger.credits.state import StateView
from creditledger.records.record import Record
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes
from fakes.pool import Pool


class PoolLog:
    """The entries so far."""

    def __init__(self, pool: Pool) -> None:
        self._entries, self._bodies = list(pool.entries), list(pool.bodies)
        self.size = len(self._entries)

    def entry_bytes(self, index: int) -> bytes:
        return self._entries[index].encode()

    def bodies(self, record: Record) -> tuple[bytes, ...]:
        (at,) = (index for index, entry in enumerate(self._entries) if entry.record == record)
        return self._bodies[at]

    def root_at(self, size: int) -> bytes:
        return root_from_leaf_hashes(leaf_hash(entry.encode()) for entry in self._entries[:size])


@dataclass(frozen=True)
class PoolSnapshot:
    log: PoolLog
    state: StateView


class PoolLedger:
    """What readers ask of a `Ledger`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.open_snapshots = self.taken = 0
        self.id = pool.ledger_id
        self.origin = pool.papers.genesis.origin

    @property
    def size(self) -> int:
        return len(self._pool.entries)

    @contextmanager
    def snapshot(self) -> Iterator[PoolSnapshot]:
        self.open_snapshots += 1
        self.taken += 1
        try:
            yield PoolSnapshot(PoolLog(self._pool), self._pool.view)
        finally:
            self.open_snapshots -= 1

    @contextmanager
    def read(self) -> Iterator[StateView]:
        yield self._pool.view


def ledger_of(pool: Pool) -> Any:
    """``pool`` where a `Ledger` is wanted for reading."""
    return PoolLedger(pool)

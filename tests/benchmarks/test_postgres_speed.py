"""Durable appends to a database beside the same on LMDB."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.comparison import Comparison, Goal, at_least
from benchmarks.sample_payments import Payments
from benchmarks.test_appending_speed import check_signatures, submit
from creditledger.ledger.clock import system_clock
from creditledger.ledger.ledger import Ledger
from ledger_pools import found
from postgres_server import new_schema

SIZE = 256
ROUNDS = 15


@pytest.fixture
def lmdb(tmp_path: Path) -> Iterator[Ledger]:
    with found(tmp_path / "lmdb", clock=system_clock) as opened:
        yield opened


@pytest.fixture
def database(tmp_path: Path, postgres: str) -> Iterator[Ledger]:
    with found(tmp_path / "postgres", clock=system_clock, store=new_schema(postgres)) as opened:
        yield opened


def test_append_to_a_database(compare: Comparison, lmdb: Ledger, database: Ledger) -> None:
    """Rules, tree, encoding, commit and head file; signatures were checked before."""
    goal: Goal = at_least(0.35)
    groups = {}
    for ledger in (lmdb, database):
        payments = Payments(ledger)
        groups[ledger] = [[payments.next() for _ in range(SIZE)] for _ in range(ROUNDS + 2)]
        for group in groups[ledger]:
            check_signatures(ledger, group)
    ours, theirs = iter(groups[database]), iter(groups[lmdb])
    compare(
        f"durable append to PostgreSQL, {SIZE} at a time",
        lambda: submit(database, next(ours)),
        against="the same on LMDB",
        reference=lambda: submit(lmdb, next(theirs)),
        items=SIZE,
        goal=goal,
        rounds=ROUNDS,
    )

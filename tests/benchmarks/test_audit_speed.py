"""A full audit of a published log, beside reading and hashing it, and beside one that checks each signature.

The log is as nodes fill it: batches of receipts under one signature each; an item is a receipt."""

from pathlib import Path

import pytest

from benchmarks.comparison import Comparison, at_least
from benchmarks.sample_audits import BATCHES, RECEIPTS, hash_published, published_pool, verify_each
from creditledger.ledger.audit import audit
from ledger_pools import FixedClock

ROUNDS = 7


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published_pool(tmp_path_factory.mktemp("audit") / "pool", batches=BATCHES)


def audit_all(pool: Path) -> None:
    report = audit(pool, now_unix_ms=FixedClock()())
    if report.error is not None:
        raise report.error


def test_audit_beside_the_hash_loop(compare: Comparison, pool: Path) -> None:
    compare(
        "full audit, per receipt",
        lambda: audit_all(pool),
        against="read all and hash every leaf",
        reference=lambda: hash_published(pool),
        items=BATCHES * RECEIPTS,
        goal=at_least(0.33),
        rounds=ROUNDS,
    )


def test_audit_beside_each_signed(compare: Comparison, pool: Path) -> None:
    compare(
        "full audit, per receipt",
        lambda: audit_all(pool),
        against="decode and verify each signed",
        reference=lambda: verify_each(pool, count=256),
        items=BATCHES * RECEIPTS,
        reference_items=256,
        goal=at_least(35),
        rounds=ROUNDS,
    )

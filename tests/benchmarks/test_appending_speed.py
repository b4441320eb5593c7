"""Durable appends, beside a file that the same bytes are appended to and flushed."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.comparison import Comparison, Goal, at_least
from benchmarks.sample_payments import Payments, check_signatures
from creditledger.ledger.clock import system_clock
from creditledger.ledger.ledger import Acknowledgement, Ledger
from creditledger.records.entry import Submission
from creditledger.transparency.keys import verify_ed25519
from ledger_pools import found

GOALS = {1: at_least(0.25), 16: None, 256: at_least(0.25), 4_096: None}
ROUNDS = {1: 200, 16: 60, 256: 15, 4_096: 5}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with found(tmp_path / "pool", clock=system_clock) as opened:
        yield opened


def submit(ledger: Ledger, group: Sequence[Submission]) -> None:
    """Log a group. Raises the first refusal."""
    for outcome in ledger.submit(group):
        if not isinstance(outcome, Acknowledgement):
            raise outcome


@pytest.mark.parametrize("size", GOALS)
def test_durable_append(compare: Comparison, ledger: Ledger, tmp_path: Path, size: int) -> None:
    """Rules, tree, encoding, commit and head file; signatures were checked before."""
    payments, goal = Payments(ledger), GOALS[size]
    groups = [[payments.next() for _ in range(size)] for _ in range(ROUNDS[size] + 1)]
    for group in groups:
        check_signatures(ledger, group)
    raw = [b"".join(one.encode() for one in group) for group in groups]
    ours, theirs = iter(groups), iter(raw)
    with open(tmp_path / "raw", "ab", buffering=0) as file:

        def append_raw() -> None:
            file.write(next(theirs))
            os.fdatasync(file.fileno())

        compare(
            f"durable append, {size} at a time",
            lambda: submit(ledger, next(ours)),
            against="raw append and fdatasync",
            reference=append_raw,
            items=size,
            goal=goal,
            rounds=ROUNDS[size],
        )


def test_append_with_signatures(compare: Comparison, ledger: Ledger) -> None:
    payments = Payments(ledger)
    groups = [[payments.next() for _ in range(256)] for _ in range(16)]
    ours, theirs = iter(groups), iter(groups)
    goal: Goal = at_least(0.8)
    with ThreadPoolExecutor(2) as threads:

        def verify(one: Submission) -> None:
            payer: bytes = one.record.payer  # type: ignore[attr-defined]
            message = one.record.signing_bytes(ledger.id)
            verify_ed25519(public_key=payer, message=message, signature=one.signature)

        compare(
            "append 256 signed records",
            lambda: submit(ledger, next(ours)),
            against="raw verify on 2 threads",
            reference=lambda: list(threads.map(verify, next(theirs), chunksize=16)),
            items=256,
            goal=goal,
        )

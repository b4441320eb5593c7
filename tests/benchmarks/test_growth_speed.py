"""How the cost of an append grows with entries and accounts, and the memory of an audit with receipts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.comparison import Comparison, at_most
from benchmarks.sample_audits import RECEIPTS, published_pool
from benchmarks.sample_crowds import GROUP, Crowd, crowded

ROUNDS = 7
SMALL = 10_000
SIZES = (100_000, 1_000_000)
MEMORY_GOAL_MIB = 300
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("size", SIZES)
def test_append_in_a_crowd(compare: Comparison, tmp_path: Path, size: int) -> None:
    """Transfers to one account after another of so many, in a log of so many entries."""
    with crowded(tmp_path / "small", SMALL) as few, crowded(tmp_path / "large", size) as many:
        small, large = Crowd(few, SMALL, groups=ROUNDS + 1), Crowd(many, size, groups=ROUNDS + 1)
        compare(
            f"append {GROUP} at a time, {size:,} entries and accounts",
            large.submit_next,
            against=f"{SMALL:,} entries and accounts",
            reference=small.submit_next,
            items=GROUP,
            goal=None,
            rounds=ROUNDS,
        )


def test_memory_of_an_audit(compare: Comparison, tmp_path: Path) -> None:
    """In a process of its own. ``CREDITLEDGER_AUDIT_RECEIPTS=1000000`` makes it a million (6 minutes)."""
    from ledger_pools import START_MS

    few, many = 16, -(-int(os.environ.get("CREDITLEDGER_AUDIT_RECEIPTS", "81920")) // RECEIPTS)

    def peak(batches: int) -> float:
        pool = published_pool(tmp_path / f"pool-{batches}", batches=batches)
        command = [sys.executable, "-m", "tests.benchmarks.sample_audits", str(pool), str(START_MS)]
        return float(subprocess.run(command, check=True, capture_output=True).stdout.split()[1])

    compare.sizes(
        f"memory of an audit, {many * RECEIPTS:,} receipts",
        peak(many),
        against=f"{few * RECEIPTS:,} receipts",
        reference=peak(few),
        goal=at_most(10),
        most=MEMORY_GOAL_MIB,
    )

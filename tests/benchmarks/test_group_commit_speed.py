"""Group commit: many submitters that each wait until their record is durable, beside one that does."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from benchmarks.comparison import Comparison, at_least
from benchmarks.sample_payments import Payments, check_signatures
from creditledger.ledger.clock import system_clock
from creditledger.ledger.ledger import Acknowledgement
from creditledger.records.entry import Submission
from creditledger.service.pool.event_log import EventLog
from creditledger.service.pool.group_commit import GroupCommit
from creditledger.service.pool.steward import Steward
from ledger_pools import found

SUBMITTERS = 256
EACH = 4
ALONE = 12
ROUNDS = 7


@pytest.fixture
def payments(tmp_path: Path) -> Iterator[Payments]:
    with found(tmp_path / "pool", clock=system_clock) as ledger:
        yield Payments(ledger)


def test_concurrent_submitters(compare: Comparison, payments: Payments) -> None:
    """256 tasks of one loop, as the service has them, each with one record after another; signatures were
    checked before."""
    group = GroupCommit(Steward(payments.ledger, events=EventLog(None)))
    group.start()

    async def submit(submissions: list[Submission]) -> None:
        for one in submissions:
            (outcome,) = await asyncio.wrap_future(group.submit([one], size=400))
            if not isinstance(outcome, Acknowledgement):
                raise outcome

    async def submit_all(shares: Sequence[list[Submission]]) -> None:
        await asyncio.gather(*map(submit, shares))

    def made(submitters: int, count: int) -> list[list[Submission]]:
        shares = [[payments.next() for _ in range(count)] for _ in range(submitters)]
        for share in shares:
            check_signatures(payments.ledger, share)
        return shares

    crowds = iter([made(SUBMITTERS, EACH) for _ in range(ROUNDS + 1)])
    alone = iter([made(1, ALONE) for _ in range(ROUNDS + 1)])
    with asyncio.Runner() as runner:
        compare(
            f"durable append, {SUBMITTERS} submitters at once",
            lambda: runner.run(submit_all(next(crowds))),
            against="one submitter",
            reference=lambda: runner.run(submit_all(next(alone))),
            items=SUBMITTERS * EACH,
            reference_items=ALONE,
            goal=at_least(40),
            rounds=ROUNDS,
        )
    group.stop()

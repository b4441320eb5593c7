"""Group commit: many submitters that each wait until their record is durable, beside one that does."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

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
    """256 threads, each with one record after another; signatures were checked before."""
    group = GroupCommit(Steward(payments.ledger, events=EventLog(None)))
    group.start()

    def submit(submissions: list[Submission]) -> None:
        for one in submissions:
            (outcome,) = group.submit([one], size=400).result()
            if not isinstance(outcome, Acknowledgement):
                raise outcome

    def made(count: int) -> list[Submission]:
        submissions = [payments.next() for _ in range(count)]
        check_signatures(payments.ledger, submissions)
        return submissions

    crowds = iter([[made(EACH) for _ in range(SUBMITTERS)] for _ in range(ROUNDS + 1)])
    alone = iter([made(ALONE) for _ in range(ROUNDS + 1)])

    def submit_together() -> None:
        threads = [Thread(target=submit, args=(share,)) for share in next(crowds)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    try:
        compare(
            f"durable append, {SUBMITTERS} submitters at once",
            submit_together,
            against="one submitter",
            reference=lambda: submit(next(alone)),
            items=SUBMITTERS * EACH,
            reference_items=ALONE,
            goal=at_least(40),
            rounds=ROUNDS,
        )
    finally:
        group.stop()

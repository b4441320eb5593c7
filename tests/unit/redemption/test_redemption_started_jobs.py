"""specs/redemption.md §5: the started set decides, once and durably."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from creditledger.errors import CreditLedgerError, IntegrityError, RefusedError, StorageError, UnknownIdError
from creditledger.records.transfer import Hold
from creditledger.redemption.process_identity import ProcessIdentity
from creditledger.redemption.started_jobs import Claim, Ending, Stage, StartedJobs

HERE = ProcessIdentity.own()


def hold(number: int = 1, *, gpus: int = 1) -> Hold:
    return Hold(
        id=number.to_bytes(16, "big"),
        holder=b"\1" * 32,
        amount_micro=5_000,
        job=bytes(32),
        queue=b"\2" * 32,
        hardware="h100",
        gpus=gpus,
        duration_ms=5,
        micro_per_gpu_second=1_000_000,
        expires_unix_ms=9,
    )


def digest(number: int = 1) -> bytes:
    return hold(number).digest(bytes(32))


def claim(
    jobs: StartedJobs, number: int = 1, *, gpus: int = 1, slots: tuple[int, ...] = (0, 1)
) -> Claim | None:
    return jobs.claim(digest(number), hold(number, gpus=gpus), slots=slots, limit_ms=5, queue_process=HERE)


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[StartedJobs]:
    opened = StartedJobs(tmp_path / "started.sqlite")
    yield opened
    opened.close()


def test_a_hold_goes_through_its_stages_once(jobs: StartedJobs) -> None:
    found = claim(jobs)
    assert found is not None
    assert found.is_new
    assert (found.job.stage, found.job.slots, found.job.hold) == (Stage.INTENT, (0,), hold())
    assert jobs.begin(digest(), supervisor=HERE)
    assert not jobs.begin(digest(), supervisor=HERE)
    jobs.heartbeat(digest(), elapsed_ms=3)
    assert jobs.require(digest()).gpu_ms == 3
    assert jobs.end(digest(), ending=Ending.EXITED, elapsed_ms=7, exit_code=1)
    assert not jobs.end(digest(), ending=Ending.LOST, elapsed_ms=9, exit_code=2)
    assert jobs.captured(digest(), amount_micro=5_000, refusal=None)
    assert not jobs.captured(digest(), amount_micro=1, refusal=None)
    assert jobs.settled(digest(), released_micro=0, refusal=None)
    assert not jobs.settled(digest(), released_micro=1, refusal=None)
    job = jobs.require(digest())
    assert (job.stage, job.ending, job.exit_code, job.captured_micro) == (
        Stage.SETTLED,
        Ending.EXITED,
        1,
        5_000,
    )
    assert job.gpu_ms == 5, "never more than the limit"
    assert jobs.unsettled() == []


def test_a_withdrawn_claim_can_never_begin(jobs: StartedJobs) -> None:
    """Whoever decides first has decided: recovery and a late supervisor cannot both win."""
    claim(jobs)
    assert jobs.withdraw(digest())
    assert not jobs.begin(digest(), supervisor=HERE)
    assert jobs.require(digest()).ending is Ending.NOT_STARTED


def test_a_job_that_began_cannot_be_withdrawn(jobs: StartedJobs) -> None:
    claim(jobs)
    jobs.begin(digest(), supervisor=HERE)
    assert not jobs.withdraw(digest())
    assert jobs.lose(digest(), elapsed_ms=2)
    assert jobs.require(digest()).ending is Ending.LOST
    jobs.heartbeat(digest(), elapsed_ms=4)
    assert jobs.require(digest()).elapsed_ms == 2, "a late heartbeat changes nothing"


def test_slots_are_taken_once_and_freed_at_the_end(jobs: StartedJobs) -> None:
    assert claim(jobs, 1, gpus=1) is not None
    assert claim(jobs, 2, gpus=2) is None
    second = claim(jobs, 3, gpus=1)
    assert second is not None
    assert second.job.slots == (1,)
    assert claim(jobs, 4, gpus=1) is None
    assert jobs.get(digest(4)) is None, "a claim without slots leaves nothing"
    jobs.withdraw(digest(1))
    freed = claim(jobs, 4, gpus=1)
    assert freed is not None
    assert freed.job.slots == (0,)


def test_a_hold_of_more_gpus_than_slots_is_refused(jobs: StartedJobs) -> None:
    assert claim(jobs, 1, gpus=2) is not None
    with pytest.raises(RefusedError):
        claim(jobs, 2, gpus=3)


def test_a_second_claim_gets_the_first_ones_row(jobs: StartedJobs) -> None:
    claim(jobs)
    again = claim(jobs)
    assert again is not None
    assert not again.is_new


def test_of_many_claims_at_once_one_is_new(tmp_path: Path) -> None:
    """H1 for vouchers: each thread with a connection of its own, as separate processes have."""
    answers: list[bool] = []

    def race() -> None:
        jobs = StartedJobs(tmp_path / "started.sqlite")
        found = claim(jobs)
        answers.append(found is not None and found.is_new)
        jobs.close()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]


def test_rows_survive_reopening(tmp_path: Path) -> None:
    first = StartedJobs(tmp_path / "started.sqlite")
    claim(first)
    first.begin(digest(), supervisor=HERE)
    before = first.require(digest())
    first.close()
    assert StartedJobs(tmp_path / "started.sqlite").require(digest()) == before


def test_commits_are_made_durable(jobs: StartedJobs) -> None:
    pragma = {
        name: jobs._notebook._connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous")
    }
    assert pragma == {"journal_mode": "wal", "synchronous": 2}


def test_an_unknown_hold_is_named(jobs: StartedJobs) -> None:
    with pytest.raises(UnknownIdError):
        jobs.require(digest())


def test_a_damaged_or_foreign_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(b"\x55" * 8_192)
    with pytest.raises(IntegrityError):
        StartedJobs(tmp_path / "noise")
    connection = sqlite3.connect(tmp_path / "later")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(IntegrityError, match="another version"):
        StartedJobs(tmp_path / "later")
    with pytest.raises(StorageError):
        StartedJobs(tmp_path / "absent" / "started.sqlite")


def test_many_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    """Whoever comes amid the making of it waits: in 300 rounds without that, 31 had somebody refused."""
    refused: list[CreditLedgerError] = []

    def open_it(path: Path) -> None:
        try:
            StartedJobs(path).close()
        except CreditLedgerError as error:
            refused.append(error)

    for number in range(60):
        path = tmp_path / f"{number}.sqlite"
        threads = [threading.Thread(target=open_it, args=(path,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert refused == []

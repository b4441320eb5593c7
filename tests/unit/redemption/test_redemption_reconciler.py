"""specs/redemption.md §7: the ledger is told once, however often it is told."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from creditledger.errors import BusyError, RoleError, StorageError, UnknownIdError
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.writer import Outcome
from creditledger.records.entry import Submission
from creditledger.records.state import HoldStatus
from creditledger.records.transfer import Capture, Release
from creditledger.redemption.ledger_access import LedgerAccess
from creditledger.redemption.process_identity import ProcessIdentity
from creditledger.redemption.reconciler import Reconciler
from creditledger.redemption.started_jobs import Ending, Stage, StartedJobs
from creditledger.redemption.wallet import HeldVoucher
from creditledger.transparency.keys import Ed25519Signer
from unit.redemption.redeeming_pool import OTHER_QUEUE, QUEUE, RedeemingPool


class LossyAccess(LedgerAccess):
    """Submits, then loses the answer, as many times as it is told to."""

    lose = 0

    @contextmanager
    def writing(self) -> Iterator[Ledger]:
        with super().writing() as ledger:
            access, submit = self, ledger.submit

            def forget(submissions: Sequence[Submission]) -> list[Outcome]:
                answer = submit(submissions)
                if access.lose:
                    access.lose -= 1
                    raise StorageError("the answer was lost")
                return answer

            ledger.submit = forget  # type: ignore[method-assign]
            yield ledger


class Desk:
    """A reconciler over one hold whose job has ended."""

    def __init__(self, pool: RedeemingPool, folder: Path, *, key: Ed25519Signer = QUEUE) -> None:
        self.pool = pool
        self.held: HeldVoucher = pool.hold(gpus=2, duration_ms=1_000)
        self.jobs = StartedJobs(folder / "started.sqlite")
        self.access = LossyAccess(pool.path, clock=pool.clock, sleep=lambda seconds: None)
        self.reconciler = Reconciler(
            self.jobs, access=self.access, key=key, ledger_id=pool.wallet().ledger_id
        )
        me = ProcessIdentity.own()
        self.jobs.claim(self.held.digest, self.held.hold, slots=(0, 1), limit_ms=1_000, queue_process=me)
        self.jobs.begin(self.held.digest, supervisor=me)

    def end(self, elapsed_ms: int) -> None:
        self.jobs.end(self.held.digest, ending=Ending.EXITED, elapsed_ms=elapsed_ms, exit_code=0)

    def logged(self) -> list[int | str]:
        """Captured amounts and release reasons of this hold in the log."""
        captures = [record for record in self.pool.records(Capture) if record.hold == self.held.digest]
        releases = [record for record in self.pool.records(Release) if record.hold == self.held.digest]
        return [*(record.amount_micro for record in captures), *(record.reason for record in releases)]


@pytest.fixture
def desk(pool: RedeemingPool, tmp_path: Path) -> Desk:
    return Desk(pool, tmp_path)


def test_what_is_due_is_known_before_it_is_pushed(desk: Desk) -> None:
    assert desk.reconciler.due() == []
    desk.end(300)
    (due,) = desk.reconciler.due()
    assert (due.digest, due.gpu_ms, due.amount_micro, due.reason) == (
        desk.held.digest,
        600,
        600_000,
        "exited",
    )
    assert desk.logged() == []


def test_an_ended_job_is_captured_and_released_once(desk: Desk) -> None:
    desk.end(300)
    assert desk.reconciler.push_due() == {}
    job = desk.jobs.require(desk.held.digest)
    assert (job.stage, job.captured_micro, job.released_micro) == (Stage.SETTLED, 600_000, 1_400_000)
    assert desk.logged() == [600_000, "exited"]
    assert desk.reconciler.push_due() == {}
    assert desk.reconciler.push(desk.held.digest) == job
    assert desk.logged() == [600_000, "exited"]


@pytest.mark.parametrize("losses", [1, 2])
def test_a_lost_answer_is_asked_for_again_and_charges_once(desk: Desk, losses: int) -> None:
    """H4: the commit happened, its answer did not arrive; the repeat gets the first index."""
    desk.end(300)
    for _ in range(losses):
        desk.access.lose = 1
        with pytest.raises(StorageError):
            desk.reconciler.push(desk.held.digest)
        assert desk.jobs.require(desk.held.digest).stage is Stage.ENDED
        assert desk.logged() == [600_000]
    desk.reconciler.push(desk.held.digest)
    assert desk.logged() == [600_000, "exited"]
    assert desk.pool.hold_state(desk.held.digest).status == HoldStatus.RELEASED


def test_a_job_of_no_time_is_released_without_a_capture(desk: Desk) -> None:
    desk.end(0)
    assert desk.reconciler.push(desk.held.digest).released_micro == 2_000_000
    assert desk.logged() == ["exited"]


def test_a_job_is_never_charged_above_its_hold(desk: Desk) -> None:
    desk.end(10**9)
    desk.reconciler.push(desk.held.digest)
    assert desk.logged() == [2_000_000, "exited"]


def test_a_running_job_is_not_pushed(desk: Desk) -> None:
    with pytest.raises(BusyError):
        desk.reconciler.push(desk.held.digest)
    with pytest.raises(UnknownIdError):
        desk.reconciler.push(bytes(32))


def test_a_hold_that_the_operator_expired_is_noted(desk: Desk) -> None:
    """H2: whichever end is first in the log is the hold's end; the other is refused by name."""
    desk.end(300)
    desk.pool.clock.ahead_ms += desk.held.hold.expires_unix_ms - desk.pool.clock() + 300_000
    with desk.pool.open() as ledger:
        ledger.expire_due()
    job = desk.reconciler.push(desk.held.digest)
    assert (job.stage, job.captured_micro, job.released_micro) == (Stage.SETTLED, 0, 0)
    assert job.refusal == "HoldClosedError"
    assert desk.logged() == []
    assert desk.pool.hold_state(desk.held.digest).status == HoldStatus.EXPIRED


def test_a_capture_with_another_queues_key_is_refused_and_stays_due(
    pool: RedeemingPool, tmp_path: Path
) -> None:
    """A misconfigured queue loses nothing: the error is told and the charge waits."""
    desk = Desk(pool, tmp_path, key=OTHER_QUEUE)
    desk.end(300)
    (error,) = desk.reconciler.push_due().values()
    assert isinstance(error, RoleError)
    assert desk.jobs.require(desk.held.digest).stage is Stage.ENDED
    assert desk.logged() == []
    rightful = Reconciler(desk.jobs, access=desk.access, key=QUEUE, ledger_id=pool.wallet().ledger_id)
    assert rightful.push_due() == {}
    assert desk.logged() == [600_000, "exited"]


def test_a_busy_ledger_leaves_it_due(desk: Desk) -> None:
    desk.end(300)
    with desk.pool.open():
        (error,) = desk.reconciler.push_due().values()
    assert isinstance(error, BusyError)
    assert desk.reconciler.push_due() == {}
    assert desk.logged() == [600_000, "exited"]

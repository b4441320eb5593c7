"""Real processes, a real ledger on disk, and a queue that dies at every step."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from creditledger.errors import (
    BusyError,
    HoldClosedError,
    HoldExpiredError,
    MalformedRecordError,
    RefusedError,
    RoleError,
    StorageError,
    UnknownIdError,
)
from creditledger.ledger.ledger import Ledger
from creditledger.records.transfer import Capture, Release
from creditledger.redemption.process_identity import ProcessIdentity
from creditledger.redemption.queues.job_outcome import JobOutcome
from creditledger.redemption.queues.local import LocalQueue
from creditledger.redemption.reconciler import Step
from creditledger.redemption.started_jobs import Ending, Stage
from creditledger.redemption.voucher import Voucher
from queue_parties import (
    QUICK,
    endings,
    open_queue,
    processes_of,
    require_ended_once,
    run_until_killed,
    wait_for,
)
from unit.redemption.redeeming_pool import OTHER_QUEUE, QUEUE, RedeemingPool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> RedeemingPool:
    return RedeemingPool.found(tmp_path_factory.mktemp("queue"))


@pytest.fixture
def queue(pool: RedeemingPool, tmp_path: Path) -> Iterator[LocalQueue]:
    with open_queue(pool, tmp_path / "queue") as opened:
        yield opened


def test_a_job_runs_on_its_slots_and_is_charged_for_what_it_used(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    """Wall time times GPUs at the hold's price; the rest goes back. H3's plain case."""
    voucher = pool.voucher(gpus=2, duration_ms=60_000)
    before = pool.wallet().balance()
    command = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES; pwd; echo $MINE >&2; sleep 0.3; exit 7"]
    outcome = queue.run(voucher, command, cwd=tmp_path, env={"MINE": "yes", "PATH": os.environ["PATH"]})
    assert outcome.exit_code == 7
    assert outcome.ending is Ending.EXITED
    assert outcome.stdout.read_text().splitlines() == ["0,1", str(tmp_path)]
    assert outcome.stderr.read_text() == "yes\n"
    assert 2 * 300 <= outcome.gpu_ms < 2 * 20_000
    assert outcome.captured_micro == outcome.gpu_ms * 1_000
    require_ended_once(pool, outcome, amount=120_000_000)
    assert pool.wallet().balance().available_micro - before.available_micro == outcome.released_micro


def test_a_voucher_presented_twice_starts_one_job(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    """The second presentation gets the first one's outcome, also from another process's queue."""
    voucher = pool.voucher()
    mark = tmp_path / "mark"
    first = queue.run(voucher, ["sh", "-c", f"echo ran >> {mark}"])
    assert queue.run(voucher, ["sh", "-c", f"echo again >> {mark}"]) == first
    with open_queue(pool, tmp_path / "queue") as reopened:
        assert reopened.run(voucher, ["sh", "-c", f"echo again >> {mark}"]) == first
    assert mark.read_text() == "ran\n"
    require_ended_once(pool, first, amount=10_000_000)


def test_a_voucher_presented_by_many_at_once_starts_one_job(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    voucher = pool.voucher()
    mark = tmp_path / "mark"
    outcomes: list[JobOutcome] = []
    threads = [
        threading.Thread(
            target=lambda: outcomes.append(
                queue.run(voucher, ["sh", "-c", f"echo ran >> {mark}; sleep 0.2"], wait_ms=5_000)
            )
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mark.read_text() == "ran\n"
    assert len(outcomes) == 6
    assert len({(outcome.hold, outcome.gpu_ms, outcome.captured_micro) for outcome in outcomes}) == 1
    require_ended_once(pool, queue.outcome(outcomes[0].hold), amount=10_000_000)


def test_a_queue_that_lost_its_directory_does_not_run_a_spent_voucher(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    voucher = pool.voucher()
    queue.run(voucher, ["true"])
    with open_queue(pool, tmp_path / "restored") as restored, pytest.raises(HoldClosedError):
        restored.run(voucher, ["sh", "-c", f"echo > {tmp_path / 'mark'}"])
    assert not (tmp_path / "mark").exists()


def test_a_job_is_ended_when_its_time_is_used_up(pool: RedeemingPool, queue: LocalQueue) -> None:
    """SIGTERM at the end of the held time; never charged more than is held."""
    voucher = pool.voucher(duration_ms=500)
    outcome = queue.run(voucher, ["sleep", "60"])
    assert (outcome.ending, outcome.exit_code) == (Ending.OUT_OF_TIME, -signal.SIGTERM)
    assert (outcome.gpu_ms, outcome.captured_micro, outcome.released_micro) == (500, 500_000, 0)
    require_ended_once(pool, outcome, amount=500_000)


def test_a_job_that_ignores_sigterm_is_killed_after_the_grace(pool: RedeemingPool, queue: LocalQueue) -> None:
    voucher = pool.voucher(duration_ms=700)
    began = time.monotonic()
    outcome = queue.run(voucher, ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
    assert (outcome.ending, outcome.exit_code) == (Ending.OUT_OF_TIME, -signal.SIGKILL)
    assert outcome.captured_micro == 700_000
    assert time.monotonic() - began < 30


def test_what_a_job_leaves_behind_is_ended_with_it(pool: RedeemingPool, queue: LocalQueue) -> None:
    """A process in a session of its own does not go on for free."""
    voucher = pool.voucher()
    outcome = queue.run(
        voucher, ["sh", "-c", "setsid sleep 600 & setsid sh -c 'sleep 600 & sleep 600' & exit 0"]
    )
    assert outcome.exit_code == 0
    assert processes_of(outcome.hold) == []


def test_a_job_ends_in_time_for_its_capture_before_the_hold_expires(
    pool: RedeemingPool, queue: LocalQueue
) -> None:
    """A voucher started late gets less time, is charged for less, and is still charged."""
    wallet = pool.wallet()
    held = wallet.hold(pool.quote(duration_ms=3_600_000), start_within_ms=0)
    pool.certify()
    pool.clock.ahead_ms += held.hold.expires_unix_ms - pool.clock() - QUICK.margin_ms - 700
    outcome = queue.run(held.voucher, ["sleep", "60"])
    assert outcome.ending is Ending.OUT_OF_TIME
    assert 0 < outcome.gpu_ms <= 700
    require_ended_once(pool, outcome, amount=held.hold.amount_micro)


def test_a_voucher_too_close_to_its_expiry_is_refused(pool: RedeemingPool, queue: LocalQueue) -> None:
    held = pool.wallet().hold(pool.quote(duration_ms=1_000), start_within_ms=0)
    pool.certify()
    pool.clock.ahead_ms += held.hold.expires_unix_ms - pool.clock() - QUICK.margin_ms + 1
    with pytest.raises(HoldExpiredError):
        queue.run(held.voucher, ["true"])
    with pytest.raises(UnknownIdError):
        queue.outcome(held.digest)


def test_a_command_that_cannot_be_started_costs_nothing(pool: RedeemingPool, queue: LocalQueue) -> None:
    outcome = queue.run(pool.voucher(), ["/no/such/program"])
    assert (outcome.ending, outcome.exit_code) == (Ending.NOT_STARTED, 127)
    assert (outcome.captured_micro, outcome.released_micro) == (0, 10_000_000)
    require_ended_once(pool, outcome, amount=10_000_000)


def test_a_job_waits_for_free_gpus_and_then_gets_them(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    """Two jobs of three GPUs on four slots: never at once; BusyError for who will not wait."""
    first, second, third = (pool.hold(gpus=3) for _ in range(3))
    pool.certify()
    gate = tmp_path / "gate"
    holding = threading.Thread(
        target=queue.run, args=(first.voucher, ["sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.02; done"])
    )
    holding.start()
    wait_for(lambda: any(job.stage == Stage.RUNNING for job in queue.running()))
    with pytest.raises(BusyError):
        queue.run(second.voucher, ["true"], wait_ms=100)
    threading.Timer(0.3, gate.touch).start()
    outcome = queue.run(third.voucher, ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"], wait_ms=20_000)
    holding.join()
    assert outcome.stdout.read_text() == "0,1,2\n"
    assert queue.run(second.voucher, ["true"], wait_ms=0).exit_code == 0
    for held in (first, second, third):
        require_ended_once(pool, queue.outcome(held.digest), amount=30_000_000)


def test_jobs_side_by_side_get_different_gpus(pool: RedeemingPool, queue: LocalQueue) -> None:
    held = [pool.hold(gpus=2) for _ in range(2)]
    pool.certify()
    outcomes: list[JobOutcome] = []
    command = ["sh", "-c", "echo $CUDA_VISIBLE_DEVICES; sleep 1"]
    threads = [
        threading.Thread(target=lambda v=each.voucher: outcomes.append(queue.run(v, command)))
        for each in held
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome.stdout.read_text() for outcome in outcomes) == ["0,1\n", "2,3\n"]


def test_a_job_of_more_gpus_than_there_are_is_refused(pool: RedeemingPool, queue: LocalQueue) -> None:
    with pytest.raises(RefusedError, match="more GPUs"):
        queue.run(pool.voucher(gpus=5), ["true"], wait_ms=60_000)


def test_a_voucher_for_other_hardware_is_refused(pool: RedeemingPool, tmp_path: Path) -> None:
    """A cheap class buys no dear GPU; the right class beside it is taken."""
    held = [pool.hold(hardware="t4"), pool.hold(hardware="h100")]
    pool.certify()
    with open_queue(pool, tmp_path / "queue", hardware="h100") as queue:
        with pytest.raises(RefusedError, match="other hardware"):
            queue.run(held[0].voucher, ["true"])
        assert queue.run(held[1].voucher, ["true"]).exit_code == 0


def test_a_voucher_for_another_queue_is_refused(pool: RedeemingPool, tmp_path: Path) -> None:
    with (
        LocalQueue(
            tmp_path / "other", ledger=pool.path, key=OTHER_QUEUE, policy=pool.policy(), slots=1
        ) as other,
        pytest.raises(RoleError),
    ):
        other.run(pool.voucher(), ["true"])


def test_an_empty_command_and_foolish_slots_are_refused(pool: RedeemingPool, tmp_path: Path) -> None:
    with open_queue(pool, tmp_path / "queue") as queue, pytest.raises(MalformedRecordError):
        queue.run(pool.voucher(), [])
    for slots in (0, [1, 1], [-1]):
        with pytest.raises(MalformedRecordError):
            LocalQueue(tmp_path / "q", ledger=pool.path, key=QUEUE, policy=pool.policy(), slots=slots)


def test_a_cancelled_job_is_charged_for_what_it_used(pool: RedeemingPool, queue: LocalQueue) -> None:
    voucher = pool.voucher(duration_ms=600_000)
    hold = Voucher.load(voucher).prove(pool.policy()).digest
    outcomes: list[JobOutcome] = []
    running = threading.Thread(target=lambda: outcomes.append(queue.run(voucher, ["sleep", "600"])))
    running.start()
    wait_for(lambda: any(job.elapsed_ms > 0 for job in queue.running()))
    queue.cancel(hold)
    running.join(timeout=30)
    (outcome,) = outcomes
    assert outcome.ending is Ending.CANCELLED
    assert 0 < outcome.captured_micro < 60_000_000
    require_ended_once(pool, outcome, amount=600_000_000)


def test_without_a_ledger_the_job_runs_and_is_settled_later(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    """A busy ledger delays the charge; it neither stops the job nor loses the charge."""
    voucher = pool.voucher()
    queue._access._sleep = lambda seconds: None
    with pool.open():
        outcome = queue.run(voucher, ["sleep", "0.2"])
    assert (outcome.settled, outcome.exit_code) == (False, 0)
    assert outcome.problem is not None
    assert outcome.problem.startswith("BusyError")
    assert endings(pool, outcome.hold) == ([], [])
    (recovered,) = queue.recover()
    assert recovered.captured_micro == outcome.gpu_ms * 1_000
    require_ended_once(pool, recovered, amount=10_000_000)
    assert queue.recover() == []


def test_a_hold_that_expired_before_its_capture_is_released_with_the_reason(
    pool: RedeemingPool, queue: LocalQueue
) -> None:
    """A queue that was away too long is not paid; the hold still ends once, and the row says why."""
    held = pool.wallet().hold(pool.quote(duration_ms=1_000), start_within_ms=30_000)
    pool.certify()
    voucher = held.voucher
    queue._access._sleep = lambda seconds: None
    with pool.open():
        assert not queue.run(voucher, ["sleep", "0.1"]).settled
    pool.clock.ahead_ms += held.hold.expires_unix_ms - pool.clock()
    (recovered,) = queue.recover()
    assert (recovered.captured_micro, recovered.refusal) == (0, "HoldExpiredError")
    require_ended_once(pool, recovered, amount=1_000_000)


@pytest.fixture(scope="module")
def punctual_pool(tmp_path_factory: pytest.TempPathFactory) -> RedeemingPool:
    """A pool whose clock no test moves: other processes join it."""
    return RedeemingPool.found(tmp_path_factory.mktemp("punctual"))


@pytest.mark.parametrize("fatal", list(Step)[:-1])
def test_a_queue_killed_at_any_step_ends_every_hold_once(
    punctual_pool: RedeemingPool, tmp_path: Path, fatal: Step
) -> None:
    """H3: nothing is charged that did not run, nothing runs uncharged, whatever the step."""
    voucher = punctual_pool.voucher()
    mark = run_until_killed(punctual_pool, tmp_path, voucher, fatal=fatal, job_seconds=0.4)
    with open_queue(punctual_pool, tmp_path / "queue") as queue:
        outcome = queue.run(voucher, ["sh", "-c", f"echo presented-again >> {mark}; sleep 0.1"])
        size = len(punctual_pool.records(Capture, Release))
        assert queue.recover() == []
        assert (
            queue.run(voucher, ["sh", "-c", f"echo third >> {mark}"]).captured_micro == outcome.captured_micro
        )
    assert len(punctual_pool.records(Capture, Release)) == size
    ran = mark.read_text().splitlines() if mark.exists() else []
    assert ran == {Step.VERIFIED: ["presented-again"], Step.CLAIMED: []}.get(fatal, ["ran"])
    assert (outcome.captured_micro > 0) == bool(ran)
    assert outcome.ending is (Ending.EXITED if ran else Ending.NOT_STARTED)
    require_ended_once(punctual_pool, outcome, amount=10_000_000)


def test_a_job_outlives_its_queue_and_is_still_ended_in_time(
    punctual_pool: RedeemingPool, tmp_path: Path
) -> None:
    """A dead queue's job gets what was paid for, not more, and is charged in full."""
    voucher = punctual_pool.voucher(duration_ms=1_500)
    run_until_killed(punctual_pool, tmp_path, voucher, fatal=Step.LAUNCHED, job_seconds=600)
    hold = Voucher.load(voucher).prove(punctual_pool.policy()).digest
    wait_for(lambda: processes_of(hold) == [])
    with open_queue(punctual_pool, tmp_path / "queue") as queue:
        outcome = queue.wait(hold)
    assert (outcome.ending, outcome.gpu_ms) == (Ending.OUT_OF_TIME, 1_500)
    require_ended_once(punctual_pool, outcome, amount=1_500_000)


def test_a_job_whose_supervisor_dies_too_is_charged_up_to_its_last_heartbeat(
    punctual_pool: RedeemingPool, tmp_path: Path
) -> None:
    """Queue and supervisor are killed: the job is ended, its slots are free, the measured part is paid."""
    voucher = punctual_pool.voucher(duration_ms=600_000)
    run_until_killed(punctual_pool, tmp_path, voucher, fatal=Step.LAUNCHED, job_seconds=600)
    with open_queue(punctual_pool, tmp_path / "queue") as queue:
        wait_for(lambda: queue.running()[0].elapsed_ms > 0)
        (job,) = queue.running()
        assert job.supervisor is not None
        os.kill(job.supervisor.pid, signal.SIGKILL)
        outcome = queue.wait(job.digest)
        assert queue.running() == []
    assert (outcome.ending, outcome.exit_code) == (Ending.LOST, None)
    assert job.elapsed_ms <= outcome.gpu_ms < 600_000
    assert processes_of(outcome.hold) == []
    require_ended_once(punctual_pool, outcome, amount=600_000_000)


def test_a_job_that_stops_its_supervisor_is_ended_by_the_queue(
    punctual_pool: RedeemingPool, tmp_path: Path
) -> None:
    """SIGSTOP to the one that counts the time buys no time: the queue ends it and charges in full."""
    voucher = punctual_pool.voucher(duration_ms=300)
    hurried = [0]

    def monotonic_ms() -> int:
        hurried[0] += 2_000
        return time.monotonic_ns() // 1_000_000 + hurried[0]

    with open_queue(punctual_pool, tmp_path / "queue", monotonic_ms=monotonic_ms) as queue:
        outcome = queue.run(voucher, ["sh", "-c", "kill -STOP $PPID; sleep 600"])
    assert (outcome.ending, outcome.gpu_ms) == (Ending.LOST, 300)
    assert processes_of(outcome.hold) == []
    require_ended_once(punctual_pool, outcome, amount=300_000)


def test_a_queue_that_is_interrupted_ends_its_job_and_settles(pool: RedeemingPool, tmp_path: Path) -> None:
    """Ctrl-C reaches the job through the queue."""
    voucher = pool.voucher(duration_ms=600_000)
    hold = Voucher.load(voucher).prove(pool.policy()).digest

    def interrupt(seconds: float) -> None:
        if not interrupted and any(job.elapsed_ms > 0 for job in queue.running()):
            interrupted.append(True)
            raise KeyboardInterrupt
        time.sleep(seconds)

    interrupted: list[bool] = []
    with open_queue(pool, tmp_path / "queue") as queue:
        queue._watch._sleep = interrupt
        with pytest.raises(KeyboardInterrupt):
            queue.run(voucher, ["sleep", "600"])
        outcome = queue.outcome(hold)
    assert outcome.ending is Ending.CANCELLED
    require_ended_once(pool, outcome, amount=600_000_000)


def test_a_queue_that_cannot_use_its_directory_says_so(pool: RedeemingPool, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        open_queue(pool, tmp_path / "file" / "queue")


def test_another_process_of_the_queue_leaves_live_claims_alone(pool: RedeemingPool, tmp_path: Path) -> None:
    """A claim whose queue still lives is not withdrawn by a second queue process that recovers."""
    seen: list[Stage] = []

    def recover_meanwhile(step: Step, hold: bytes) -> None:
        if step is Step.CLAIMED:
            with open_queue(pool, tmp_path / "queue") as second:
                seen.extend(job.stage for job in second.running())

    with open_queue(pool, tmp_path / "queue", observe=recover_meanwhile) as queue:
        outcome = queue.run(pool.voucher(), ["true"])
    assert seen == [Stage.INTENT]
    assert (outcome.ending, outcome.exit_code) == (Ending.EXITED, 0)


def test_process_identities_are_of_this_very_process() -> None:
    own = ProcessIdentity.own()
    assert own.is_alive()
    assert not ProcessIdentity(own.boot, own.pid, own.start_ticks + 1).is_alive()


def test_the_ledger_audits_clean_after_all_of_this(punctual_pool: RedeemingPool) -> None:
    """Everything above left a log that a stranger can replay."""
    from creditledger.ledger.audit import audit

    with punctual_pool.open() as ledger:
        ledger.complete_round()
    report = audit(punctual_pool.path, now_unix_ms=punctual_pool.clock())
    assert report.ok, report.problem
    with Ledger.open(punctual_pool.path, read_only=True) as ledger:
        assert report.entries == ledger.size

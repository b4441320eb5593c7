"""specs/redemption.md §9: jobs wait on disk, start in turn, and survive whoever runs the list."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_pools import environment
from creditledger.errors import BusyError, HoldClosedError, MalformedRecordError, RefusedError, RoleError
from creditledger.ledger.ledger import Ledger
from creditledger.records.state import HoldStatus
from creditledger.redemption.queues.job_outcome import JobOutcome
from creditledger.redemption.queues.local import LocalQueue
from creditledger.redemption.queues.runner import EXPIRE_EVERY_MS
from creditledger.redemption.reconciler import Step
from creditledger.redemption.started_jobs import Ending, Stage
from creditledger.redemption.wallet import HeldVoucher
from queue_parties import QUICK, endings, open_queue, require_ended_once, wait_for
from unit.redemption.redeeming_pool import OTHER_QUEUE, QUEUE, MovableClock, RedeemingPool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> RedeemingPool:
    return RedeemingPool.found(tmp_path_factory.mktemp("waiting"))


@pytest.fixture
def queue(pool: RedeemingPool, tmp_path: Path) -> Iterator[LocalQueue]:
    with open_queue(pool, tmp_path / "queue") as opened:
        yield opened


def held(pool: RedeemingPool, *wanted: dict[str, object]) -> list[HeldVoucher]:
    """Holds under one round."""
    made = [pool.hold(**each) for each in wanted]  # type: ignore[arg-type]
    pool.certify()
    return made


def leave_a_mark(mark: Path, word: str, seconds: float = 0.0) -> list[str]:
    return ["sh", "-c", f"echo {word} >> {mark}; sleep {seconds}"]


def run_through(queue: LocalQueue, *, seconds: float = 30) -> list[JobOutcome]:
    """Take turns until nothing waits or runs; what was settled, in order."""
    settled: list[JobOutcome] = []

    def is_over() -> bool:
        turn = queue.turn()
        settled.extend(turn.settled)
        return not (turn.waiting or turn.running)

    wait_for(is_over, seconds=seconds)
    return settled


def test_a_job_that_is_handed_in_starts_in_whatever_process_takes_the_next_turn(
    pool: RedeemingPool, tmp_path: Path
) -> None:
    """In the folder and environment of whoever handed it in; charged like any other."""
    voucher, mark = pool.voucher(gpus=2), tmp_path / "mark"
    with open_queue(pool, tmp_path / "queue") as queue:
        command = ["sh", "-c", f"echo $MINE $CUDA_VISIBLE_DEVICES $PWD > {mark}; sleep 0.1"]
        hold = queue.submit(voucher, command, cwd=tmp_path, env={**os.environ, "MINE": "mine"})
        assert [job.digest for job in queue.waiting()] == [hold]
        assert not mark.exists()
    with open_queue(pool, tmp_path / "queue") as queue:
        (outcome,) = run_through(queue)
        assert queue.waiting() == []
        assert queue.outcome(hold).captured_micro == outcome.captured_micro > 0
    assert mark.read_text().split() == ["mine", "0,1", str(tmp_path)]
    require_ended_once(pool, outcome, amount=20_000_000)


def test_a_voucher_on_the_list_starts_one_job_however_often_it_is_presented(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    """To the list, to `run`, before its turn and after it."""
    voucher, mark = pool.voucher(), tmp_path / "mark"
    hold = queue.submit(voucher, leave_a_mark(mark, "first"))
    assert queue.submit(voucher, leave_a_mark(mark, "second")) == hold
    with pytest.raises(BusyError, match="waiting list"):
        queue.run(voucher, leave_a_mark(mark, "third"), wait_ms=30)
    (outcome,) = run_through(queue)
    assert queue.submit(voucher, leave_a_mark(mark, "fourth")) == hold
    assert queue.waiting() == []
    assert queue.run(voucher, leave_a_mark(mark, "fifth")).captured_micro == outcome.captured_micro
    assert mark.read_text() == "first\n"
    require_ended_once(pool, outcome, amount=10_000_000)


def test_a_voucher_presented_to_two_queues_starts_at_the_one_it_names(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    """The other refuses it by name, on the list and off it."""
    voucher, mark = pool.voucher(), tmp_path / "mark"
    with LocalQueue(
        tmp_path / "other", ledger=pool.path, key=OTHER_QUEUE, policy=pool.policy(), slots=1
    ) as other:
        for present in (other.submit, other.run):
            with pytest.raises(RoleError) as refused:
                present(voucher, leave_a_mark(mark, "other"))
            assert (refused.value.expected, refused.value.found) == (
                OTHER_QUEUE.public_key.hex(),
                QUEUE.public_key.hex(),
            )
        assert not other.turn().has_news
    queue.submit(voucher, leave_a_mark(mark, "named"))
    run_through(queue)
    assert mark.read_text() == "named\n"


def test_dearer_classes_go_first_and_the_rest_as_they_came(pool: RedeemingPool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    jobs = held(pool, {"hardware": "t4"}, {"hardware": "h100"}, {"hardware": "h100"}, {"hardware": "t4"})
    with open_queue(pool, tmp_path / "queue", slots=1) as queue:
        for number, each in enumerate(jobs):
            queue.submit(each.voucher, leave_a_mark(mark, str(number)))
        run_through(queue)
    assert mark.read_text().split() == ["1", "2", "0", "3"]


def test_a_big_job_lets_short_ones_by_and_is_not_passed_by_long_ones(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    """Four slots, two taken for two seconds: the four-GPU job has the rest from then on."""
    gate = tmp_path / "gate"
    wait = ["sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.02; done"]
    first, big, long, short = held(
        pool,
        {"gpus": 2, "duration_ms": 20_000},
        {"gpus": 4, "duration_ms": 20_000},
        {"gpus": 1, "duration_ms": 60_000},
        {"gpus": 1, "duration_ms": 5_000},
    )
    assert queue.turn().started == ()
    queue.submit(first.voucher, wait)
    assert queue.turn().started == (first.digest,)
    for each in (big, long, short):
        queue.submit(each.voucher, ["true"])
    turn = queue.turn()
    assert (turn.started, turn.waiting) == ((short.digest,), 2)
    gate.touch()
    order = [outcome.hold for outcome in run_through(queue)]
    assert order.index(big.digest) < order.index(long.digest)


def test_what_could_never_start_is_refused_at_once(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    voucher = pool.voucher(gpus=5)
    with pytest.raises(RefusedError, match="more GPUs"):
        queue.submit(voucher, ["true"])
    with pytest.raises(MalformedRecordError):
        queue.submit(voucher, [])
    spent = pool.voucher()
    queue.run(spent, ["true"])
    with open_queue(pool, tmp_path / "restored") as restored, pytest.raises(HoldClosedError):
        restored.submit(spent, ["true"])
    assert queue.waiting() == []


def test_a_job_that_ended_amid_a_turn_is_not_forgotten(pool: RedeemingPool, tmp_path: Path) -> None:
    """Whoever stops when nothing waits or runs has settled everything."""

    def until_it_ended(step: Step, launched: bytes) -> None:
        if step == Step.LAUNCHED:
            wait_for(lambda: not queue.running())

    with open_queue(pool, tmp_path / "queue", observe=until_it_ended) as queue:
        hold = queue.submit(pool.voucher(gpus=1), ["true"])
        turn = queue.turn()
        assert (turn.started, turn.settled, turn.waiting, turn.running) == ((hold,), (), 0, 1)
        turn = queue.turn()
        assert ([each.hold for each in turn.settled], turn.running) == ([hold], 0)


def test_a_queue_with_fewer_slots_than_before_goes_on_with_those_that_fit(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    big, small = held(pool, {"gpus": 4}, {"gpus": 1})
    queue.submit(big.voucher, ["true"])
    queue.submit(small.voucher, ["true"])
    with open_queue(pool, tmp_path / "queue", slots=2) as fewer:
        assert fewer.turn().started == (small.digest,)
        wait_for(lambda: fewer.turn().running == 0)
        assert [job.digest for job in fewer.waiting()] == [big.digest]
    assert [outcome.hold for outcome in run_through(queue)] == [big.digest]


def test_a_job_that_is_cancelled_while_it_waits_costs_nothing(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    hold = queue.submit(pool.voucher(), leave_a_mark(mark, "ran"))
    queue.cancel(hold)
    (outcome,) = run_through(queue)
    assert (outcome.ending, outcome.captured_micro) == (Ending.CANCELLED, 0)
    assert not mark.exists()
    require_ended_once(pool, outcome, amount=10_000_000)


def test_a_shadow_charges_nothing_and_says_what_was_used(pool: RedeemingPool, tmp_path: Path) -> None:
    """Nor does the queue that comes after it, also where the shadow could not tell the ledger."""
    first, second = held(pool, {}, {})
    with open_queue(pool, tmp_path / "queue", is_shadow=True) as shadow:
        shadow.submit(first.voucher, ["sleep", "0.2"])
        (outcome,) = run_through(shadow)
        shadow.submit(second.voucher, ["sleep", "0.2"])
        shadow.turn()
    assert outcome.gpu_ms >= 200
    assert outcome.captured_micro == 0
    require_ended_once(pool, outcome, amount=10_000_000)
    with open_queue(pool, tmp_path / "queue") as charging:
        (outcome,) = run_through(charging)
        assert (outcome.hold, outcome.captured_micro) == (second.digest, 0)
        assert outcome.gpu_ms >= 200
    require_ended_once(pool, outcome, amount=10_000_000)


def test_a_busy_ledger_is_a_problem_of_this_turn_only(pool: RedeemingPool, queue: LocalQueue) -> None:
    queue.submit(pool.voucher(), ["true"])
    queue._access._sleep = lambda seconds: None
    with pool.open():
        queue.turn()
        wait_for(lambda: not queue.running())
        turn = queue.turn()
        assert turn.settled == ()
        assert any("BusyError" in problem for problem in turn.problems)
    (outcome,) = queue.turn().settled
    require_ended_once(pool, outcome, amount=10_000_000)


TEN_YEARS_MS = 10 * 366 * 86_400_000


@pytest.mark.parametrize("jump_ms", [TEN_YEARS_MS, -TEN_YEARS_MS])
def test_a_clock_that_jumps_ten_years_ends_nobodys_wait(
    pool: RedeemingPool, tmp_path: Path, jump_ms: int
) -> None:
    """H5: the ledger's witnesses know the time. Ahead, nothing starts, nothing is given up and nothing
    expires; back, what starts is charged only once the clock is right again. Each job once, at its price."""
    mark, clock = tmp_path / "mark", MovableClock()
    voucher = pool.voucher()
    with (
        Ledger.open(pool.path, clock=clock, witness_clock=pool.clock) as ledger,
        open_queue(pool, tmp_path / "queue", ledger=ledger, clock=clock) as queue,
    ):
        hold, size = queue.submit(voucher, leave_a_mark(mark, "ran", 0.1)), ledger.size
        clock.ahead_ms = jump_ms
        if jump_ms > 0:
            turns = [queue.turn()]
            assert (turns[0].started, turns[0].waiting, mark.exists()) == ((), 1, False)
        else:
            turns = [queue.turn()]
            wait_for(lambda: not queue.running())
            turns.append(queue.turn())
        for turn in turns:
            assert (turn.settled, turn.dropped, turn.expired) == ((), (), 0)
        assert ledger.size == size
        clock.ahead_ms = 0
        (outcome,) = run_through(queue)
        assert not queue.turn().has_news
    assert mark.read_text() == "ran\n"
    assert 100 <= outcome.gpu_ms < 10_000
    require_ended_once(pool, outcome, amount=10_000_000)
    assert outcome.hold == hold


def test_a_hold_that_expires_on_the_list_ends_in_the_ledger_and_leaves_it(
    tmp_path: Path,
) -> None:
    """No hold is stuck past its expiry and grace: the queue has the ledger expire it, and others' too."""
    pool = RedeemingPool.found(tmp_path)
    mine, stranger = held(pool, {}, {})
    with open_queue(pool, tmp_path / "queue") as queue:
        queue.submit(mine.voucher, leave_a_mark(tmp_path / "mark", "ran"))
        pool.clock.ahead_ms += mine.hold.expires_unix_ms - pool.clock() + 310_000
        assert queue.turn().expired == 2
        turn = queue.turn()
        assert (turn.dropped, turn.waiting) == ((mine.digest,), 0)
        outcome = queue.outcome(mine.digest)
    assert (outcome.ending, outcome.refusal, outcome.settled) == (Ending.NOT_STARTED, "HoldClosedError", True)
    assert not (tmp_path / "mark").exists()
    for each in (mine, stranger):
        assert pool.hold_state(each.digest).status == HoldStatus.EXPIRED
        assert endings(pool, each.digest) == ([], [])
    assert QUICK.poll_ms <= EXPIRE_EVERY_MS


RUNNER = """
    import os, signal, sys, time
    from creditledger.redemption.queues.local import LocalQueue
    from creditledger.redemption.queues.watch import Timing

    pool, directory, key, fatal = sys.argv[1:]

    def observe(step, hold):
        if step == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    timing = Timing(poll_ms=10, heartbeat_ms=50, grace_ms=400, margin_ms=1_000)
    queue = LocalQueue(directory, ledger=pool, key=key, policy=pool + "/policy", slots=4, timing=timing,
                       observe=observe)
    while True:
        queue.turn()
        time.sleep(0.01)
"""
FATAL = (Step.CLAIMED, Step.LAUNCHED, Step.CAPTURED, Step.SETTLED)


@pytest.mark.parametrize("fatal", FATAL)
def test_a_runner_killed_at_any_step_is_followed_by_one_that_goes_on(
    pool: RedeemingPool, tmp_path: Path, fatal: Step
) -> None:
    """H3: every job on the list runs exactly once and is charged once, whatever the step."""
    jobs, mark = held(pool, {}, {"gpus": 4}), tmp_path / "mark"
    with open_queue(pool, tmp_path / "queue") as queue:
        for number, each in enumerate(jobs):
            queue.submit(each.voucher, leave_a_mark(mark, str(number), 0.1))
    arguments = map(str, (pool.path, tmp_path / "queue", pool.path.parent / "queue.key", fatal))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(RUNNER), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    with open_queue(pool, tmp_path / "queue") as queue:
        run_through(queue)
        outcomes = [queue.outcome(each.digest) for each in jobs]
        assert not queue.turn().has_news
    assert sorted(mark.read_text().split()) == ["0", "1"]
    for outcome, each in zip(outcomes, jobs, strict=True):
        assert outcome.ending is Ending.EXITED
        assert outcome.captured_micro > 0
        require_ended_once(pool, outcome, amount=each.hold.amount_micro)


def test_two_supervisors_of_one_claim_start_one_job(
    pool: RedeemingPool, queue: LocalQueue, tmp_path: Path
) -> None:
    """A runner that comes back launches again what a killed one may have launched: one of the two begins."""
    mark = tmp_path / "mark"
    hold = queue.submit(pool.voucher(), leave_a_mark(mark, "ran", 0.3))
    launch, launched = queue._launcher.launch, []

    def launch_twice(*arguments: object, **named: object) -> "subprocess.Popen[bytes]":
        launched.append(launch(*arguments, **named))  # type: ignore[arg-type]
        return launch(*arguments, **named)  # type: ignore[arg-type]

    queue._launcher.launch = launch_twice  # type: ignore[method-assign]
    queue.turn()
    (other,) = launched
    wait_for(lambda: queue._jobs.require(hold).stage >= Stage.RUNNING)
    (outcome,) = run_through(queue)
    assert other.wait(timeout=20) == 0
    assert mark.read_text() == "ran\n"
    require_ended_once(pool, outcome, amount=10_000_000)


def test_the_log_audits_clean_after_all_of_this(pool: RedeemingPool) -> None:
    from creditledger.ledger.audit import audit

    with pool.open() as ledger:
        ledger.complete_round()
    report = audit(pool.path, now_unix_ms=pool.clock())
    assert report.ok, report.problem
    with Ledger.open(pool.path, read_only=True) as ledger:
        assert report.entries == ledger.size

"""Queue, supervisor and job are killed at every step: nothing is charged that did not run, nothing of more
than a heartbeat runs uncharged, and no hold is stuck. Threat H3."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

import doomed_supervisor
from cli_pools import environment
from creditledger.records.state import HoldStatus
from creditledger.redemption.queues import launcher
from creditledger.redemption.queues.job_outcome import JobOutcome
from creditledger.redemption.reconciler import Step
from creditledger.redemption.started_jobs import Ending
from creditledger.redemption.voucher import Voucher
from doomed_supervisor import DOOM, STEPS
from queue_parties import (
    CHILD,
    endings,
    open_queue,
    processes_of,
    require_ended_once,
    run_until_killed,
    wait_for,
)
from unit.redemption.redeeming_pool import RedeemingPool

ONCE: Final = ("", "ran\n")
"""What one job leaves at its mark; nothing if it was killed after it had opened it."""
KILLS: Final = int(os.environ.get("CREDITLEDGER_QUEUE_KILLS", "3"))
"""At random moments; the long tier sets 300."""
GRACE_MS: Final = 300_000
ENDINGS: Final = {
    "task read": Ending.NOT_STARTED,
    "begun": Ending.LOST,
    "job started": Ending.LOST,
    "job measured": Ending.LOST,
    "job ended": Ending.LOST,
    "end noted": Ending.EXITED,
}
UNMEASURED: Final = ("task read", "begun", "job started")
"""Killed before its first heartbeat was durable: what the job ran, if at all, is less than a heartbeat."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> RedeemingPool:
    """A pool whose clock no test moves: other processes join it."""
    return RedeemingPool.found(tmp_path_factory.mktemp("kills"))


@pytest.fixture
def doomed(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Supervisors launched by this process die at the step in the environment."""
    tests = str(Path(doomed_supervisor.__file__).parent)
    monkeypatch.setattr(launcher, "SUPERVISOR", "doomed_supervisor")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")]))
    return monkeypatch


def require_charged_for_what_ran(outcome: JobOutcome, mark: Path, step: str) -> None:
    has_run = mark.exists()
    assert outcome.ending is ENDINGS[step]
    assert has_run or outcome.captured_micro == 0
    assert (outcome.captured_micro > 0) == (step not in UNMEASURED)
    assert has_run or step in UNMEASURED
    assert processes_of(outcome.hold) == []


@pytest.mark.parametrize("step", STEPS)
def test_a_supervisor_killed_at_any_step_under_a_living_queue(
    pool: RedeemingPool, doomed: pytest.MonkeyPatch, tmp_path: Path, step: str
) -> None:
    doomed.setenv(DOOM, step)
    voucher, mark = pool.voucher(), tmp_path / "mark"
    with open_queue(pool, tmp_path / "queue") as queue:
        outcome = queue.run(voucher, ["sh", "-c", f"echo ran >> {mark}; sleep 0.4"])
        assert queue.running() == []
        assert queue.run(voucher, ["sh", "-c", f"echo again >> {mark}"]).ending is outcome.ending
    require_charged_for_what_ran(outcome, mark, step)
    require_ended_once(pool, outcome, amount=10_000_000)
    assert not mark.exists() or mark.read_text() in ONCE


@pytest.mark.parametrize("step", STEPS)
def test_a_supervisor_killed_at_any_step_after_its_queue(
    pool: RedeemingPool, doomed: pytest.MonkeyPatch, tmp_path: Path, step: str
) -> None:
    """The queue dies first, its supervisor then; the next queue finds out and settles."""
    doomed.setenv(DOOM, step)
    voucher, mark = pool.voucher(), tmp_path / "mark"
    killed = "import creditledger.redemption.queues.launcher as it; it.SUPERVISOR = 'doomed_supervisor'\n"
    child = killed + textwrap.dedent(CHILD).replace("not Path(mark).exists()", "False")
    (tmp_path / "voucher").write_bytes(voucher)
    paths = (pool.path, tmp_path / "queue", pool.path.parent / "queue.key", tmp_path / "voucher", mark)
    done = subprocess.run(
        [sys.executable, "-c", child, *map(str, paths), "launched", "0.4"],
        env=environment() | {DOOM: step, "PYTHONPATH": os.environ["PYTHONPATH"] + ":" + str(Path.cwd())},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    hold = Voucher.load(voucher).prove(pool.policy()).digest
    with open_queue(pool, tmp_path / "queue") as queue:
        # It may not have read its task yet: whoever decides first, the other finds it decided.
        outcome = queue.wait(hold)
        assert queue.recover() == []
    if outcome.ending is not Ending.NOT_STARTED:
        require_charged_for_what_ran(outcome, mark, step)
    else:
        assert (outcome.captured_micro, mark.exists()) == (0, False)
    require_ended_once(pool, outcome, amount=10_000_000)


def test_a_job_that_is_killed_is_charged_for_what_it_used(pool: RedeemingPool, tmp_path: Path) -> None:
    voucher = pool.voucher()
    with open_queue(pool, tmp_path / "queue") as queue:
        outcome = queue.run(voucher, ["sh", "-c", "sleep 0.2; kill -9 $$"])
    assert (outcome.ending, outcome.exit_code) == (Ending.EXITED, -signal.SIGKILL)
    assert outcome.gpu_ms >= 200
    require_ended_once(pool, outcome, amount=10_000_000)


@pytest.mark.parametrize("fatal", [Step.VERIFIED, Step.CLAIMED, Step.LAUNCHED, Step.ENDED])
def test_no_hold_outlives_its_grace_though_its_queue_never_came_back(tmp_path: Path, fatal: Step) -> None:
    """The ledger ends it: once, whole, and the queue that comes back too late charges nothing more."""
    pool = RedeemingPool.found(tmp_path)
    voucher = pool.voucher()
    run_until_killed(pool, tmp_path, voucher, fatal=fatal, job_seconds=0.1)
    hold = Voucher.load(voucher).prove(pool.policy()).digest
    expires = pool.hold_state(hold).expires_unix_ms
    for ahead_ms, status in ((-1, HoldStatus.OPEN), (GRACE_MS + 10_000, HoldStatus.EXPIRED)):
        pool.clock.ahead_ms += expires + ahead_ms - pool.clock() - 5_000 * (ahead_ms < 0)
        with pool.open() as ledger:
            ledger.expire_due()
        assert pool.hold_state(hold).status == status
    with open_queue(pool, tmp_path / "queue") as queue:
        if fatal is not Step.VERIFIED:
            outcome = queue.wait(hold)
            assert (outcome.settled, outcome.captured_micro, outcome.released_micro) == (True, 0, 0)
            assert outcome.refusal == "HoldClosedError"
        assert queue.recover() == []
    assert endings(pool, hold) == ([], [])
    balance = pool.wallet().balance()
    assert (balance.held_micro, balance.available_micro) == (0, 1_000_000_000_000)


def test_kills_at_random_moments_of_whoever_is_there(
    pool: RedeemingPool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The queue, its supervisor or the job, at any time from the first line of the queue's process on."""
    chance = random.Random(KILLS)
    came_to: Counter[str] = Counter()
    for number in range(KILLS):
        folder = tmp_path / str(number)
        folder.mkdir()
        victim = chance.choice(["queue", "supervisor", "job", "queue and supervisor"])
        outcome, has_run = kill_once(pool, folder, victim, chance)
        require_ended_once(pool, outcome, amount=10_000_000)
        assert has_run or outcome.captured_micro == 0
        assert outcome.captured_micro or not has_run or outcome.ending is Ending.LOST
        came_to[f"{victim}: {outcome.ending}, {'charged' if outcome.captured_micro else 'free'}"] += 1
    with capsys.disabled():
        print(f"\n{KILLS} kills: {dict(sorted(came_to.items()))}")


def kill_once(
    pool: RedeemingPool, folder: Path, victim: str, chance: random.Random
) -> tuple[JobOutcome, bool]:
    """One voucher at a queue of its own process; what became of it, and whether its job ran at all."""
    voucher, mark = pool.voucher(), folder / "mark"
    hold = Voucher.load(voucher).prove(pool.policy()).digest
    (folder / "voucher").write_bytes(voucher)
    paths = (pool.path, folder / "queue", pool.path.parent / "queue.key", folder / "voucher", mark)
    arguments = [*map(str, paths), "never", "0.3"]
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(CHILD), *arguments], env=environment())
    if victim == "queue":
        time.sleep(chance.uniform(0.2, 2.0))
    else:
        wait_for(lambda: bool(processes_of(hold)) or process.poll() is not None)
        time.sleep(chance.uniform(0, 0.35))
    if "queue" in victim:
        process.kill()
    if victim != "queue":
        with open_queue(pool, folder / "queue") as queue:
            rows = queue.running()
        jobs = processes_of(hold)
        doomed = jobs if victim == "job" else [row.supervisor.pid for row in rows if row.supervisor]
        for pid in doomed:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    process.wait(timeout=60)
    with open_queue(pool, folder / "queue") as queue:
        outcome = queue.run(voucher, ["sh", "-c", f"echo ran >> {mark}; sleep 0.1"])
        assert queue.running() == []
    assert not mark.exists() or mark.read_text() in ONCE
    return outcome, mark.exists()

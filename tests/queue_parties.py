"""Queues that run real jobs against a pool on disk, also in processes of their own that are killed."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import creditledger
from creditledger.ledger.ledger import Ledger
from creditledger.records.state import HoldStatus
from creditledger.records.transfer import Capture, Release
from creditledger.redemption.queues.containment import HOLD_VARIABLE
from creditledger.redemption.queues.job_outcome import JobOutcome
from creditledger.redemption.queues.local import LocalQueue
from creditledger.redemption.queues.watch import Timing
from creditledger.redemption.reconciler import Observer, Step
from unit.redemption.redeeming_pool import QUEUE, RedeemingPool

QUICK = Timing(poll_ms=10, heartbeat_ms=50, grace_ms=400, margin_ms=1_000)


def open_queue(
    pool: RedeemingPool,
    directory: Path,
    *,
    ledger: Ledger | None = None,
    clock: Callable[[], int] | None = None,
    slots: int = 4,
    hardware: str | None = None,
    is_shadow: bool = False,
    observe: Observer = lambda step, hold: None,
    monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
) -> LocalQueue:
    return LocalQueue(
        directory,
        ledger=ledger or pool.path,
        key=QUEUE,
        policy=pool.path / "policy",
        slots=slots,
        hardware=hardware,
        clock=clock or pool.clock,
        timing=QUICK,
        observe=observe,
        monotonic_ms=monotonic_ms,
        is_shadow=is_shadow,
    )


def endings(pool: RedeemingPool, hold: bytes) -> tuple[list[Capture], list[Release]]:
    """What the log says of one hold."""
    captures = [record for record in pool.records(Capture) if record.hold == hold]
    releases = [record for record in pool.records(Release) if record.hold == hold]
    return captures, releases


def require_ended_once(pool: RedeemingPool, outcome: JobOutcome, *, amount: int) -> None:
    """The hold ended exactly once, and the ledger says what the outcome says."""
    state = pool.hold_state(outcome.hold)
    captures, releases = endings(pool, outcome.hold)
    assert outcome.settled
    assert outcome.problem is None
    assert state.status == HoldStatus.RELEASED
    assert len(releases) == 1
    assert [capture.amount_micro for capture in captures] == [outcome.captured_micro][: len(captures)]
    assert len(captures) == (outcome.captured_micro > 0)
    assert state.captured_micro == outcome.captured_micro
    assert outcome.captured_micro + outcome.released_micro == amount


def wait_for(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened in time"
        time.sleep(0.01)


def processes_of(hold: bytes) -> list[int]:
    mark = f"{HOLD_VARIABLE}={hold.hex()}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if mark in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


CHILD = """
    import os, signal, sys, time
    from pathlib import Path
    from creditledger.redemption.queues.local import LocalQueue
    from creditledger.redemption.queues.watch import Timing

    pool, directory, key, voucher, mark, fatal, duration = sys.argv[1:]

    def observe(step, hold):
        if step == fatal:
            while fatal == "launched" and not Path(mark).exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)

    timing = Timing(poll_ms=10, heartbeat_ms=50, grace_ms=400, margin_ms=1_000)
    queue = LocalQueue(directory, ledger=pool, key=key, policy=pool + "/policy", slots=4, timing=timing,
                       observe=observe)
    queue.run(voucher, ["sh", "-c", f"echo ran >> {mark}; sleep {duration}"])
"""


def run_until_killed(
    pool: RedeemingPool, tmp_path: Path, voucher: bytes, *, fatal: Step, job_seconds: float
) -> Path:
    """A queue in a process of its own that is killed at ``fatal``; the file its job leaves a mark in."""
    mark, file = tmp_path / "mark", tmp_path / "voucher"
    file.write_bytes(voucher)
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(CHILD),
            *map(str, (pool.path, tmp_path / "queue", pool.path.parent / "queue.key", file, mark)),
            str(fatal),
            str(job_seconds),
        ],
        env={**os.environ, "PYTHONPATH": str(Path(creditledger.__file__).parent.parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == -signal.SIGKILL, child.stderr
    return mark

"""specs/redemption.md §6: which process is meant, what it left behind, and the task it is given."""

import os
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.errors import MalformedRecordError
from creditledger.records.transfer import Hold
from creditledger.redemption.process_identity import ProcessIdentity, descendants, processes_marked
from creditledger.redemption.queues.containment import HOLD_VARIABLE, end_marked
from creditledger.redemption.queues.supervisor import Supervision, Task
from creditledger.redemption.started_jobs import Ending, Stage, StartedJobs


def task(folder: Path) -> Task:
    return Task(
        started_set=str(folder / "started.sqlite"),
        hold="ab" * 32,
        command=("sh", "-c", "exit 3"),
        cwd=str(folder),
        env={"PATH": os.environ["PATH"], "ODD": os.fsdecode(b"\xff\xfe")},
        stdout=str(folder / "stdout"),
        stderr=str(folder / "stderr"),
        limit_ms=10_000,
        grace_ms=100,
        heartbeat_ms=20,
    )


def claimed(folder: Path) -> StartedJobs:
    jobs = StartedJobs(folder / "started.sqlite")
    hold = Hold(
        id=bytes(16),
        holder=b"\1" * 32,
        amount_micro=1,
        job=bytes(32),
        queue=b"\2" * 32,
        hardware="cpu",
        gpus=1,
        duration_ms=10_000,
        micro_per_gpu_second=1,
        expires_unix_ms=1,
    )
    jobs.claim(
        bytes.fromhex("ab" * 32), hold, slots=(0,), limit_ms=10_000, queue_process=ProcessIdentity.own()
    )
    return jobs


def test_an_identity_survives_its_text_form() -> None:
    own = ProcessIdentity.own()
    assert ProcessIdentity.parse(str(own)) == own
    assert own.is_alive()


@pytest.mark.parametrize(
    "text",
    [
        "", "boot", "boot:1", "boot:x:1", ":1:1", "boot:1:-1", "boot:1:2:3", "boot:01:1", "boot:1:\u0663",
        "boot:1:1\n", "boot:1:" + "9" * 5_000,
    ],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_what_is_no_identity_is_refused(text: str) -> None:
    with pytest.raises(MalformedRecordError):
        ProcessIdentity.parse(text)


def test_another_process_under_the_same_number_is_not_the_same() -> None:
    own = ProcessIdentity.own()
    assert not replace(own, start_ticks=own.start_ticks + 1).is_alive()
    assert not replace(own, boot="another").is_alive()


def test_a_process_that_has_ended_is_not_alive_even_before_it_is_reaped() -> None:
    child = subprocess.Popen(["sleep", "600"])
    identity = ProcessIdentity.of(child.pid)
    assert identity is not None
    assert identity.is_alive()
    assert child.pid in descendants(os.getpid())
    child.kill()
    deadline = time.monotonic() + 10
    while identity.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.wait()
    assert ProcessIdentity.of(child.pid) is None


def test_marked_processes_are_found_and_ended() -> None:
    """A job without a supervisor is found by the hold in its environment; its neighbour is left alone."""
    hold = os.urandom(32)
    child = subprocess.Popen(["sleep", "600"], env={**os.environ, HOLD_VARIABLE: hold.hex()})
    neighbour = subprocess.Popen(["sleep", "600"], env={**os.environ, HOLD_VARIABLE: os.urandom(32).hex()})
    try:
        deadline = time.monotonic() + 10
        while processes_marked(f"{HOLD_VARIABLE}={hold.hex()}".encode()) != [child.pid]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert end_marked(hold, pause=lambda: time.sleep(0.01))
        assert child.wait(timeout=10) == -9
        assert neighbour.poll() is None
    finally:
        neighbour.kill()
        neighbour.wait()


def test_a_task_survives_its_pipe(tmp_path: Path) -> None:
    assert Task.decode(task(tmp_path).encode()) == task(tmp_path)


def test_a_task_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    """A queue that dies while it writes has started nothing."""
    encoded = task(tmp_path).encode()
    for length in range(len(encoded)):
        with pytest.raises(MalformedRecordError):
            Task.decode(encoded[:length])


@pytest.mark.parametrize(
    "content", [b"[]\n", b"{}\n", b'{"command": 1}\n', b'{"command": [], "x": 1}\n', b"\xff\n"]
)
def test_what_is_no_task_is_refused(content: bytes) -> None:
    with pytest.raises(MalformedRecordError):
        Task.decode(content)


def test_a_supervisor_whose_stdin_ends_early_starts_nothing(tmp_path: Path) -> None:
    claimed(tmp_path)
    half = task(tmp_path).encode()[:-1]
    python(["-m", "creditledger.redemption.queues.supervisor"], half)
    assert not (tmp_path / "stdout").exists()
    assert StartedJobs(tmp_path / "started.sqlite").require(bytes.fromhex("ab" * 32)).stage is Stage.INTENT


def test_a_supervisor_that_comes_too_late_starts_nothing(tmp_path: Path) -> None:
    """Recovery has withdrawn the claim: the job must not run any more."""
    jobs = claimed(tmp_path)
    jobs.withdraw(bytes.fromhex("ab" * 32))
    Supervision(task(tmp_path), jobs, monotonic_ms=lambda: 0).run()
    assert not (tmp_path / "stdout").exists()
    assert jobs.require(bytes.fromhex("ab" * 32)).ending is Ending.NOT_STARTED


def test_time_is_counted_on_the_clock_that_is_given(tmp_path: Path) -> None:
    """The supervisor's clock is an argument; the wall clock plays no part in the charge."""
    jobs = claimed(tmp_path)
    program = """
        import sys
        from pathlib import Path
        from creditledger.redemption.queues.supervisor import Supervision, Task
        from creditledger.redemption.started_jobs import StartedJobs

        ticks = iter(range(1_000, 10**9, 1_234))
        task = Task.decode(sys.stdin.buffer.read())
        Supervision(task, StartedJobs(Path(task.started_set)), monotonic_ms=lambda: next(ticks)).run()
    """
    python(["-c", textwrap.dedent(program)], task(tmp_path).encode())
    job = jobs.require(bytes.fromhex("ab" * 32))
    assert (job.ending, job.exit_code) == (Ending.EXITED, 3)
    assert job.elapsed_ms > 0
    assert job.elapsed_ms % 1_234 == 0


def python(arguments: list[str], given: bytes) -> None:
    """In a process of its own, since a supervisor ends everything below it."""
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, *arguments], input=given, env=environment, check=True, timeout=60)

"""Starting a supervisor so that a queue that dies halfway has started nothing.

Source: specs/redemption.md §6."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import creditledger
from creditledger.errors import StorageError
from creditledger.redemption.queues.containment import HOLD_VARIABLE
from creditledger.redemption.queues.supervisor import Task
from creditledger.redemption.queues.watch import Timing
from creditledger.redemption.started_jobs import StartedJob

SUPERVISOR: Final = "creditledger.redemption.queues.supervisor"
SLOTS_VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
STARTED_SET: Final = "started.sqlite"


class Launcher:
    """Turns rows at INTENT into supervisors, in one queue's directory."""

    def __init__(self, directory: Path, *, timing: Timing) -> None:
        self._directory = directory
        self._timing = timing

    def output(self, hold: bytes) -> Path:
        """Where a job's ``stdout`` and ``stderr`` go."""
        return self._directory / "jobs" / hold.hex()

    def launch(
        self, job: StartedJob, command: Sequence[str], *, cwd: str, env: Mapping[str, str]
    ) -> "subprocess.Popen[bytes]":
        """Hand the job to a supervisor. Raises StorageError."""
        given = {
            SLOTS_VARIABLE: ",".join(map(str, job.slots)),
            HOLD_VARIABLE: job.digest.hex(),
        }
        task = Task(
            started_set=str(self._directory / STARTED_SET),
            hold=job.digest.hex(),
            command=tuple(command),
            cwd=cwd,
            env={**env, **given},
            stdout=str(self.output(job.digest) / "stdout"),
            stderr=str(self.output(job.digest) / "stderr"),
            limit_ms=job.limit_ms,
            grace_ms=self._timing.grace_ms,
            heartbeat_ms=self._timing.heartbeat_ms,
        )
        return launch(task, directory=self._directory)


def launch(task: Task, *, directory: Path) -> "subprocess.Popen[bytes]":
    """A supervisor in a session of its own, with its whole task. Raises StorageError.

    The task goes through a pipe that only this process holds: if we die before all of it is written, the
    supervisor reads an end of file and starts nothing."""
    output = Path(task.stdout).parent
    try:
        output.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(output / "supervisor", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", SUPERVISOR],
                cwd=directory,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        _send(process, task.encode())
    except OSError as error:
        raise StorageError(
            f"job could not be launched: {error.strerror}", found=str(output)[-100:]
        ) from error
    return process


def _send(process: "subprocess.Popen[bytes]", content: bytes) -> None:
    if process.stdin is None:
        raise AssertionError("supervisor was made without a pipe")
    with process.stdin as pipe:
        pipe.write(content)


def _environment() -> dict[str, str]:
    """This process's, with the package it runs importable: it may not be installed."""
    package = str(Path(creditledger.__file__).parent.parent)
    given = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, given] if given else [package])}

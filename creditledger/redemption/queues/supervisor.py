"""The process between a queue and one job: it outlives a killed queue, and ends the job in time.

Run as ``python -m creditledger.redemption.queues.supervisor``. It reads its task from stdin; if stdin ends
before the task is whole, the queue has died and nothing is started. Source: specs/redemption.md §6."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from creditledger.errors import BusyError, MalformedRecordError, StorageError
from creditledger.redemption.process_identity import ProcessIdentity
from creditledger.redemption.queues.containment import (
    adopt_orphans,
    die_with_parent,
    end_descendants,
    signal_group,
)
from creditledger.redemption.started_jobs import Ending, StartedJobs

TASK_BYTES_MAX: Final = 4 * 1024 * 1024
COMMAND_NOT_FOUND: Final = 127
_PAUSE_SECONDS: Final = 0.01
_END_ATTEMPTS: Final = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One job to run under one hold."""

    started_set: str
    """Path of the SQLite file."""
    hold: str
    """The hold's digest, 64 hex digits."""
    command: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    """All of the job's environment."""
    stdout: str
    stderr: str
    """Paths of files, made anew."""
    limit_ms: int
    grace_ms: int
    """From SIGTERM to SIGKILL."""
    heartbeat_ms: int

    def encode(self) -> bytes:
        """JSON, one line; paths and arguments that are not UTF-8 survive."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(fields).encode("ascii") + b"\n"

    @classmethod
    def decode(cls, encoded: bytes) -> "Task":
        """The inverse of `encode`. Raises MalformedRecordError, also for a task cut short."""
        try:
            fields: dict[str, Any] = json.loads(encoded) if encoded.endswith(b"\n") else {}
            return cls(**{**fields, "command": tuple(fields["command"])})
        except (ValueError, TypeError, KeyError):
            raise MalformedRecordError(
                "not a task, or not all of it", found=f"{len(encoded)} bytes"
            ) from None


class Supervision:
    """Runs one task and notes what becomes of it. ``monotonic_ms``: a clock that only goes forward."""

    def __init__(self, task: Task, jobs: StartedJobs, *, monotonic_ms: Callable[[], int]) -> None:
        self._task = task
        self._hold = bytes.fromhex(task.hold)
        self._jobs = jobs
        self._monotonic_ms = monotonic_ms
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask the job to end; safe to call from a signal handler."""
        self._cancelled.set()

    def run(self) -> None:
        """Begin, unless the queue has given up on it meanwhile; run to the end; note the end."""
        if not self._jobs.begin(self._hold, supervisor=ProcessIdentity.own()):
            return
        started = self._monotonic_ms()
        try:
            process = self._spawn()
        except (OSError, ValueError, subprocess.SubprocessError):
            self._note_end(Ending.NOT_STARTED, elapsed_ms=0, exit_code=COMMAND_NOT_FOUND)
            return
        ending = self._watch(process, started)
        end_descendants(pause=lambda: time.sleep(_PAUSE_SECONDS))
        self._note_end(ending, elapsed_ms=self._monotonic_ms() - started, exit_code=process.returncode)

    def _spawn(self) -> subprocess.Popen[bytes]:
        with _new_file(self._task.stdout) as stdout, _new_file(self._task.stderr) as stderr:
            return subprocess.Popen(
                self._task.command,
                cwd=self._task.cwd,
                env=dict(self._task.env),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )

    def _watch(self, process: subprocess.Popen[bytes], started: int) -> Ending:
        while True:
            elapsed = self._monotonic_ms() - started
            self._note_heartbeat(elapsed)
            if self._cancelled.is_set():
                return self._terminate(process, Ending.CANCELLED)
            remaining = self._task.limit_ms - elapsed
            if remaining <= 0:
                return self._terminate(process, Ending.OUT_OF_TIME)
            if _wait(process, min(remaining, self._task.heartbeat_ms)):
                return Ending.EXITED

    def _terminate(self, process: subprocess.Popen[bytes], ending: Ending) -> Ending:
        signal_group(process.pid, signal.SIGTERM)
        if not _wait(process, self._task.grace_ms):
            signal_group(process.pid, signal.SIGKILL)
            process.wait()
        return ending

    def _note_heartbeat(self, elapsed_ms: int) -> None:
        # A missed heartbeat only makes a lost job cheaper; it must not end a healthy one.
        with contextlib.suppress(StorageError, BusyError):
            self._jobs.heartbeat(self._hold, elapsed_ms=elapsed_ms)

    def _note_end(self, ending: Ending, *, elapsed_ms: int, exit_code: int | None) -> None:
        for attempt in range(_END_ATTEMPTS):
            try:
                self._jobs.end(self._hold, ending=ending, elapsed_ms=elapsed_ms, exit_code=exit_code)
            except (StorageError, BusyError):
                if attempt == _END_ATTEMPTS - 1:
                    raise
                time.sleep(1)
            else:
                return


def _new_file(path: str) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _wait(process: subprocess.Popen[bytes], timeout_ms: int) -> bool:
    try:
        process.wait(timeout=timeout_ms / 1000)
    except subprocess.TimeoutExpired:
        return False
    return True


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def main() -> None:
    """Read the task, then run it. A task cut short means that the queue died first: start nothing."""
    try:
        task = Task.decode(sys.stdin.buffer.read(TASK_BYTES_MAX))
    except MalformedRecordError:
        return
    adopt_orphans()
    jobs = StartedJobs(Path(task.started_set))
    supervision = Supervision(task, jobs, monotonic_ms=_monotonic_ms)
    signal.signal(signal.SIGTERM, lambda *_: supervision.cancel())
    supervision.run()


if __name__ == "__main__":
    main()

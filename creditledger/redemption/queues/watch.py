"""Seeing a started job to its end, whoever started it and whoever has died meanwhile.

Source: specs/redemption.md §6."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from creditledger.redemption.queues.containment import end_marked
from creditledger.redemption.started_jobs import Stage, StartedJob, StartedJobs

_OVERDUE_MS: Final = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How often a queue looks, and how long it waits. Milliseconds."""

    poll_ms: int = 50
    heartbeat_ms: int = 1_000
    """A lost job is charged up to its last heartbeat."""
    grace_ms: int = 5_000
    """From SIGTERM to SIGKILL; not charged."""
    margin_ms: int = 30_000
    """A job ends at least this long before its hold expires, so that its capture comes in time."""


USUAL_TIMING: Final = Timing()


class JobWatch:
    """Brings rows of a started set from INTENT and RUNNING to ENDED when that is what has happened."""

    def __init__(
        self,
        jobs: StartedJobs,
        *,
        timing: Timing,
        monotonic_ms: Callable[[], int],
        sleep: Callable[[float], None],
    ) -> None:
        self._jobs = jobs
        self._timing = timing
        self._monotonic_ms = monotonic_ms
        self._sleep = sleep

    def await_end(self, hold: bytes, *, supervisor: "subprocess.Popen[bytes] | None" = None) -> None:
        """Return when the job has ended. ``supervisor``: if this process launched it.

        Raises UnknownIdError for a hold that was never started here."""
        since: int | None = None
        while True:
            # In this order: what an exited supervisor had to say stands in the row by now.
            has_exited = supervisor is not None and supervisor.poll() is not None
            job = self._jobs.require(hold)
            if job.stage >= Stage.ENDED:
                return
            if has_exited and job.stage == Stage.INTENT:
                self._jobs.withdraw(hold)
            if job.stage == Stage.RUNNING:
                since = self._monotonic_ms() if since is None else since
                self.end_overdue(job, waited_ms=self._monotonic_ms() - since)
            self.recover(job)
            self.pause()

    def recover(self, job: StartedJob) -> None:
        """End the row if whoever was to end it is gone. Source: specs/redemption.md §6."""
        if job.stage == Stage.INTENT and not job.queue_process.is_alive():
            # One from the list begins all the same: whoever runs the list launches it again.
            if self._jobs.waiting.get(job.digest) is None:
                self._jobs.withdraw(job.digest)
        elif job.stage == Stage.RUNNING and job.supervisor is not None and not job.supervisor.is_alive():
            end_marked(job.digest, pause=self.pause)
            # Read again: the last heartbeat may be younger than the row we were given.
            self._jobs.lose(job.digest, elapsed_ms=self._jobs.require(job.digest).elapsed_ms)

    def cancel(self, hold: bytes) -> None:
        """Ask a running job's supervisor to end it. Raises UnknownIdError."""
        job = self._jobs.require(hold)
        if job.stage == Stage.RUNNING:
            _signal_supervisor(job, signal.SIGTERM)

    def pause(self) -> None:
        """Wait for one poll."""
        self._sleep(self._timing.poll_ms / 1000)

    def end_overdue(self, job: StartedJob, *, waited_ms: int) -> None:
        """End a running job that was seen running for too long.

        A job may have stopped its supervisor: then nobody else is left to end it in time."""
        if waited_ms > job.limit_ms + self._timing.grace_ms + _OVERDUE_MS:
            _signal_supervisor(job, signal.SIGKILL)
            end_marked(job.digest, pause=self.pause)
            self._jobs.lose(job.digest, elapsed_ms=job.limit_ms)


def _signal_supervisor(job: StartedJob, number: signal.Signals) -> None:
    if job.supervisor is not None and job.supervisor.is_alive():
        with suppress(ProcessLookupError):
            os.kill(job.supervisor.pid, number)

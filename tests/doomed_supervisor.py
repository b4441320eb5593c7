"""A supervisor that is killed at the step that CREDITLEDGER_DOOM names: `integration/test_queue_kills.py`."""

import os
import signal
from collections.abc import Callable
from typing import Any, Final

from creditledger.redemption.queues import supervisor
from creditledger.redemption.queues.supervisor import Supervision
from creditledger.redemption.started_jobs import StartedJobs

DOOM: Final = "CREDITLEDGER_DOOM"
STEPS: Final = ("task read", "begun", "job started", "job measured", "job ended", "end noted")
"""Between a queue's decision to start a job and its row at ENDED, in order."""
MEASURED: Final = 3
"""Heartbeats after which a job counts as measured."""


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: Any, name: str) -> None:
    setattr(owner, name, lambda *arguments, **named: _die())


def _after(owner: Any, name: str, *, calls: int = 1) -> None:
    real: Callable[..., Any] = getattr(owner, name)
    made = [0]

    def once_more(*arguments: Any, **named: Any) -> Any:
        answer = real(*arguments, **named)
        made[0] += 1
        if made[0] == calls:
            _die()
        return answer

    setattr(owner, name, once_more)


def doom(step: str) -> None:
    """Arrange the end of this process."""
    match step:
        case "task read":
            _before(StartedJobs, "begin")
        case "begun":
            _after(StartedJobs, "begin")
        case "job started":
            _after(Supervision, "_spawn")
        case "job measured":
            _after(Supervision, "_note_heartbeat", calls=MEASURED)
        case "job ended":
            _before(Supervision, "_note_end")
        case "end noted":
            _after(StartedJobs, "end")
        case _:
            raise ValueError(step)


if __name__ == "__main__":
    doom(os.environ[DOOM])
    supervisor.main()

"""What members read beside their jobs, in the admin comment: why one waits, or that it is paid.

Source: specs/redemption.md §10."""

from contextlib import suppress

from creditledger.errors import UnknownIdError
from creditledger.redemption.queues.slurm.commands import SlurmCommands
from creditledger.redemption.queues.slurm.job import MARK, PAID, PAYING, SlurmJob
from creditledger.redemption.queues.slurm.sales import Sale

_REASON_MAX = 200


def waits(reason: str) -> str:
    """On a job that cannot start yet, and why."""
    shown = "".join(c if c.isprintable() and c not in "\"'|" else " " for c in reason)
    return f"{MARK} waits: {shown[:_REASON_MAX]}"


def paying(sale: Sale) -> str:
    """On a job whose hold is placed and not proven yet: nobody may change what it asks for."""
    return f"{PAYING}{sale.digest.hex()}"


def paid(sale: Sale) -> str:
    """On a job that may start."""
    return f"{PAID}{sale.digest.hex()}"


class MarkBoard:
    """Marks to be set, each once; tasks of one array together, since a mark takes a task out of its array."""

    def __init__(self) -> None:
        self._wanted: dict[str, str] = {}

    def put(self, job: SlurmJob, mark: str) -> None:
        """Unless the job has this mark already."""
        if job.mark != mark:
            self._wanted[job.attempt.job] = mark

    def set_all(self, slurm: SlurmCommands) -> None:
        """Tell Slurm. A job that is over is left alone. Raises BusyError."""
        together: dict[tuple[str, str], list[str]] = {}
        for job, mark in self._wanted.items():
            array, _, task = job.partition("_")
            together.setdefault((array if task else job, mark), []).append(task)
        self._wanted = {}
        for (number, mark), tasks in together.items():
            name = f"{number}_[{','.join(tasks)}]" if tasks[1:] else "_".join(filter(None, (number, *tasks)))
            with suppress(UnknownIdError):
                slurm.say(name, mark)

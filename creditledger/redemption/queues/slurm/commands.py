"""The one door to Slurm's programs: bounded in time, machine formats only, typed errors.

Source: specs/redemption.md §10."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from creditledger.errors import BusyError, StorageError, UnknownIdError
from creditledger.redemption.queues.slurm.accounting import FIELDS, AccountingRow, read_rows
from creditledger.redemption.queues.slurm.job import SlurmJob, read_jobs

TIMEOUT_SECONDS: Final = 30
JOBS_EACH: Final = 500
"""How many jobs one call of ``sacct`` asks for."""
_SETTINGS: Final = {"SLURM_TIME_FORMAT": "%s", "SLURM_BITSTR_LEN": "0", "LC_ALL": "C"}
_GONE: Final = ("invalid job id", "already completing or completed", "job has already finished")


@dataclass(frozen=True, slots=True)
class Ran:
    """What a program answered."""

    exit_code: int
    out: str
    err: str


Runner = Callable[[Sequence[str], Mapping[str, str]], Ran]
"""Runs a program in an environment. Raises BusyError when it takes too long, StorageError without it."""


def run_program(words: Sequence[str], environment: Mapping[str, str]) -> Ran:
    """Run it here, for thirty seconds at most: without its controller a client of Slurm's hangs."""
    try:
        done = subprocess.run(
            list(words),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BusyError(f"{words[0]} did not answer", expected=f"in {TIMEOUT_SECONDS} s") from None
    except OSError as error:
        raise StorageError(f"{words[0]} cannot be run: {error.strerror}") from error
    return Ran(done.returncode, done.stdout, done.stderr)


class SlurmCommands:
    """What is asked of Slurm and told it. Every method raises BusyError while a daemon is away."""

    def __init__(self, *, run: Runner = run_program, environment: Mapping[str, str] | None = None) -> None:
        """``environment``: by default this process's."""
        self._run = run
        self._environment = {**(os.environ if environment is None else environment), **_SETTINGS}

    def jobs(self) -> list[SlurmJob]:
        """Every job that the controller remembers. Raises MalformedRecordError."""
        return read_jobs(self._answer("squeue", "--all", "--json"))

    def accounting(self, jobs: Sequence[str]) -> list[AccountingRow]:
        """Every attempt of these jobs, by name, since accounting began. Raises MalformedRecordError."""
        rows: list[AccountingRow] = []
        for start in range(0, len(jobs), JOBS_EACH):
            asked = ("--jobs", ",".join(jobs[start : start + JOBS_EACH]), f"--format={','.join(FIELDS)}")
            options = ("--duplicates", "--allocations", "--allusers", "--parsable2", "--noheader")
            rows += read_rows(self._answer("sacct", *options, *asked))
        return rows

    def say(self, job: str, mark: str) -> None:
        """Set a job's admin comment. Raises UnknownIdError for one that is over."""
        self._answer("scontrol", "update", f"JobId={job}", f"AdminComment={mark}")

    def hold_back(self, job: str, mark: str) -> None:
        """Hold a job so that its member cannot release it, and say why. Raises UnknownIdError."""
        self._answer("scontrol", "update", f"JobId={job}", "Priority=0", f"AdminComment={mark}")

    def release(self, job: str) -> None:
        """Let a held job start. Raises UnknownIdError."""
        self._answer("scontrol", "release", job)

    def configuration(self) -> dict[str, str]:
        """The controller's settings, by name."""
        lines = self._answer("scontrol", "show", "config").splitlines()
        pairs = (line.partition("=") for line in lines if "=" in line)
        return {name.strip(): value.strip() for name, _, value in pairs}

    def _answer(self, *words: str) -> str:
        ran = self._run(words, self._environment)
        if ran.exit_code == 0:
            return ran.out
        said = " ".join((ran.err or ran.out).split())[:200]
        if any(sign in said.lower() for sign in _GONE):
            raise UnknownIdError("Slurm does not know that job any more", found=said)
        raise BusyError(f"{words[0]} failed: {said}", expected="exit code 0", found=str(ran.exit_code))

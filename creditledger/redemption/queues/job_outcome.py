"""What became of a voucher at a queue, for whoever presented it. Source: specs/redemption.md §5."""

from dataclasses import dataclass
from pathlib import Path

from creditledger.errors import BusyError
from creditledger.redemption.started_jobs import Ending, Stage, StartedJob


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """A job that has ended."""

    hold: bytes
    """Its digest, 32 bytes."""
    exit_code: int | None
    """Minus the signal's number for a job that a signal ended; None where nobody saw the end."""
    ending: Ending
    gpu_ms: int
    """Used, also where nothing is charged for it."""
    captured_micro: int
    released_micro: int
    settled: bool
    """False while the ledger could not be told; a later `LocalQueue.recover` tells it."""
    problem: str | None
    """Why it could not be told, if it was tried."""
    refusal: str | None
    """Name of the error if the hold had ended before it could be captured or released."""
    stdout: Path
    stderr: Path


def outcome_of(job: StartedJob, *, output: Path, problem: str | None = None) -> JobOutcome:
    """The outcome of a row; ``output``: the job's directory. Raises BusyError while the job runs."""
    if job.ending is None:
        raise BusyError("job has not ended", expected="ended", found=job.stage.name.lower())
    return JobOutcome(
        hold=job.digest,
        exit_code=job.exit_code,
        ending=job.ending,
        gpu_ms=job.used_gpu_ms,
        captured_micro=job.captured_micro,
        released_micro=job.released_micro,
        settled=job.stage == Stage.SETTLED,
        problem=problem,
        refusal=job.refusal,
        stdout=output / "stdout",
        stderr=output / "stderr",
    )

"""A job as Slurm's controller shows it: what it asks for, where it stands, and our mark on it.

Source: specs/redemption.md §10."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from creditledger.errors import BusyError, MalformedRecordError

MARK: Final = "creditledger"
"""With what the admin comment of a job begins that must be paid for."""
OWN_HOLD: Final = f"{MARK} own-hold"
"""On a job that its member wants held."""
PAYING: Final = f"{MARK} paying: "
"""Before a hold's digest: from here on only an administrator changes what the job asks for."""
PAID: Final = f"{MARK} paid: "
"""Before the digest of the hold under which the job may start."""

TASKS_MAX: Final = 100_000
_OVER: Final = frozenset(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED TIMEOUT REVOKED".split()  # noqa: SIM905
)
_RANGE: Final = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of Slurm's to run one job. A requeued job's next try is another one."""

    job: str
    """As members write it: ``17``, or ``17_4`` for task 4 of an array."""
    submit_unix_s: int
    """When it was submitted or, later, requeued: job numbers come round again."""
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmJob:
    """One job, or one task of an array."""

    attempt: Attempt
    user: str
    user_id: int
    account: str
    state: str
    reason: str
    is_held: bool
    mark: str
    """The admin comment."""
    limit_minutes: int | None
    """None without a limit."""
    tres: str
    nodes: int
    is_exclusive: bool
    is_heterogeneous: bool

    @property
    def is_ours(self) -> bool:
        """Whether it must be paid for."""
        return self.mark.startswith(MARK)

    @property
    def is_pending(self) -> bool:
        """It has not started."""
        return self.state == "PENDING"

    @property
    def is_over(self) -> bool:
        """It will never run again under this attempt."""
        return self.state in _OVER

    @property
    def is_resting(self) -> bool:
        """Its member holds it back: nobody else lets it go."""
        is_members = self.mark == OWN_HOLD or self.mark.startswith(PAID)
        return self.is_held and self.reason == "JobHeldUser" and is_members


def read_jobs(text: str) -> list[SlurmJob]:
    """All jobs in the output of ``squeue --json``; an array's waiting tasks one by one.

    Raises MalformedRecordError; BusyError where squeue says that it could not find out: then it shows no jobs
    and exits with 0 all the same."""
    try:
        answer = json.loads(text)
        if answer["errors"]:
            raise BusyError("squeue cannot tell", found=str(answer["errors"])[:200])
        return [job for shown in answer["jobs"] for job in _jobs_of(shown)]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise MalformedRecordError(
            f"squeue's answer is not understood: {type(error).__name__}", found=str(error)[:100]
        ) from None


def _jobs_of(shown: Mapping[str, Any]) -> Iterator[SlurmJob]:
    number, array = _number(shown["job_id"]), _number(shown["array_job_id"])
    task, waiting = _number(shown["array_task_id"]), str(shown["array_task_string"])
    if array and task is not None:
        names = [f"{array}_{task}"]
    elif array and waiting:
        names = [f"{array}_{each}" for each in task_numbers(waiting)]
    else:
        names = [str(number)]
    for name in names:
        yield SlurmJob(
            attempt=Attempt(
                job=name,
                submit_unix_s=_number(shown["submit_time"]) or 0,
                restarts=_number(shown["restart_cnt"]) or 0,
            ),
            user=str(shown["user_name"]),
            user_id=_number(shown["user_id"]) or 0,
            account=str(shown["account"]),
            state=_word(shown["job_state"]),
            reason=_word(shown["state_reason"]),
            is_held=_number(shown["priority"]) == 0,
            mark=str(shown["admin_comment"]),
            limit_minutes=_number(shown["time_limit"]),
            tres=str(shown["tres_req_str"]),
            nodes=_number(shown["node_count"]) or 0,
            is_exclusive=_word(shown["shared"]) == "none",
            is_heterogeneous=bool(_number(shown["het_job_id"])),
        )


def task_numbers(text: str) -> list[int]:
    """The tasks that ``1-3,7,10-20:5%2`` names. Raises MalformedRecordError, also for too many."""
    found: list[int] = []
    for part in text.partition("%")[0].split(","):
        matched = _RANGE.fullmatch(part)
        if matched is None:
            raise MalformedRecordError("not a list of tasks", expected="like 1-3,7", found=ascii(text)[:60])
        first, last = int(matched[1]), int(matched[2] or matched[1])
        tasks = range(first, last + 1, int(matched[3] or 1) or 1)
        if len(found) + len(tasks) > TASKS_MAX:
            raise MalformedRecordError("too many tasks", expected=f"at most {TASKS_MAX}")
        found += tasks
    return found


def _number(value: Any) -> int | None:
    """A number, as 22.05 writes it or with what later versions say besides; None for unset."""
    if isinstance(value, Mapping):
        return None if not value["set"] or value["infinite"] else int(value["number"])
    if value is None:
        return None
    if not isinstance(value, int):
        raise TypeError(f"{value!r:.40} is no number")
    return value


def _word(value: Any) -> str:
    """A word; later versions write a list of them, the first being the state itself."""
    if isinstance(value, list):
        return str(value[0]) if value else ""
    return "" if value is None else str(value)

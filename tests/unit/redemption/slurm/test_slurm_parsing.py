"""Recorded answers of Slurm's programs, and what comes out of them."""

import json
from collections.abc import Mapping, Sequence

import pytest

from creditledger.errors import BusyError, MalformedRecordError, UnknownIdError
from creditledger.redemption.queues.slurm.accounting import read_rows
from creditledger.redemption.queues.slurm.commands import Ran, SlurmCommands
from creditledger.redemption.queues.slurm.demand import Demand, Unsold, demand_of
from creditledger.redemption.queues.slurm.job import Attempt, read_jobs, task_numbers
from creditledger.redemption.queues.slurm.settings import SlurmSettings
from creditledger.redemption.queues.slurm.tres import gpus_by_type, processors
from unit.redemption.slurm.recorded import (
    ARRAY,
    EXCLUSIVE,
    HELD,
    NO_CONTROLLER,
    REQUEUED,
    ROWS,
    TASK,
    squeue,
)

FIRST = ROWS.splitlines()[0]
SETTINGS = SlurmSettings(cluster="test", queue="00" * 32, untyped="h100")


def test_a_held_job_is_read() -> None:
    (job,) = read_jobs(squeue(HELD))
    assert job.attempt == Attempt(job="1", submit_unix_s=1795421120, restarts=0)
    assert (job.is_ours, job.is_pending, job.is_held, job.is_over, job.is_resting) == (
        True,
        True,
        True,
        False,
        False,
    )
    assert (job.user, job.account, job.limit_minutes) == ("root", "lab1", 2)


def test_a_requeued_job_is_another_attempt() -> None:
    (first,), (second,) = read_jobs(squeue(HELD)), read_jobs(squeue(REQUEUED))
    assert first.attempt != second.attempt
    assert (second.is_held, second.is_pending, second.is_resting) == (False, True, False)


def test_an_array_is_its_tasks() -> None:
    names = [job.attempt.job for job in read_jobs(squeue(ARRAY, TASK))]
    assert names == ["2_1", "2_2", "2_3", "2_2"]


@pytest.mark.parametrize("mark", ["creditledger own-hold", "creditledger paid: ab"])
def test_a_job_that_its_member_holds_is_resting(mark: str) -> None:
    (job,) = read_jobs(squeue(HELD | {"admin_comment": mark}))
    assert job.is_resting
    (ours,) = read_jobs(squeue(HELD | {"admin_comment": mark, "state_reason": "JobHeldAdmin"}))
    assert not ours.is_resting


def test_numbers_of_later_versions_are_read() -> None:
    later = {"set": True, "infinite": False, "number": 2}
    never = {"set": True, "infinite": True, "number": 0}
    (job,) = read_jobs(squeue(HELD | {"time_limit": later, "job_state": ["PENDING"], "shared": []}))
    assert (job.limit_minutes, job.is_pending) == (2, True)
    (endless,) = read_jobs(squeue(HELD | {"time_limit": never}))
    assert endless.limit_minutes is None


def test_an_answer_without_a_controller_is_no_empty_queue() -> None:
    """squeue exits with 0 and shows no jobs: taken for the truth, every hold would be given up."""
    with pytest.raises(BusyError):
        read_jobs(json.dumps(NO_CONTROLLER))
    assert read_jobs(squeue()) == []


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"errors": [], "jobs": [{}]}', squeue(HELD | {"job_id": "x"})]
)
def test_an_answer_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(MalformedRecordError):
        read_jobs(text)


def test_lists_of_tasks() -> None:
    assert task_numbers("1-3,7,10-20:5%2") == [1, 2, 3, 7, 10, 15, 20]
    for bad in ("", "1-", "a", "1,,2", "1-999999999"):
        with pytest.raises(MalformedRecordError):
            task_numbers(bad)


def test_rows_of_accounting() -> None:
    first, task, running, never = read_rows(ROWS)
    assert (first.db_index, first.has_ended, first.ending, first.elapsed_s, first.gpus) == (
        1,
        True,
        "requeued",
        3,
        2,
    )
    assert task.job == "2_2"
    assert (running.has_ended, running.end_unix_s) == (False, None)
    assert (never.ending, never.start_unix_s, never.elapsed_s, never.units) == ("cancelled", None, 0, 0)


@pytest.mark.parametrize(
    "row", ["x", ROWS.splitlines()[0] + "|", ROWS.splitlines()[0].replace("|3|", "|-3|")]
)
def test_a_row_that_is_none_is_refused(row: str) -> None:
    with pytest.raises(MalformedRecordError):
        read_rows(row)


def test_resources() -> None:
    assert gpus_by_type("cpu=1,gres/gpu=4,gres/gpu:a100=1,gres/gpu:h100=2") == {"a100": 1, "h100": 2, "": 1}
    assert gpus_by_type("cpu=8,mem=1.5G,node=1") == gpus_by_type("") == {}
    assert processors("cpu=8,node=1") == 8
    for bad in ("gres/gpu", "gres/gpu=x", "cpu=-1"):
        with pytest.raises(MalformedRecordError):
            gpus_by_type(bad)


@pytest.mark.parametrize(
    ("change", "settings", "demand"),
    [
        ({}, SETTINGS, Demand(hardware="h100", gpus=2, duration_ms=180_000)),
        ({"tres_req_str": "gres/gpu=2"}, SETTINGS, Demand(hardware="h100", gpus=2, duration_ms=180_000)),
        (
            {"tres_req_str": "gres/gpu=2"},
            SlurmSettings(cluster="test", queue="00" * 32),
            Unsold("say which type of GPU: --gres=gpu:TYPE:COUNT"),
        ),
        (
            {"tres_req_str": "gres/gpu=2,gres/gpu:a100=1,gres/gpu:h100=1"},
            SETTINGS,
            Unsold("ask for GPUs of one class"),
        ),
        (
            {"tres_req_str": "gres/gpu=2,gres/gpu:big=1,gres/gpu:h100=1"},
            SlurmSettings(cluster="test", queue="00" * 32, classes={"big": "h100"}),
            Demand(hardware="h100", gpus=2, duration_ms=180_000),
        ),
        ({"time_limit": None}, SETTINGS, Unsold("give it a time limit: --time")),
        ({"het_job_id": 9}, SETTINGS, Unsold("heterogeneous jobs have no price here")),
        ({"shared": "none"}, SETTINGS, Unsold("whole nodes have no price here: leave out --exclusive")),
        (
            {"shared": "none", "node_count": 2},
            SlurmSettings(cluster="test", queue="00" * 32, gpus_per_node=4),
            Demand(hardware="h100", gpus=8, duration_ms=180_000),
        ),
        ({"tres_req_str": "cpu=4"}, SETTINGS, Unsold("processors have no price here")),
        (
            {"tres_req_str": "cpu=4"},
            SlurmSettings(cluster="test", queue="00" * 32, processors="cpu", slack_ms=0),
            Demand(hardware="cpu", gpus=4, duration_ms=120_000),
        ),
    ],
)
def test_what_a_job_asks_to_be_sold(
    change: dict[str, object], settings: SlurmSettings, demand: Demand | Unsold
) -> None:
    (job,) = read_jobs(squeue(HELD | change))
    assert demand_of(job, settings) == demand


def test_whole_nodes_without_a_limit_wait_for_the_limit_first() -> None:
    (job,) = read_jobs(squeue(EXCLUSIVE))
    assert demand_of(job, SETTINGS) == Unsold("give it a time limit: --time")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Ran(1, "", "slurm_update error: Invalid job id specified"), UnknownIdError),
        (Ran(1, "", "Job has already finished for job 1"), UnknownIdError),
        (Ran(1, "", "slurm_update error: Unable to contact slurm controller (connect failure)"), BusyError),
        (Ran(1, "", ""), BusyError),
    ],
)
def test_errors_of_programs_are_sorted_by_what_is_done_next(answer: Ran, error: type[Exception]) -> None:
    def run(words: Sequence[str], environment: Mapping[str, str]) -> Ran:
        assert environment["SLURM_TIME_FORMAT"] == "%s"
        return answer

    with pytest.raises(error):
        SlurmCommands(run=run, environment={}).release("1")


def test_a_program_that_hangs_or_is_missing_is_told_from_one_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from creditledger.errors import StorageError
    from creditledger.redemption.queues.slurm import commands

    monkeypatch.setattr(commands, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(BusyError, match="did not answer"):
        commands.run_program(["sleep", "5"], {"PATH": "/usr/bin:/bin"})
    with pytest.raises(StorageError):
        commands.run_program(["/nowhere/sacct"], {})
    assert commands.run_program(["/bin/sh", "-c", "echo $A; exit 3"], {"A": "b"}) == Ran(3, "b\n", "")

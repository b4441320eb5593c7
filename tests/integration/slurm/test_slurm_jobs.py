"""Members type sbatch, and the real daemons do the rest."""

import shutil
from pathlib import Path

import pytest

from cli_pools import cli
from integration.slurm.slurm_cluster import eventually
from integration.slurm.slurm_pool import MICRO, SlurmPool

pytestmark = pytest.mark.slurm


def test_a_job_is_paid_for_runs_and_is_charged_what_accounting_says(pool: SlurmPool) -> None:
    """An unchanged line; what is captured is sacct's elapsed time by its GPUs, to the millisecond."""
    job = pool.cluster.sbatch("--account=lab1", "--gres=gpu:h100:2", "--time=1", script="sleep 2")
    assert pool.cluster.state(job) == "PENDING"
    before = pool.balance()
    assert pool.turn()["released"] == [str(job)]
    (held,) = pool.sales(job)
    assert held.quote.amount_micro == 2 * (60 + 60) * MICRO
    assert pool.balance()["held_micro"] == held.quote.amount_micro
    assert f"creditledger paid: {held.digest.hex()}" in pool.mark(job)
    (settled,) = pool.turn_until(job)
    ((index, state, elapsed, tres),) = pool.cluster.rows(job)
    assert (state, settled["ending"], settled["db_index"]) == ("COMPLETED", "completed", int(index))
    assert "gres/gpu:h100=2" in tres
    assert settled["gpu_ms"] == int(elapsed) * 1_000 * 2
    assert settled["captured_micro"] == int(elapsed) * 2 * MICRO
    after = pool.balance()
    assert before["available_micro"] - after["available_micro"] == settled["captured_micro"]
    assert after["held_micro"] == 0


def test_a_job_without_gpus_is_left_alone(pool: SlurmPool) -> None:
    job = pool.cluster.sbatch("--account=lab2", "--time=1", script="true")
    eventually(lambda: pool.cluster.state(job) == "COMPLETED", what="the job")
    assert pool.mark(job) == ""
    assert pool.turn()["waiting"] == []


def test_a_job_without_credits_waits_and_runs_once_they_are_granted(pool: SlurmPool) -> None:
    """It is never refused; its member reads why, and nobody has to do anything but grant."""
    job = pool.cluster.sbatch("--account=lab2", "--gpus=1", "--time=1", script="true")
    (waiting,) = pool.turn()["waiting"]
    assert waiting == {
        "job": str(job),
        "member": "root",
        "account": "lab2",
        "reason": "needs 120credits, lab2 has 0credits",
    }
    assert pool.mark(job) == "creditledger waits: needs 120credits, lab2 has 0credits"
    assert pool.cluster.state(job) == "PENDING"
    assert pool.sales(job) == []
    pool.stage.grant("lab2", "120credits")
    (settled,) = pool.turn_until(job)
    assert settled["ending"] == "completed"
    assert pool.balance("lab2")["available_micro"] == 120 * MICRO - settled["captured_micro"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--gpus=1"], "give it a time limit: --time"),
        (["--gpus=1", "--time=1", "--exclusive"], "whole nodes have no price here: leave out --exclusive"),
    ],
)
def test_what_has_no_price_waits_and_says_why(pool: SlurmPool, options: list[str], reason: str) -> None:
    job = pool.cluster.sbatch("--account=lab1", *options, script="true")
    assert [row["reason"] for row in pool.turn()["waiting"]] == [reason]
    assert pool.mark(job) == f"creditledger waits: {reason}"


def test_a_lab_that_the_pool_does_not_know_waits(pool: SlurmPool) -> None:
    pool.cluster.sbatch("--account=lab3", "--gpus=1", "--time=1", script="true")
    assert [row["reason"] for row in pool.turn()["waiting"]] == ["the pool has no account lab3"]


def test_a_requeued_job_is_sold_and_settled_once_for_each_attempt(pool: SlurmPool) -> None:
    """Two accounting rows, two holds, two settlements; the second attempt does not start unpaid."""
    job = pool.cluster.sbatch("--account=lab1", "--gres=gpu:h100:1", "--time=1", script="sleep 3")
    before = pool.balance()["available_micro"]
    pool.turn()
    eventually(lambda: pool.cluster.state(job) == "RUNNING", what="the first attempt")
    pool.cluster.command("scontrol", "requeue", str(job))
    eventually(lambda: pool.cluster.state(job) == "PENDING", what="its requeueing")
    pool.turn()
    assert len({sale.id for sale in pool.sales(job)}) == 2
    pool.cluster.command("scontrol", "update", f"JobId={job}", "StartTime=now")
    settled = pool.turns_until(lambda: len(pool.settled(job)) == 2, job)
    rows = {int(index): (state, int(elapsed)) for index, state, elapsed, _ in pool.cluster.rows(job)}
    assert {row["db_index"]: row["ending"].upper() for row in settled} == {
        index: state for index, (state, _) in rows.items()
    }
    assert sorted(state for state, _ in rows.values()) == ["COMPLETED", "REQUEUED"]
    assert [row["gpu_ms"] for row in settled] == [rows[row["db_index"]][1] * 1_000 for row in settled]
    spent = sum(elapsed for _, elapsed in rows.values()) * MICRO
    assert before - pool.balance()["available_micro"] == spent


def test_ten_more_turns_change_nothing(pool: SlurmPool) -> None:
    """Neither with a job that waits, nor with one that runs, nor once all is settled."""
    ended = pool.cluster.sbatch("--account=lab1", "--gpus=1", "--time=1", script="true")
    pool.turn_until(ended)
    running = pool.cluster.sbatch("--account=lab1", "--gpus=1", "--time=1", script="sleep 100")
    waiting = pool.cluster.sbatch("--account=lab3", "--gpus=1", "--time=1")
    pool.turn()
    eventually(lambda: pool.cluster.state(running) == "RUNNING", what="the job")
    before = pool.balance(), [pool.sales(job) for job in (ended, running, waiting)], pool.log_size()
    turns = [pool.turn() for _ in range(10)]
    assert all(turn == turns[0] for turn in turns)
    assert (turns[0]["released"], turns[0]["settled"], turns[0]["open"]) == ([], [], 1)
    after = pool.balance(), [pool.sales(job) for job in (ended, running, waiting)], pool.log_size()
    assert after == before


def test_a_job_cancelled_before_its_turn_costs_nothing(pool: SlurmPool) -> None:
    """It was paid for and waited for GPUs: its hold is released without waiting for accounting."""
    first = pool.cluster.sbatch("--account=lab1", "--gpus=4", "--time=1", script="sleep 60")
    pool.turn()
    eventually(lambda: pool.cluster.state(first) == "RUNNING", what="the first job")
    job = pool.cluster.sbatch("--account=lab1", "--gpus=1", "--time=1", script="true")
    pool.turn()
    assert (pool.sales(job)[0].stage.name, pool.cluster.state(job)) == ("RUNNING", "PENDING")
    pool.cluster.command("scancel", str(job))
    eventually(lambda: pool.cluster.state(job) == "CANCELLED", what="the cancellation")
    (settled,) = pool.turn()["settled"]
    assert (settled["job"], settled["ending"], settled["captured_micro"]) == (str(job), "not-started", 0)
    assert settled["released_micro"] == 120 * MICRO


def test_a_job_cancelled_while_it_waits_for_credits_leaves_nothing_behind(pool: SlurmPool) -> None:
    job = pool.cluster.sbatch("--account=lab3", "--gpus=1", "--time=1")
    pool.turn()
    pool.cluster.command("scancel", str(job))
    assert pool.turn()["waiting"] == []
    assert pool.sales(job) == []


@pytest.mark.parametrize(
    ("how", "state"),
    [("cancel", "cancelled"), ("kill", "failed"), ("node", "node_fail")],
)
def test_a_job_that_ends_badly_is_charged_for_the_time_it_ran(pool: SlurmPool, how: str, state: str) -> None:
    """Cancelled, its processes killed, its node lost: actual seconds, and the rest comes back."""
    script = "exec sleep 97" if how == "kill" else "sleep 60"
    job = pool.cluster.sbatch("--account=lab1", "--gpus=2", "--time=2", "--no-requeue", script=script)
    pool.turn()
    eventually(lambda: pool.cluster.state(job) == "RUNNING", what="the job")
    eventually(lambda: pool.cluster.elapsed(job) >= 2, what="two seconds of work")
    if how == "cancel":
        pool.cluster.command("scancel", str(job))
    elif how == "kill":
        eventually(lambda: bool(pool.cluster.processes("sleep 97")), what="its process")
        pool.cluster.command("kill", "-9", *pool.cluster.processes("sleep 97"))
    else:
        pool.cluster.node("DOWN")
    try:
        (settled,) = pool.turn_until(job)
    finally:
        if how == "node":
            pool.cluster.node("RESUME")
    ((index, _, elapsed, _),) = pool.cluster.rows(job)
    assert (settled["ending"], settled["db_index"]) == (state, int(index))
    assert int(elapsed) >= 2
    assert settled["gpu_ms"] == int(elapsed) * 2_000
    assert settled["released_micro"] == 2 * 180 * MICRO - settled["captured_micro"]


def test_a_job_that_runs_out_of_time_is_charged_for_all_of_it(pool: SlurmPool) -> None:
    """Slurm ends it some seconds late: the slack that was held covers them."""
    job = pool.cluster.sbatch("--account=lab1", "--gpus=1", "--time=1", script="sleep 200")
    pool.turn()
    (settled,) = pool.turn_until(job, seconds=110)
    ((_, state, elapsed, _),) = pool.cluster.rows(job)
    assert (settled["ending"], state) == ("timeout", "TIMEOUT")
    assert int(elapsed) >= 60
    assert settled["gpu_ms"] == int(elapsed) * 1_000


def test_accounting_that_is_late_is_waited_for(
    pool: SlurmPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hold stays as it is until the row appears, however many turns that takes."""
    late = tmp_path / "sacct"
    late.write_text(f'#!/bin/sh\n[ -e {tmp_path}/now ] && exec {shutil.which("sacct")} "$@"\nexit 0\n')
    late.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin:/usr/sbin:/sbin")
    job = pool.cluster.sbatch("--account=lab1", "--gpus=1", "--time=1", script="sleep 1")
    pool.turn()
    eventually(lambda: pool.cluster.state(job) == "COMPLETED", what="the job")
    for _ in range(3):
        turn = pool.turn()
        assert (turn["settled"], turn["open"]) == ([], 1)
    assert pool.balance()["held_micro"] == 120 * MICRO
    (tmp_path / "now").touch()
    (settled,) = pool.turn_until(job)
    assert settled["gpu_ms"] == pool.cluster.elapsed_row(job) * 1_000


def test_each_task_of_an_array_is_paid_for_by_itself(pool: SlurmPool) -> None:
    """Where credits suffice for two of three, two run and the third waits."""
    pool.leave("lab2", 2 * 120 * MICRO)
    job = pool.cluster.sbatch("--account=lab2", "--gpus=1", "--time=1", "--array=1-3%2", script="true")
    turn = pool.turn()
    assert sorted(turn["released"]) == [f"{job}_1", f"{job}_2"]
    assert [row["job"] for row in turn["waiting"]] == [f"{job}_3"]
    assert pool.mark(f"{job}_3").startswith("creditledger waits: needs 120credits, lab2 has 0credits")
    settled = pool.turn_until(f"{job}_1", f"{job}_2", f"{job}_3")  # what the first two gave back pays for it
    assert {row["ending"] for row in settled} == {"completed"}
    assert len({row["db_index"] for row in settled}) == 3


def test_members_cannot_let_an_unpaid_job_go_or_change_a_paid_one(pool: SlurmPool) -> None:
    """Not by release, not by size; cancelling and holding stay theirs."""
    member = pool.cluster.as_member
    job = member("sbatch", "--parsable", "-A", "lab3", "--gpus=1", "--time=1", "-o/dev/null", "--wrap=true")
    refused = member("scontrol", "release", job, check=False)
    assert "error" in refused
    assert pool.cluster.job(job)["Priority"] == "0"
    assert "slurm_update error" not in member(
        "scontrol", "update", f"JobId={job}", "TimeLimit=1", check=False
    )
    first = pool.cluster.sbatch("--account=lab1", "--gpus=4", "--time=1", script="sleep 60")
    pool.turn()
    eventually(lambda: pool.cluster.state(first) == "RUNNING", what="the first job")
    paid = member("sbatch", "--parsable", "-A", "lab1", "--gpus=1", "--time=2", "-o/dev/null", "--wrap=true")
    pool.turn()
    assert pool.mark(paid).startswith("creditledger paid")
    for change in ("TimeLimit=1", "NumNodes=2", "Account=lab2", "Gres=gpu:2"):
        assert "error" in member("scontrol", "update", f"JobId={paid}", change, check=False).lower(), change
    shown = pool.cluster.job(paid)
    assert (shown["TimeLimit"], shown["Account"], shown["NumNodes"]) == ("00:02:00", "lab1", "1")
    member("scontrol", "hold", paid)
    assert pool.turn()["released"] == []
    assert pool.cluster.job(paid)["Priority"] == "0"
    member("scontrol", "release", paid)
    assert pool.cluster.job(paid)["Priority"] != "0"
    member("scancel", paid, job)


def test_an_unpaid_job_does_not_start_whoever_lets_it_go(pool: SlurmPool) -> None:
    """The prolog sends it back, and the reconciler holds it: 0 seconds run, nothing charged."""
    job = pool.cluster.sbatch("--account=lab3", "--gpus=1", "--time=1", script="true")
    pool.cluster.command("scontrol", "release", str(job))
    eventually(lambda: pool.cluster.job(job).get("Restarts") == "1", what="the refusal")
    assert str(job) in [row["job"] for row in pool.turn()["waiting"]]
    assert (pool.cluster.job(job)["Priority"], pool.cluster.job(job)["Reason"]) == ("0", "JobHeldAdmin")
    assert pool.sales(job) == []


def test_a_job_that_its_member_holds_is_not_let_go(pool: SlurmPool) -> None:
    job = pool.cluster.sbatch("--account=lab1", "--gpus=1", "--time=1", "--hold", script="true")
    assert pool.turn()["released"] == []
    assert pool.sales(job) == []
    pool.cluster.command("scontrol", "release", str(job))
    eventually(lambda: pool.cluster.job(job).get("Restarts") == "1", what="the prolog's refusal")
    pool.turn()
    assert len(pool.sales(job)) == 1


def test_a_job_beyond_the_labs_cap_waits(pool: SlurmPool) -> None:
    """What the queue may hold for the lab is capped, whatever the lab has; a higher cap lets it go on."""
    pool.delegate("lab1", cap="1credits")
    job = pool.cluster.sbatch("--account=lab1", "--gpus=1", "--time=1", script="true")
    try:
        (waiting,) = pool.turn()["waiting"]
        assert waiting["reason"].startswith("needs 120credits, the cap of lab1 leaves 0credits")
        assert "the cap of lab1" in pool.mark(job)
    finally:
        pool.delegate("lab1")
    (settled,) = pool.turn_until(job)
    assert settled["ending"] == "completed"


def test_a_job_beyond_the_labs_budget_waits(pool: SlurmPool) -> None:
    pool.budget("lab1", "1credits")
    job = pool.cluster.sbatch("--account=lab1", "--gpus=1", "--time=1", script="true")
    try:
        (waiting,) = pool.turn()["waiting"]
        assert waiting["reason"].startswith("needs 120credits, the budget of lab1 leaves ")
    finally:
        pool.budget("lab1", str(2**63 - 1))
    (settled,) = pool.turn_until(job)
    assert settled["ending"] == "completed"


def test_a_shadow_charges_nothing_and_says_what_it_would_have(pool: SlurmPool) -> None:
    """The jobs are let go at once; the usage report of the shadow has what sacct says."""
    before = pool.balance(), pool.log_size()
    job = pool.cluster.sbatch("--account=lab3", "--gres=gpu:h100:2", "--time=1", script="sleep 2")
    assert pool.turn("--shadow")["released"] == [str(job)]
    eventually(lambda: pool.cluster.state(job) == "COMPLETED", what="the job")
    eventually(lambda: bool(pool.turn("--shadow")["settled"]), what="its accounting")
    (sale,) = pool.sales(job, shadow=True)
    assert sale.gpu_ms == pool.cluster.elapsed_row(job) * 2_000
    assert sale.captured_micro == sale.gpu_ms * 1_000
    (row,) = [row for row in pool.usage("--shadow") if row["account"] == "lab3"]
    assert (row["member"], row["class"], row["gpu_ms"]) == ("root", "h100", sale.gpu_ms)
    assert (pool.balance(), pool.log_size()) == before
    assert pool.sales(job) == []


def test_a_shadow_installation_holds_nothing_back(pool: SlurmPool) -> None:
    try:
        assert not any(line.startswith("Prolog") for line in pool.install("--shadow")["slurm_conf"])
        job = pool.cluster.sbatch("--account=lab3", "--gpus=1", "--time=1", script="true")
        assert (pool.mark(job), pool.cluster.job(job)["Priority"] == "0") == ("creditledger", False)
    finally:
        pool.install()


def test_the_usage_report_is_what_members_were_charged(pool: SlurmPool) -> None:
    job = pool.cluster.sbatch("--account=lab1", "--gres=gpu:h100:1", "--time=1", script="sleep 1")
    pool.turn_until(job)
    (row,) = [row for row in pool.usage() if row["account"] == "lab1"]
    charged = [sale for sale in pool.all_sales() if sale.account == "lab1" and sale.db_index is not None]
    assert row["attempts"] == len(charged)
    assert row["gpu_ms"] == sum(sale.gpu_ms for sale in charged)
    assert row["captured_micro"] == sum(sale.captured_micro for sale in charged)
    said = cli("report", "usage", pool.stage.pool, "--directory", pool.directory, "--csv", "--by", "account")
    head, *lines = said.out.splitlines()
    assert head == "month,account,member,class,attempts,gpu_ms,gpu_hours,captured_micro"
    assert f",{row['gpu_ms']},{row['gpu_hours']},{row['captured_micro']}" in "".join(lines)
    assert pool.usage("--month", "2001-01") == []

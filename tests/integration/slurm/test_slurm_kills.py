"""The reconciler dies at every moment that leaves a trace. Afterwards what ran is paid for, and once."""

import signal
import subprocess
import sys

import pytest

from cli_pools import environment
from integration.slurm.slurm_cluster import eventually
from integration.slurm.slurm_pool import MICRO, SlurmPool

pytestmark = pytest.mark.slurm

MOMENTS = (
    "noted placed held certified decided admitted released marked measured captured settled".split()  # noqa: SIM905
)
LATER = ("measured", "captured", "settled")
"""These come once the job has ended."""


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_reconciler_neither_charges_for_nothing_nor_runs_for_nothing(
    pool: SlurmPool, moment: str
) -> None:
    """Killed at the moment, then started again: the job runs once and is charged once, to the second."""
    before = pool.balance()["available_micro"]
    job = pool.cluster.sbatch("--account=lab1", "--gres=gpu:h100:1", "--time=1", script="sleep 1")
    words = [sys.executable, "-m", "integration.slurm.slurm_killed", moment]
    killed = subprocess.run(
        [*words, str(pool.stage.pool), str(pool.directory)],
        env=environment_of(pool),
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    if moment not in LATER and moment not in ("released", "marked"):
        assert pool.cluster.state(job) == "PENDING"  # nothing starts before it is let go
    pool.turns_until(lambda: len(pool.settled(job)) == 1, job)
    (row,) = pool.cluster.rows(job)
    (sale,) = pool.sales(job)
    assert (row[1], sale.ending, sale.db_index) == ("COMPLETED", "completed", int(row[0]))
    assert sale.captured_micro == int(row[2]) * MICRO
    after = pool.balance()
    assert before - after["available_micro"] == sale.captured_micro
    assert after["held_micro"] == 0


@pytest.mark.parametrize("moment", ["noted", "placed", "held", "decided", "admitted"])
def test_a_job_cancelled_while_the_reconciler_was_dead_costs_nothing(pool: SlurmPool, moment: str) -> None:
    """Its hold, if there is one, is found and released."""
    before = pool.balance()["available_micro"]
    job = pool.cluster.sbatch("--account=lab1", "--gres=gpu:h100:1", "--time=1", script="sleep 1")
    words = [sys.executable, "-m", "integration.slurm.slurm_killed", moment]
    subprocess.run(
        [*words, str(pool.stage.pool), str(pool.directory)],
        env=environment_of(pool),
        capture_output=True,
        timeout=30,
        check=False,
    )
    pool.cluster.command("scancel", str(job))
    eventually(lambda: pool.cluster.state(job) == "CANCELLED", what="the cancellation")
    pool.turns_until(lambda: len(pool.settled(job)) == 1, job)
    (sale,) = pool.sales(job)
    assert (sale.ending, sale.captured_micro) == ("not-started", 0)
    after = pool.balance()
    assert (after["available_micro"], after["held_micro"]) == (before, 0)


def test_the_reconciler_runs_until_it_is_interrupted_and_alone(pool: SlurmPool) -> None:
    """A loop in a process of its own; the epilog's doorbell wakes it long before its interval is over."""
    running = pool.process("--interval", "3600", "--json")
    try:
        eventually(lambda: (pool.directory / "lock").exists(), what="its lock")
        job = pool.cluster.sbatch("--account=lab1", "--gres=gpu:h100:1", "--time=1", script="sleep 1")
        (pool.directory / "doorbell").touch()
        eventually(lambda: pool.cluster.state(job) == "COMPLETED", what="the job")
        again = pool.process("--once", "--json")
        said, _ = again.communicate(timeout=30)
        assert (again.returncode, b"another process runs this queue" in said) == (3, True)
    finally:
        running.send_signal(signal.SIGINT)
        _, problems = running.communicate(timeout=30)
    assert (running.returncode, problems) == (0, b"")
    pool.turns_until(lambda: len(pool.settled(job)) == 1, job)


def environment_of(pool: SlurmPool) -> dict[str, str]:
    """Of a process that finds the package, these tests and the cluster."""
    found = {**environment(), **pool.cluster.environment}
    tests = str(pool.tests)
    return {**found, "PYTHONPATH": f"{found['PYTHONPATH']}:{tests}"}

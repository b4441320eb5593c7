"""The controller is killed. Last of all: it loses jobs, and gives their numbers to others."""

import signal

import pytest

from cli_pools import ask, cli
from integration.slurm.slurm_pool import MICRO, SlurmPool

pytestmark = pytest.mark.slurm


def test_killing_the_controller_neither_charges_nor_runs_twice(pool: SlurmPool) -> None:
    """It may have forgotten that a job was let go, or all of a job: then that one's hold comes back."""
    first = pool.cluster.sbatch("--account=lab1", "--gpus=4", "--time=1", script="sleep 5")
    second = pool.cluster.sbatch("--account=lab1", "--gpus=1", "--time=1", script="sleep 1")
    pool.turn()
    pool.cluster.end("slurmctld", how=signal.SIGKILL)
    try:
        said = cli(
            "queue", "run", pool.stage.pool, "slurm", "--once", "--directory", pool.directory, "--json"
        )
        assert (said.code, said.answer["error"]) == (3, "BusyError")
        assert all(sale.stage.name == "RUNNING" for job in (first, second) for sale in pool.sales(job))
    finally:
        pool.cluster.start_controller()
    pool.turns_until(lambda: pool.is_done(first) and pool.is_done(second), seconds=60)
    for job in (first, second):
        (sale,) = pool.sales(job)
        elapsed = sum(int(row[2]) for row in pool.cluster.rows(job))
        assert sale.captured_micro == elapsed * sale.quote.gpus * MICRO


def test_the_ledger_still_audits(pool: SlurmPool) -> None:
    """After everything above."""
    ask("checkpoint", pool.stage.pool)
    assert ask("audit", pool.stage.pool)["ok"] is True

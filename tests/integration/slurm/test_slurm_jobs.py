"""Members type sbatch, and the real daemons do the rest."""

import pytest

from integration.slurm.slurm_pool import MICRO, SlurmPool

pytestmark = pytest.mark.slurm


def test_a_job_is_paid_for_runs_and_is_charged_what_accounting_says(pool: SlurmPool) -> None:
    """An unchanged line; what is captured is sacct's elapsed time by its GPUs, to the millisecond."""
    job = pool.cluster.sbatch("--account=lab1", "--gres=gpu:h100:2", "--time=1", script="sleep 2")
    assert pool.cluster.state(job) == "PENDING"
    before = pool.balance()
    first = pool.turn()
    assert first["released"] == [str(job)]
    (held,) = pool.sales(job)
    assert held.quote.amount_micro == 2 * (60 + 60) * MICRO
    assert pool.balance()["held_micro"] == held.quote.amount_micro
    assert pool.cluster.job(job)["AdminComment"].startswith("creditledger")
    (settled,) = pool.turn_until(job)
    ((index, state, elapsed, tres),) = pool.cluster.rows(job)
    assert (state, settled["ending"], settled["db_index"]) == ("COMPLETED", "completed", int(index))
    assert "gres/gpu:h100=2" in tres
    assert settled["gpu_ms"] == int(elapsed) * 1_000 * 2
    assert settled["captured_micro"] == int(elapsed) * 2 * MICRO
    after = pool.balance()
    assert before["available_micro"] - after["available_micro"] == settled["captured_micro"]
    assert after["held_micro"] == 0

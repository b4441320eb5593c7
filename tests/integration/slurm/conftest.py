"""One cluster and one pool for all tests of this folder: each test leaves the node idle."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from integration.slurm.slurm_cluster import SlurmCluster, eventually, is_installed
from integration.slurm.slurm_pool import SlurmPool


@pytest.fixture(scope="session")
def slurm_pool(request: pytest.FixtureRequest) -> Iterator[SlurmPool]:
    """Daemons, ledger and queue; skipped where nobody asks for them, and where Slurm is not installed."""
    if "slurm" not in request.config.getoption("markexpr"):
        pytest.skip("the slurm tests take minutes and run where they are asked for: pytest -m slurm")
    if not is_installed():
        pytest.skip("slurm is not installed: slurm-wlm munge slurmdbd slurm-wlm-mysql-plugin mariadb-server")
    with TemporaryDirectory(prefix="creditledger-slurm-") as made, pytest.MonkeyPatch.context() as patch:
        folder = Path(made)
        folder.chmod(0o755)  # munge and MariaDB look into it as other users
        (folder / "pool").mkdir()
        hooks = folder / "pool" / "slurm queue"
        cluster = SlurmCluster(
            folder / "cluster",
            extra=(
                "JobSubmitPlugins=lua",
                f"PrologSlurmctld={folder}/prolog",
                f"EpilogSlurmctld={folder}/epilog",
            ),
        )
        (folder / "prolog").symlink_to(hooks / "prolog_gate.sh")
        (folder / "epilog").symlink_to(hooks / "epilog_doorbell.sh")
        patch.setenv("SLURM_CONF", str(folder / "cluster" / "slurm.conf"))
        pool = SlurmPool.found(folder / "pool", cluster)
        try:
            cluster.start()
            yield pool
        finally:
            cluster.stop()


@pytest.fixture
def pool(slurm_pool: SlurmPool) -> Iterator[SlurmPool]:
    """The pool, with lab1 in funds, nothing in the queue before, and nothing afterwards."""
    missing = 100_000_000_000 - slurm_pool.balance()["available_micro"]
    if missing > 0:
        slurm_pool.stage.grant("lab1", str(missing))
    slurm_pool.turns.clear()
    yield slurm_pool
    for member in ("root", "nobody"):
        slurm_pool.cluster.command("scancel", "--user", member, check=False)
    eventually(slurm_pool.cluster.is_idle, what="an idle node")
    slurm_pool.settle_all()

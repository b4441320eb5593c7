"""A pool beside a real cluster: labs with credits, the installed queue, and its reconciler."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli_pools import Stage, ask, environment
from creditledger.redemption.queues.slurm.sales import Sale, Sales
from integration.slurm.slurm_cluster import CLUSTER, SlurmCluster, eventually

MICRO = 1_000_000
H100_MICRO_PER_SECOND = MICRO


@dataclass(slots=True)
class SlurmPool:
    """What tests do to the ledger and to the queue; what members do they do to `cluster`."""

    stage: Stage
    cluster: SlurmCluster
    turns: list[dict[str, Any]] = field(default_factory=list)

    @property
    def directory(self) -> Path:
        return self.stage.folder / "slurm queue"

    @classmethod
    def found(cls, folder: Path, cluster: SlurmCluster) -> "SlurmPool":
        """A ledger with the accounts of the cluster's labs, and the queue installed."""
        pool = cls(Stage(folder), cluster)
        for lab in cluster.accounts:
            pool.stage.add(lab, "client")
        shutil.copy(pool.stage / "gpu.key", pool.stage.pool / "keys" / "gpu.key")
        pool.directory.mkdir()
        shutil.copy(pool.stage / "lab1.key", pool.directory / "spender.key")
        return pool

    def install(self, *more: object) -> dict[str, Any]:
        """Write the scripts, and put the one in Lua where the controller looks for it."""
        where = ("--queue", "gpu", "--cluster", CLUSTER, "--directory", self.directory, "--untyped", "h100")
        made = ask("queue", "install", self.stage.pool, "slurm", *where, *more)
        shutil.copy(self.directory / "job_submit.lua", self.cluster.folder / "job_submit.lua")
        return made

    def turn(self, *more: object) -> dict[str, Any]:
        """One turn of the reconciler, in this process."""
        answer = ask("queue", "run", self.stage.pool, "slurm", "--once", "--directory", self.directory, *more)
        self.turns.append(answer)
        return answer

    def turn_until(self, *jobs: int | str, seconds: float = 40.0) -> list[dict[str, Any]]:
        """Turns until these jobs have settled; what was said of them, one for each attempt."""
        found: list[dict[str, Any]] = []

        def has_all() -> bool:
            found.extend(row for row in self.turn()["settled"] if row["job"] in {str(job) for job in jobs})
            return {row["job"] for row in found} == {str(job) for job in jobs}

        eventually(has_all, seconds=seconds, what=f"the settlement of {jobs}")
        return found

    def process(self, *more: object, driver: str = "-m creditledger") -> "subprocess.Popen[bytes]":
        """The reconciler in a process of its own."""
        words = ("queue", "run", self.stage.pool, "slurm", "--directory", self.directory, *more)
        return subprocess.Popen(
            [sys.executable, *driver.split(), *map(str, words)],
            env={**environment(), **self.cluster.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def sales(self, job: int | str, *, shadow: bool = False) -> list[Sale]:
        """What the book says of a job, attempt by attempt."""
        book = Sales(self.directory / ("shadow.sqlite" if shadow else "sales.sqlite"), cluster=CLUSTER)
        try:
            return [sale for sale in book.all() if sale.attempt.job == str(job)]
        finally:
            book.close()

    def settle_all(self) -> None:
        """Turns until nothing is open."""
        eventually(lambda: self.turn()["open"] == 0, what="a queue with nothing open")

    def balance(self, name: str = "lab1") -> dict[str, Any]:
        return self.stage.balance(name)

    def statement(self, name: str = "lab1") -> list[dict[str, Any]]:
        from cli_pools import cli

        said = cli("statement", self.stage.pool, name, "--json")
        return [json.loads(line) for line in said.out.splitlines()]

"""A pool beside a real cluster: labs with credits, the installed queue, and its reconciler."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli_pools import Stage, ask, cli, environment
from creditledger.redemption.queues.slurm.sales import Sale, Sales
from creditledger.redemption.started_jobs import Stage as SaleStage
from integration.slurm.slurm_cluster import CLUSTER, SlurmCluster, eventually

MICRO = 1_000_000
H100_MICRO_PER_SECOND = MICRO


@dataclass(slots=True)
class SlurmPool:
    """What tests do to the ledger and to the queue; what members do they do to `cluster`."""

    stage: Stage
    cluster: SlurmCluster
    turns: list[dict[str, Any]] = field(default_factory=list)
    spender: str = ""
    installed: int = 0
    delegations: int = 0

    @property
    def tests(self) -> Path:
        """The folder of all tests."""
        return Path(__file__).parents[2]

    @property
    def directory(self) -> Path:
        return self.stage.folder / "slurm queue"

    @classmethod
    def found(cls, folder: Path, cluster: SlurmCluster) -> "SlurmPool":
        """A ledger with the accounts of the cluster's labs, and the queue installed."""
        pool = cls(Stage(folder), cluster)
        for lab in ("lab1", "lab2"):
            pool.stage.add(lab, "client")
        shutil.copy(pool.stage / "gpu.key", pool.stage.pool / "keys" / "gpu.key")
        made = pool.install()
        for lab in ("lab1", "lab2"):
            pool.delegate(lab, made["delegate"])
        return pool

    def delegate(self, lab: str, key: str | None = None, *, cap: str = "1000000credits") -> None:
        """A lab lets the queue spend; by default the key that it let spend before."""
        self.spender = key or self.spender
        self.delegations += 1
        until = 4_000_000_000_000 + self.delegations  # another time: not the delegation before, said again
        where = ("--queue", "gpu", "--key", self.stage / f"{lab}.key")
        ask("delegate", self.stage.pool, self.spender, "--cap", cap, "--until", until, *where)

    def budget(self, lab: str, limit: str) -> None:
        """A lab's budget for today."""
        key = self.stage / f"{lab}.key"
        ask("budget", self.stage.pool, "--limit", limit, "--days", 1, "--key", key)

    def install(self, *more: object) -> dict[str, Any]:
        """Write the scripts, and put the one in Lua where the controller looks for it."""
        where = ("--queue", "gpu", "--cluster", CLUSTER, "--directory", self.directory, "--untyped", "h100")
        made = ask("queue", "install", self.stage.pool, "slurm", *where, *more)
        self.cluster.folder.mkdir(exist_ok=True)
        script = self.cluster.folder / "job_submit.lua"
        shutil.copy(self.directory / "job_submit.lua", script)
        self.installed += 1
        # The controller reads it again once it is of another second.
        os.utime(script, (0, 1_700_000_000 + self.installed))
        return made

    def turn(self, *more: object) -> dict[str, Any]:
        """One turn of the reconciler, in this process."""
        answer = ask("queue", "run", self.stage.pool, "slurm", "--once", "--directory", self.directory, *more)
        self.turns.append(answer)
        return answer

    def turn_until(self, *jobs: int | str, seconds: float = 40.0) -> list[dict[str, Any]]:
        """Turns until these jobs have settled; what was said of them, one for each attempt."""
        names = {str(job) for job in jobs}
        self.turns_until(lambda: names <= {row["job"] for row in self.rows_of(jobs)}, *jobs, seconds=seconds)
        return self.rows_of(jobs)

    def turns_until(
        self, found: Callable[[], bool], *jobs: int | str, seconds: float = 40.0
    ) -> list[dict[str, Any]]:
        """Turns until ``found`` says yes; what was said when these jobs settled, in all turns so far."""

        def once() -> bool:
            self.turn()
            return found()

        eventually(once, seconds=seconds, what=f"the settlement of {jobs}")
        return self.rows_of(jobs)

    def rows_of(self, jobs: Sequence[int | str]) -> list[dict[str, Any]]:
        """What was said when these jobs settled."""
        names = {str(job) for job in jobs}
        return [row for turn in self.turns for row in turn["settled"] if row["job"] in names]

    def settled(self, job: int | str) -> list[Sale]:
        """Its attempts that were charged."""
        return [sale for sale in self.sales(job) if sale.stage is SaleStage.SETTLED]

    def is_done(self, job: int | str) -> bool:
        """Whether Slurm is through with the job, or has lost it, and nothing of it is open here."""
        is_over = self.cluster.state(job) in ("COMPLETED", "")
        return is_over and len(self.settled(job)) == len(self.sales(job))

    def mark(self, job: int | str) -> str:
        """Its admin comment, as its member reads it."""
        said = self.cluster.command("scontrol", "--oneliner", "show", "job", str(job))
        found = re.search(r" AdminComment=(.*?) [A-Z][A-Za-z/]*=", said.splitlines()[0])
        return found[1].strip() if found else ""

    def leave(self, name: str, amount: int) -> None:
        """Bring an account's credits to an amount."""
        has = self.balance(name)["available_micro"]
        if has < amount:
            self.stage.grant(name, str(amount - has))
        elif has > amount:
            ask("transfer", self.stage.pool, "bob", has - amount, "--key", self.stage / f"{name}.key")

    def log_size(self) -> int:
        """How many entries the log has."""
        size: int = ask("status", self.stage.pool)["size"]
        return size

    def usage(self, *more: object) -> list[dict[str, Any]]:
        """What `report usage` says."""
        said = cli("report", "usage", self.stage.pool, "--directory", self.directory, "--json", *more)
        return [json.loads(line) for line in said.out.splitlines()]

    def process(self, *more: object, driver: str = "-m creditledger") -> "subprocess.Popen[bytes]":
        """The reconciler in a process of its own."""
        words = ("queue", "run", self.stage.pool, "slurm", "--directory", self.directory, *more)
        return subprocess.Popen(
            [sys.executable, *driver.split(), *map(str, words)],
            env={**environment(), **self.cluster.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A test that runs in the background has children that ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def sales(self, job: int | str, *, shadow: bool = False) -> list[Sale]:
        """What the book says of a job, attempt by attempt."""
        return [sale for sale in self.all_sales(shadow=shadow) if sale.attempt.job == str(job)]

    def all_sales(self, *, shadow: bool = False) -> list[Sale]:
        """What the book says."""
        book = Sales(self.directory / ("shadow.sqlite" if shadow else "sales.sqlite"), cluster=CLUSTER)
        try:
            return book.all()
        finally:
            book.close()

    def settle_all(self) -> None:
        """Turns until nothing is open."""
        eventually(lambda: self.turn()["open"] == 0, what="a queue with nothing open")

    def balance(self, name: str = "lab1") -> dict[str, Any]:
        return self.stage.balance(name)

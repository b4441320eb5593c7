"""A reconciler before a Slurm that says what a test writes down, and payments out of a purse."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from creditledger.errors import CreditLedgerError
from creditledger.records.transfer import Quote
from creditledger.redemption.queues.slurm.commands import Ran, SlurmCommands
from creditledger.redemption.queues.slurm.demand import Demand, Unsold
from creditledger.redemption.queues.slurm.gate import Gate
from creditledger.redemption.queues.slurm.payments import Placed
from creditledger.redemption.queues.slurm.reconciler import SlurmReconciler
from creditledger.redemption.queues.slurm.sales import Sale, Sales
from creditledger.redemption.queues.slurm.settings import SlurmSettings
from creditledger.redemption.started_jobs import Stage
from unit.redemption.slurm.recorded import squeue

START_MS = 1_795_421_120_000


@dataclass
class Purse:
    """Payments that are a list: what a ledger does is tried with real ones."""

    is_shadow: bool = False
    is_empty: bool = False
    is_certified: bool = True
    over: set[bytes] = field(default_factory=set)
    placed: dict[bytes, str] = field(default_factory=dict)
    settled: list[tuple[str, str | None, int]] = field(default_factory=list)

    def quote(self, demand: Demand) -> Quote | Unsold:
        return Quote(
            queue=bytes(32),
            hardware=demand.hardware,
            gpus=demand.gpus,
            duration_ms=demand.duration_ms,
            micro_per_gpu_second=1_000,
            amount_micro=demand.gpus * demand.duration_ms,
            parameters=bytes(32),
            expires_unix_ms=START_MS + 600_000,
        )

    def shortfall(self, account: str, quote: Quote) -> str | None:
        return "the purse is empty" if self.is_empty else None

    def place(self, account: str, quote: Quote, id: bytes) -> Placed:
        self.placed[id] = account
        return Placed(hashlib.sha256(id).digest(), None)

    def find(self, account: str, id: bytes) -> Placed | None:
        return Placed(hashlib.sha256(id).digest(), None) if id in self.placed else None

    def certify(self) -> None:
        pass

    def is_proven(self, hold: bytes) -> bool:
        return self.is_certified

    def is_over(self, hold: bytes) -> bool:
        return hold in self.over

    def settle(self, sales: Sales) -> dict[bytes, CreditLedgerError]:
        for sale in sales.unsettled():
            if sale.stage >= Stage.ENDED:
                self.settled.append((sale.attempt.job, sale.ending, sale.gpu_ms))
                sales.captured(sale.digest, amount_micro=sale.gpu_ms, refusal=None)
                sales.settled(sale.digest, released_micro=0, refusal=None)
        return {}


@dataclass
class Desk:
    """What Slurm shows is `shown` and `rows`; what it was told is in `told`."""

    folder: Path
    shown: list[dict[str, Any]] = field(default_factory=list)
    rows: str = ""
    told: list[tuple[str, ...]] = field(default_factory=list)
    purse: Purse = field(default_factory=Purse)
    now: int = START_MS

    def __post_init__(self) -> None:
        for name in ("paid", "started"):
            (self.folder / name).mkdir()
        self.sales = Sales(self.folder / "sales.sqlite", cluster="test")
        self.gate = Gate(self.folder)
        self.settings = SlurmSettings(cluster="test", queue="00" * 32, untyped="h100")
        self.reconciler = SlurmReconciler(
            slurm=SlurmCommands(run=self.run, environment={}),
            sales=self.sales,
            gate=self.gate,
            payments=self.purse,
            settings=self.settings,
            clock=lambda: self.now,
        )

    def run(self, words: Sequence[str], environment: Mapping[str, str]) -> Ran:
        if words[0] == "squeue":
            return Ran(0, squeue(*self.shown), "")
        if words[0] == "sacct":
            return Ran(0, self.rows, "")
        self.told.append(tuple(words[1:]))
        self._obey(words[1:])
        return Ran(0, "", "")

    def _obey(self, words: Sequence[str]) -> None:
        if words[0] == "release":
            self.change(words[1], priority=1_000, state_reason="None")
            return
        for change in words[2:]:
            name, _, value = change.partition("=")
            if name == "AdminComment":
                self.change(words[1].removeprefix("JobId="), admin_comment=value)
            if name == "Priority":
                self.change(words[1].removeprefix("JobId="), priority=0, state_reason="JobHeldAdmin")

    def change(self, job: str, **changes: object) -> None:
        """What Slurm shows of a job from now on."""
        for shown in self.shown:
            if str(shown["job_id"]) == job:
                shown.update(json.loads(json.dumps(changes)))

    def sale(self, number: int = -1) -> Sale:
        """One of all sales, by default the last."""
        return self.sales.all()[number]

    def start(self, name: str = "1.0.0") -> None:
        """The prolog lets an attempt through."""
        (self.folder / "paid" / name).replace(self.folder / "started" / name)

"""Every hold that was ever asked for an attempt, and what became of it: the queue's own durable record.

The decision that an attempt may run and the intent to charge for it are one change of one row.
Source: specs/redemption.md §10."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from creditledger.errors import UnknownIdError
from creditledger.records.transfer import Hold, Quote, decode_hold
from creditledger.redemption.notebook import Notebook
from creditledger.redemption.queues.slurm.accounting import AccountingRow
from creditledger.redemption.queues.slurm.demand import Demand
from creditledger.redemption.queues.slurm.job import Attempt, SlurmJob
from creditledger.redemption.started_jobs import Ending, Stage

_SCHEMA_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sales (
    id BLOB PRIMARY KEY CHECK (length(id) = 16),
    cluster TEXT NOT NULL,
    job TEXT NOT NULL,
    submit_unix_s INTEGER NOT NULL,
    restarts INTEGER NOT NULL,
    number INTEGER NOT NULL,
    user TEXT NOT NULL,
    user_id INTEGER NOT NULL,
    account TEXT NOT NULL,
    quote BLOB NOT NULL,
    latest_start_unix_ms INTEGER NOT NULL,
    state INTEGER NOT NULL,
    hold BLOB UNIQUE CHECK (length(hold) = 32),
    record BLOB,
    db_index INTEGER,
    end_unix_s INTEGER,
    elapsed_ms INTEGER NOT NULL DEFAULT 0,
    units INTEGER NOT NULL DEFAULT 0,
    ending TEXT,
    captured_micro INTEGER NOT NULL DEFAULT 0,
    released_micro INTEGER NOT NULL DEFAULT 0,
    refusal TEXT,
    UNIQUE (cluster, job, submit_unix_s, restarts, number),
    UNIQUE (cluster, db_index)
) STRICT, WITHOUT ROWID
"""
_INDEX: Final = "CREATE INDEX IF NOT EXISTS sales_by_state ON sales (state)"
_COLUMNS: Final = (
    "id, cluster, job, submit_unix_s, restarts, number, user, user_id, account, quote, "
    "latest_start_unix_ms, state, hold, record, db_index, end_unix_s, elapsed_ms, units, ending, "
    "captured_micro, released_micro, refusal"
)
_ATTEMPT: Final = "cluster = ? AND job = ? AND submit_unix_s = ? AND restarts = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """One row: one hold for one attempt. Its stages are those of `Stage`, RUNNING being "it may run"."""

    id: bytes
    """Of the hold, 16 bytes."""
    cluster: str
    attempt: Attempt
    number: int
    """The how-manieth hold asked for this attempt, from 0 on."""
    user: str
    user_id: int
    account: str
    """As Slurm calls it."""
    quote: Quote
    latest_start_unix_ms: int
    stage: Stage
    digest: bytes
    """The hold's, 32 bytes; empty while it is not known to be logged."""
    record: Hold | None
    db_index: int | None
    """Of the accounting row that it was measured by."""
    end_unix_s: int | None
    elapsed_ms: int
    units: int
    """GPUs that it was given."""
    ending: str | None
    captured_micro: int
    released_micro: int
    refusal: str | None

    @property
    def hold(self) -> Hold:
        """The record. Raises UnknownIdError before it is logged."""
        if self.record is None:
            raise UnknownIdError("no hold is logged for this attempt", found=self.attempt.job)
        return self.record

    @property
    def gpu_ms(self) -> int:
        """GPU-milliseconds used: never more than were held."""
        return min(self.elapsed_ms * self.units, self.quote.duration_ms * self.quote.gpus)

    def fits(self, demand: object) -> bool:
        """Whether it was made for just this demand."""
        quote = self.quote
        return demand == Demand(hardware=quote.hardware, gpus=quote.gpus, duration_ms=quote.duration_ms)


class Sales:
    """Rows in one SQLite file. Every change is durable on return and names the stage it comes from."""

    def __init__(self, path: Path, *, cluster: str) -> None:
        """``cluster``: whose jobs are sold. Raises StorageError, BusyError, IntegrityError."""
        self._cluster = cluster
        schema = (_SCHEMA, _INDEX)
        self._notebook = Notebook(path, what="book of sales", schema=schema, version=_SCHEMA_VERSION)

    def close(self) -> None:
        """Let go of the file. The rows stay."""
        self._notebook.close()

    def open(self) -> list[Sale]:
        """Those of attempts that may still run or run now, oldest first."""
        return self._select("WHERE state < ? ORDER BY submit_unix_s, id", int(Stage.ENDED))

    def unsettled(self) -> list[Sale]:
        """All whose hold has not ended in the ledger yet."""
        return self._select("WHERE state < ? AND hold IS NOT NULL ORDER BY id", int(Stage.SETTLED))

    def measured(self) -> list[Sale]:
        """All that were measured by an accounting row, in the order of their ends."""
        return self._select("WHERE db_index IS NOT NULL ORDER BY end_unix_s, id")

    def all(self) -> list[Sale]:
        """Every row, attempt by attempt."""
        return self._select("ORDER BY submit_unix_s, job, restarts, number")

    def of(self, attempt: Attempt) -> list[Sale]:
        """All of one attempt, in their order."""
        return self._select(f"WHERE {_ATTEMPT} ORDER BY number", *self._key(attempt))

    def require(self, hold: bytes) -> Sale:
        """The row of this hold. Raises UnknownIdError."""
        found = self._select("WHERE hold = ?", hold)
        if not found:
            raise UnknownIdError("this queue never asked for that hold", found=hold.hex())
        return found[0]

    def is_measured(self, row: AccountingRow) -> bool:
        """Whether an attempt was measured by this row already."""
        return bool(self._select("WHERE cluster = ? AND db_index = ?", row.cluster, row.db_index))

    def note(self, job: SlurmJob, quote: Quote, *, latest_start_unix_ms: int) -> Sale:
        """Before a hold is asked for: all that its record follows from, so that a repeat is the same."""
        number = len(self.of(job.attempt))
        key = (*self._key(job.attempt), number)
        given = (job.user, job.user_id, job.account, quote.encode(), latest_start_unix_ms, int(Stage.INTENT))
        with self._notebook.write() as write:
            write.execute(
                "INSERT INTO sales (id, cluster, job, submit_unix_s, restarts, number, user, user_id, "
                "account, quote, latest_start_unix_ms, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (sale_id(*key), *key, *given),
            )
        return self.of(job.attempt)[-1]

    def placed(self, sale: Sale, *, digest: bytes, record: Hold | None) -> Sale:
        """The hold is in the log."""
        encoded = None if record is None else record.encode()
        self._change(sale, Stage.INTENT, Stage.INTENT, hold=digest, record=encoded)
        return self._again(sale)

    def refused(self, sale: Sale, *, refusal: str) -> None:
        """From INTENT to SETTLED: there is no such hold, and never will be."""
        ending = str(Ending.NOT_STARTED)
        self._change(sale, Stage.INTENT, Stage.SETTLED, ending=ending, refusal=refusal)

    def let_run(self, sale: Sale) -> bool:
        """From INTENT to RUNNING: it may run, and what it uses will be charged."""
        return self._change(sale, Stage.INTENT, Stage.RUNNING)

    def withdraw(self, sale: Sale) -> bool:
        """From INTENT or RUNNING to ENDED: it never started, and cannot any more."""
        return self._change(sale, sale.stage, Stage.ENDED, ending=str(Ending.NOT_STARTED))

    def end(self, sale: Sale, row: AccountingRow) -> bool:
        """From RUNNING to ENDED: measured by an accounting row."""
        return self._change(
            sale,
            Stage.RUNNING,
            Stage.ENDED,
            db_index=row.db_index,
            end_unix_s=row.end_unix_s,
            elapsed_ms=row.elapsed_s * 1_000,
            units=row.units,
            ending=row.ending,
        )

    def lose(self, sale: Sale) -> bool:
        """From RUNNING to ENDED: accounting never told, and the hold's time is over."""
        return self._change(sale, Stage.RUNNING, Stage.ENDED, ending=str(Ending.LOST))

    def captured(self, hold: bytes, *, amount_micro: int, refusal: str | None) -> bool:
        """From ENDED to CAPTURED."""
        changes = {"captured_micro": amount_micro, "refusal": refusal}
        return self._change(self.require(hold), Stage.ENDED, Stage.CAPTURED, **changes)

    def settled(self, hold: bytes, *, released_micro: int, refusal: str | None) -> bool:
        """From CAPTURED to SETTLED."""
        changes = {"released_micro": released_micro, "refusal": refusal}
        return self._change(self.require(hold), Stage.CAPTURED, Stage.SETTLED, **changes)

    def _again(self, sale: Sale) -> Sale:
        return self._select("WHERE id = ?", sale.id)[0]

    def _key(self, attempt: Attempt) -> tuple[str, str, int, int]:
        return self._cluster, attempt.job, attempt.submit_unix_s, attempt.restarts

    def _change(self, sale: Sale, old: Stage, new: Stage, **changes: bytes | int | str | None) -> bool:
        names = "".join(f", {name} = ?" for name in changes)
        with self._notebook.write() as write:
            changed = write.execute(
                f"UPDATE sales SET state = ?{names} WHERE id = ? AND state = ?",
                (int(new), *changes.values(), sale.id, int(old)),
            ).rowcount
        return changed == 1

    def _select(self, where: str, *values: bytes | int | str) -> list[Sale]:
        return [_sale(row) for row in self._notebook.select(f"SELECT {_COLUMNS} FROM sales {where}", *values)]


def sale_id(cluster: str, job: str, submit_unix_s: int, restarts: int, number: int) -> bytes:
    """The id of the hold: the same for the same attempt and number, whoever asks and however often."""
    text = "\0".join((cluster, job, str(submit_unix_s), str(restarts), str(number)))
    return hashlib.sha256(b"creditledger/v1/hold-of-slurm-attempt\0" + text.encode()).digest()[:16]


def _sale(row: Sequence[Any]) -> Sale:
    return Sale(
        id=row[0],
        cluster=row[1],
        attempt=Attempt(job=row[2], submit_unix_s=row[3], restarts=row[4]),
        number=row[5],
        user=row[6],
        user_id=row[7],
        account=row[8],
        quote=Quote.decode(row[9]),
        latest_start_unix_ms=row[10],
        stage=Stage(row[11]),
        digest=row[12] or b"",
        record=None if row[13] is None else decode_hold(row[13]),
        db_index=row[14],
        end_unix_s=row[15],
        elapsed_ms=row[16],
        units=row[17],
        ending=row[18],
        captured_micro=row[19],
        released_micro=row[20],
        refusal=row[21],
    )

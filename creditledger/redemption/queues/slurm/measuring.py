"""What became of attempts: those that will never start, and what the others used.

Source: specs/redemption.md §10."""

from collections.abc import Mapping, Sequence

from creditledger.errors import UnknownIdError
from creditledger.ledger.clock import Clock
from creditledger.redemption.queues.slurm.accounting import AccountingRow
from creditledger.redemption.queues.slurm.commands import SlurmCommands
from creditledger.redemption.queues.slurm.gate import Gate
from creditledger.redemption.queues.slurm.job import Attempt, SlurmJob
from creditledger.redemption.queues.slurm.marks import waits
from creditledger.redemption.queues.slurm.payments import Payments
from creditledger.redemption.queues.slurm.sales import Sale, Sales
from creditledger.redemption.queues.slurm.settings import SlurmSettings
from creditledger.redemption.started_jobs import Stage


class Measuring:
    """Ends sales: with nothing used where the gate says so, else as accounting says, however late."""

    def __init__(
        self,
        *,
        slurm: SlurmCommands,
        sales: Sales,
        gate: Gate,
        payments: Payments,
        settings: SlurmSettings,
        clock: Clock,
    ) -> None:
        """As `SlurmReconciler` has them."""
        self._slurm = slurm
        self._sales = sales
        self._gate = gate
        self._payments = payments
        self._settings = settings
        self._clock = clock

    def drop_idle(self, look: Mapping[Attempt, SlurmJob]) -> None:
        """Give up holds of attempts that are gone, and of those that have waited too long for their turn."""
        for sale in self._sales.open():
            job = look.get(sale.attempt)
            is_late = self._clock() >= sale.latest_start_unix_ms
            if sale.stage == Stage.INTENT:
                is_lost = job is None or not (job.is_pending or self._payments.is_shadow)
                if is_lost or is_late:
                    self.drop(sale)
            elif is_late and job is not None and job.is_pending:
                self._take_back(sale, job)

    def drop(self, sale: Sale) -> None:
        """Give up a hold whose attempt was never let run."""
        if not sale.digest:
            found = self._payments.find(sale.account, sale.id)
            if found is None:
                self._sales.refused(sale, refusal="NotPlaced")
                return
            sale = self._sales.placed(sale, digest=found.digest, record=found.record)
        self._sales.withdraw(sale)

    def measure(self, look: Mapping[Attempt, SlurmJob]) -> list[Sale]:
        """End what has ended; those that it ended."""
        gone = [sale for sale in self._sales.open() if self._is_gone(sale, look.get(sale.attempt))]
        rows = self._slurm.accounting(sorted({sale.attempt.job for sale in gone})) if gone else []
        return [sale for sale in gone if self._end(sale, rows)]

    def _is_gone(self, sale: Sale, job: SlurmJob | None) -> bool:
        return sale.stage == Stage.RUNNING and (job is None or job.is_over)

    def _end(self, sale: Sale, rows: Sequence[AccountingRow]) -> bool:
        row = self._row_of(sale, rows)
        if row is not None and not row.has_ended:
            return False
        if not self._gate.has_started(sale.attempt, sale.user_id, hold=sale.digest):
            # Where it ran with its marker in place, the prolog was not asked: somebody took it out.
            ran = row is not None and row.elapsed_s > 0
            if not ran or not self._gate.take_as_started(sale.attempt, sale.user_id):
                return self._never_started(sale)
        if row is not None:
            return self._sales.end(sale, row)
        return self._is_beyond(sale) and self._sales.lose(sale)

    def _row_of(self, sale: Sale, rows: Sequence[AccountingRow]) -> AccountingRow | None:
        found = [
            row
            for row in rows
            if row.cluster == sale.cluster
            and (row.job, row.submit_unix_s) == (sale.attempt.job, sale.attempt.submit_unix_s)
            and not self._sales.is_measured(row)
        ]
        return min(found, key=lambda row: row.db_index, default=None)

    def _never_started(self, sale: Sale) -> bool:
        """The gate decides: once the marker is gone, nothing starts under it any more."""
        is_withdrawn = self._gate.withdraw(sale.attempt, sale.user_id, hold=sale.digest)
        return is_withdrawn and self._sales.withdraw(sale)

    def _take_back(self, sale: Sale, job: SlurmJob) -> None:
        if not self._gate.withdraw(sale.attempt, sale.user_id, hold=sale.digest):
            return
        self._sales.withdraw(sale)
        try:
            self._slurm.hold_back(job.attempt.job, waits("it has waited longer than it was paid for"))
        except UnknownIdError:
            return

    def _is_beyond(self, sale: Sale) -> bool:
        """Whether the hold ended by itself before accounting said a word."""
        return self._clock() >= self._last_moment(sale) and self._payments.is_over(sale.digest)

    def _last_moment(self, sale: Sale) -> int:
        return sale.latest_start_unix_ms + sale.quote.duration_ms + self._settings.settle_within_ms

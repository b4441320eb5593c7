"""Brings three books together, turn by turn: what Slurm runs, what was sold, and what the ledger says.

Source: specs/redemption.md §10."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from creditledger.errors import CreditLedgerError, RefusedError, UnknownIdError, VerificationError
from creditledger.ledger.clock import Clock
from creditledger.records.transfer import Quote
from creditledger.redemption.queues.slurm.commands import SlurmCommands
from creditledger.redemption.queues.slurm.demand import Unsold, demand_of
from creditledger.redemption.queues.slurm.gate import Gate
from creditledger.redemption.queues.slurm.job import PAID, Attempt, SlurmJob
from creditledger.redemption.queues.slurm.marks import MarkBoard, paid, paying, waits
from creditledger.redemption.queues.slurm.measuring import Measuring
from creditledger.redemption.queues.slurm.payments import Payments
from creditledger.redemption.queues.slurm.sales import Sale, Sales
from creditledger.redemption.queues.slurm.settings import SlurmSettings
from creditledger.redemption.started_jobs import Stage

HOLDS_EACH_TURN: Final = 200
"""So that one array of many tasks does not keep everybody else waiting."""

Look = Mapping[Attempt, SlurmJob]
"""The jobs that must be paid for, as the controller showed them once."""


class Moment(StrEnum):
    """When something has just become durable: in the book, in the ledger, at the gate, or in Slurm."""

    NOTED = "noted"
    PLACED = "placed"
    HELD = "held"
    CERTIFIED = "certified"
    DECIDED = "decided"
    ADMITTED = "admitted"
    RELEASED = "released"
    MARKED = "marked"
    MEASURED = "measured"


Watcher = Callable[[str, str], None]
"""Told each `Moment`, and each `Step` of a settlement, with what it is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job that cannot start yet."""

    job: str
    user: str
    account: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one look at everything came to."""

    waiting: tuple[Waiting, ...]
    released: tuple[str, ...]
    """Jobs that were let go in this turn."""
    open: int
    """Attempts that are paid for and not measured yet."""
    settled: tuple[Sale, ...]
    """Whose hold ended in this turn."""
    problems: tuple[str, ...]
    """What could not be told the ledger: it is tried again."""


class SlurmReconciler:
    """One queue's loop. Every turn may be cut off anywhere and repeated any number of times."""

    def __init__(
        self,
        *,
        slurm: SlurmCommands,
        sales: Sales,
        gate: Gate,
        payments: Payments,
        settings: SlurmSettings,
        clock: Clock,
        watch: Watcher = lambda moment, job: None,
    ) -> None:
        """``clock``: Unix milliseconds, for prices and for how long a paid job may still wait."""
        self._slurm = slurm
        self._sales = sales
        self._gate = gate
        self._payments = payments
        self._settings = settings
        self._clock = clock
        self._watch = watch
        self._measuring = Measuring(
            slurm=slurm, sales=sales, gate=gate, payments=payments, settings=settings, clock=clock
        )
        self._board = MarkBoard()
        self._waiting: dict[str, Waiting] = {}
        self._released: list[str] = []

    def turn(self) -> Turn:
        """Look at everything once and do what is due.

        Raises BusyError while Slurm or the ledger is away: what was done until then stands."""
        self._waiting, self._released = {}, []
        look = self._look()
        self._measuring.drop_idle(look)
        self._attend(look)
        self._board.set_all(self._slurm)
        if any(sale.digest and sale.stage == Stage.INTENT for sale in self._sales.open()):
            self._payments.certify()
            self._watch(Moment.CERTIFIED, "")
        if self._sales.open():
            look = self._look()
            self._decide(look)
            self._let_go(look)
            self._board.set_all(self._slurm)
            self._watch(Moment.MARKED, "")
            for sale in self._measuring.measure(look):
                self._watch(Moment.MEASURED, sale.attempt.job)
        return self._settle()

    def _look(self) -> Look:
        return {job.attempt: job for job in self._slurm.jobs() if job.is_ours}

    def _attend(self, look: Look) -> None:
        """Hold back what is not paid for, and ask for a hold for each attempt that waits for one."""
        placed = 0
        for job in sorted(look.values(), key=lambda job: job.attempt.submit_unix_s):
            if placed >= HOLDS_EACH_TURN:
                break
            sale = self._open_sale(job.attempt)
            if self._is_to_attend(job, sale):
                placed += self._attend_to(job, sale)

    def _is_to_attend(self, job: SlurmJob, sale: Sale | None) -> bool:
        if sale is not None and sale.stage >= Stage.RUNNING:
            return False
        if self._payments.is_shadow and not job.is_pending:
            return not self._sales.of(job.attempt)  # it started before anybody looked
        return job.is_pending and not job.is_resting

    def _attend_to(self, job: SlurmJob, sale: Sale | None) -> bool:
        """Whether a hold was asked for."""
        if not job.is_held and not self._payments.is_shadow and not self._hold_back(job):
            return False
        demand = demand_of(job, self._settings)
        quote = demand if isinstance(demand, Unsold) else self._payments.quote(demand)
        if sale is not None and not sale.fits(demand):
            self._measuring.drop(sale)
            sale = None
        if sale is None:
            if isinstance(quote, Unsold):
                self._wait(job, quote.reason)
                return False
            missing = self._payments.shortfall(job.account, quote)
            if missing is not None:
                self._wait(job, missing)
                return False
            sale = self._note(job, quote)
        return bool(sale.digest) or self._place(job, sale)

    def _hold_back(self, job: SlurmJob) -> bool:
        try:
            self._slurm.hold_back(job.attempt.job, waits("its price is looked up"))
        except UnknownIdError:
            return False
        return True

    def _wait(self, job: SlurmJob, reason: str) -> None:
        self._waiting[job.attempt.job] = _waiting(job, reason)
        self._board.put(job, waits(reason))

    def _note(self, job: SlurmJob, quote: Quote) -> Sale:
        latest = quote.expires_unix_ms + self._settings.start_within_ms
        sale = self._sales.note(job, quote, latest_start_unix_ms=latest)
        self._watch(Moment.NOTED, job.attempt.job)
        return sale

    def _place(self, job: SlurmJob, sale: Sale) -> bool:
        try:
            found = self._payments.place(sale.account, sale.quote, sale.id)
        except RefusedError as error:
            self._sales.refused(sale, refusal=type(error).__name__)
            self._wait(job, str(error))
            return False
        self._watch(Moment.PLACED, job.attempt.job)
        sale = self._sales.placed(sale, digest=found.digest, record=found.record)
        self._watch(Moment.HELD, job.attempt.job)
        if not self._payments.is_shadow:
            self._board.put(job, paying(sale))
        return True

    def _decide(self, look: Look) -> None:
        """What is proven, and still asks for what was held, may run."""
        for sale in self._sales.open():
            job = look.get(sale.attempt)
            if sale.stage != Stage.INTENT or not sale.digest or job is None:
                continue
            if not self._payments.is_shadow and not self._is_settled_on(job, sale):
                continue
            if self._is_proven(job, sale) and self._sales.let_run(sale):
                self._watch(Moment.DECIDED, sale.attempt.job)

    def _is_proven(self, job: SlurmJob, sale: Sale) -> bool:
        reason = "its hold is not certified yet"
        try:
            if self._payments.is_proven(sale.digest):
                return True
        except (RefusedError, VerificationError) as error:
            reason = f"its hold is not good: {error}"
        self._waiting[sale.attempt.job] = _waiting(job, reason)  # and its mark stays: it says more
        return False

    def _is_settled_on(self, job: SlurmJob, sale: Sale) -> bool:
        """Whether the job waits, held, for just what was paid for, and its member cannot change that."""
        if not job.is_pending or not job.is_held or job.is_resting:
            return False
        if job.mark != paying(sale):
            self._board.put(job, paying(sale))
            return False
        return sale.fits(demand_of(job, self._settings))

    def _let_go(self, look: Look) -> None:
        """Carry out what was decided, now or in a turn that was cut off."""
        for sale in self._sales.open():
            job = look.get(sale.attempt)
            if sale.stage != Stage.RUNNING or job is None:
                continue
            if not job.is_pending and not self._payments.is_shadow:
                continue
            if self._gate.has_started(sale.attempt, sale.user_id, hold=sale.digest):
                continue
            self._gate.admit(
                sale.attempt, sale.user_id, hold=sale.digest, latest_unix_ms=sale.latest_start_unix_ms
            )
            self._watch(Moment.ADMITTED, sale.attempt.job)
            if not job.is_pending:
                continue  # a shadow found it so: accounting says whether it ran
            if job.is_held and not job.mark.startswith(PAID):
                self._release(job)
            if not job.is_resting:
                self._board.put(job, paid(sale))

    def _release(self, job: SlurmJob) -> None:
        try:
            self._slurm.release(job.attempt.job)
        except UnknownIdError:
            return
        self._released.append(job.attempt.job)
        self._watch(Moment.RELEASED, job.attempt.job)

    def _settle(self) -> Turn:
        due = [sale for sale in self._sales.unsettled() if sale.stage >= Stage.ENDED]
        errors: Mapping[bytes, CreditLedgerError] = self._payments.settle(self._sales) if due else {}
        settled = [self._sales.require(sale.digest) for sale in due if sale.digest not in errors]
        for sale in settled:
            self._gate.forget(sale.attempt, sale.user_id)
        return Turn(
            waiting=tuple(self._waiting.values()),
            released=tuple(self._released),
            open=len(self._sales.open()),
            settled=tuple(settled),
            problems=tuple(f"{type(error).__name__}: {error}" for error in errors.values()),
        )

    def _open_sale(self, attempt: Attempt) -> Sale | None:
        return next((sale for sale in self._sales.of(attempt) if sale.stage < Stage.ENDED), None)


def _waiting(job: SlurmJob, reason: str) -> Waiting:
    return Waiting(job=job.attempt.job, user=job.user, account=job.account, reason=reason)

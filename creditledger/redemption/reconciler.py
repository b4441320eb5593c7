"""Brings the ledger to what the queue has measured: each hold captured at most once, then released.

Source: specs/redemption.md §7."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from creditledger.credits.tariff import gpu_price
from creditledger.errors import BusyError, CreditLedgerError, HoldClosedError, HoldExpiredError
from creditledger.ledger.writer import Acknowledgement
from creditledger.records.entry import Submission
from creditledger.records.record import Record
from creditledger.records.transfer import Capture, Hold, Release
from creditledger.redemption.client_id import capture_id, release_id
from creditledger.redemption.ledger_access import LedgerAccess
from creditledger.redemption.started_jobs import Stage
from creditledger.transparency.keys import Ed25519Signer


class Charge(Protocol):
    """A row of a queue's notebook, as far as the ledger is concerned."""

    @property
    def digest(self) -> bytes:
        """The hold's id, 32 bytes."""

    @property
    def hold(self) -> Hold:
        """The record."""

    @property
    def stage(self) -> Stage:
        """How far it has come."""

    @property
    def gpu_ms(self) -> int:
        """GPU-milliseconds to charge once it has ended."""

    @property
    def ending(self) -> str | None:
        """Why it ended."""

    @property
    def captured_micro(self) -> int:
        """What the ledger has captured."""

    @property
    def refusal(self) -> str | None:
        """Name of the error with which it refused for good."""


ChargeT = TypeVar("ChargeT", bound=Charge)


class Charges(Protocol[ChargeT]):
    """A queue's notebook. Each change names the stage it comes from: whoever comes second changes nothing."""

    def unsettled(self) -> list[ChargeT]:
        """All rows whose hold has not ended in the ledger yet."""

    def require(self, hold: bytes) -> ChargeT:
        """The row of this hold. Raises UnknownIdError."""

    def captured(self, hold: bytes, *, amount_micro: int, refusal: str | None) -> bool:
        """From ENDED to CAPTURED."""

    def settled(self, hold: bytes, *, released_micro: int, refusal: str | None) -> bool:
        """From CAPTURED to SETTLED."""


class Step(StrEnum):
    """The steps of a job on its way through a queue, in order."""

    VERIFIED = "verified"
    CLAIMED = "claimed"
    LAUNCHED = "launched"
    ENDED = "ended"
    CAPTURED = "captured"
    SETTLED = "settled"


Observer = Callable[[Step, bytes], None]
"""Told each step when it is durable, with the hold's digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What a queue has still to tell the ledger about one hold."""

    digest: bytes
    gpu_ms: int
    amount_micro: int
    """What `Reconciler.push` would capture; the rest of the hold goes back."""
    reason: str


class Reconciler(Generic[ChargeT]):
    """Pushes ended jobs of one queue to the ledger. Every call may be repeated, also after a crash."""

    def __init__(
        self,
        jobs: Charges[ChargeT],
        *,
        access: LedgerAccess,
        key: Ed25519Signer,
        ledger_id: bytes,
        observe: Observer = lambda step, hold: None,
        account: bytes | None = None,
    ) -> None:
        """``account``: the queue that ``key`` signs for, by default the one that it names."""
        self._account = account or key.public_key
        self._jobs = jobs
        self._access = access
        self._key = key
        self._ledger_id = ledger_id
        self._observe = observe

    def due(self) -> list[Due]:
        """What `push_due` would do, by hold; charges nothing."""
        return [_due(job) for job in self._jobs.unsettled() if job.stage >= Stage.ENDED]

    def push_due(self) -> dict[bytes, CreditLedgerError]:
        """Push every ended job; the errors of those that stay due, by hold."""
        errors: dict[bytes, CreditLedgerError] = {}
        for due in self.due():
            try:
                self.push(due.digest)
            except CreditLedgerError as error:
                errors[due.digest] = error
        return errors

    def push(self, hold: bytes) -> ChargeT:
        """Capture what an ended job used, then release the rest.

        A hold that expired first is beyond charging: that is noted in the row, as the reason. All
        other errors leave it due. Raises UnknownIdError, BusyError while the job runs, and what the ledger
        answers with."""
        job = self._jobs.require(hold)
        if job.stage < Stage.ENDED:
            raise BusyError("job has not ended", expected="ended", found=job.stage.name.lower())
        if job.stage == Stage.ENDED:
            amount, refusal = self._capture(job)
            self._jobs.captured(hold, amount_micro=amount, refusal=refusal)
            self._observe(Step.CAPTURED, hold)
            job = self._jobs.require(hold)
        if job.stage == Stage.CAPTURED:
            released, refusal = self._release(job)
            self._jobs.settled(hold, released_micro=released, refusal=refusal)
            self._observe(Step.SETTLED, hold)
        return self._jobs.require(hold)

    def _capture(self, job: Charge) -> tuple[int, str | None]:
        due = _due(job)
        if due.amount_micro == 0:
            return 0, None
        capture = Capture(
            id=capture_id(job.digest),
            hold=job.digest,
            queue=self._account,
            gpu_ms=due.gpu_ms,
            amount_micro=due.amount_micro,
        )
        refusal = self._append(capture)
        return (0, refusal) if refusal else (due.amount_micro, None)

    def _release(self, job: Charge) -> tuple[int, str | None]:
        release = Release(
            id=release_id(job.digest), hold=job.digest, queue=self._account, reason=_due(job).reason
        )
        refusal = self._append(release)
        return (0, refusal) if refusal else (job.hold.amount_micro - job.captured_micro, job.refusal)

    def _append(self, record: Record) -> str | None:
        """None once it is logged, now or before; the error's name if the hold has ended otherwise."""
        signature = self._key.sign(record.signing_bytes(self._ledger_id))
        with self._access.writing() as ledger:
            (answer,) = ledger.submit([Submission(record=record, signature=signature)])
        if isinstance(answer, Acknowledgement):
            return None
        if isinstance(answer, HoldClosedError | HoldExpiredError):
            return type(answer).__name__
        raise answer


def _due(job: Charge) -> Due:
    amount = gpu_price(gpus=1, duration_ms=job.gpu_ms, micro_per_gpu_second=job.hold.micro_per_gpu_second)
    return Due(
        digest=job.digest,
        gpu_ms=job.gpu_ms,
        amount_micro=min(amount, job.hold.amount_micro),
        reason=str(job.ending),
    )

"""Working through a queue's waiting list: launch whose turn it is, settle what has ended, again and again.

Source: specs/redemption.md §9."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from creditledger.credits.fold import due_expiries
from creditledger.credits.reading import hold_state
from creditledger.errors import BusyError, CreditLedgerError, StorageError
from creditledger.ledger.clock import Clock
from creditledger.records.state import HoldStatus
from creditledger.redemption.ledger_access import LedgerAccess
from creditledger.redemption.process_identity import ProcessIdentity
from creditledger.redemption.queues.job_outcome import JobOutcome, outcome_of
from creditledger.redemption.queues.launcher import Launcher
from creditledger.redemption.queues.turn_order import Occupied, next_to_start
from creditledger.redemption.queues.watch import JobWatch, Timing
from creditledger.redemption.reconciler import Observer, Reconciler, Step
from creditledger.redemption.started_jobs import Ending, Stage, StartedJob, StartedJobs
from creditledger.redemption.waiting_jobs import WaitingJob

EXPIRE_EVERY_MS: Final = 60_000
"""How often the ledger is looked through for holds that are to expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one look at a queue came to."""

    started: tuple[bytes, ...]
    """Holds whose jobs were launched, in order."""
    settled: tuple[JobOutcome, ...]
    dropped: tuple[bytes, ...]
    """Holds that had ended in the ledger before their turn came."""
    expired: int
    """Holds that were expired in the ledger, this queue's and others'."""
    waiting: int
    running: int
    """Jobs that were launched and are not settled yet: one that has just ended still counts."""
    problems: tuple[str, ...]
    """What could not be done and will be tried again."""

    @property
    def has_news(self) -> bool:
        """Whether anything happened."""
        return bool(self.started or self.settled or self.dropped or self.expired or self.problems)


class QueueRunner:
    """The one process that launches a queue's waiting jobs. Killed at any point, the next one goes on."""

    def __init__(
        self,
        jobs: StartedJobs,
        *,
        watch: JobWatch,
        launcher: Launcher,
        reconciler: Reconciler[StartedJob],
        access: LedgerAccess,
        slots: Sequence[int],
        timing: Timing,
        clock: Clock,
        monotonic_ms: Callable[[], int],
        observe: Observer,
        is_shadow: bool,
    ) -> None:
        """``clock``: Unix milliseconds; ``is_shadow``: what is launched from now on costs nothing."""
        self._jobs = jobs
        self._watch = watch
        self._launcher = launcher
        self._reconciler = reconciler
        self._access = access
        self._slots = tuple(slots)
        self._timing = timing
        self._clock = clock
        self._monotonic_ms = monotonic_ms
        self._observe = observe
        self._is_shadow = is_shadow
        self._identity = ProcessIdentity.own()
        self._supervisors: dict[bytes, subprocess.Popen[bytes]] = {}
        self._seen_ms: dict[bytes, int] = {}
        self._looked_ms: int | None = None
        self._problems: list[str] = []

    def turn(self) -> Turn:
        """Look at every job once and do what can be done now. Returns without waiting for any of them.

        What the ledger or the disk refuses is told as a problem, and tried again by the next turn."""
        self._problems = []
        for job in self._jobs.unsettled():
            self._look_at(job)
        settled = self._settle_ended()
        dropped = self._drop_ended()
        started = self._adopt() + self._start()
        expired = self._expire()
        return Turn(
            started=tuple(started),
            settled=tuple(settled),
            dropped=tuple(dropped),
            expired=expired,
            waiting=len(self._not_begun()),
            running=len(self._jobs.unsettled()),
            problems=tuple(self._problems),
        )

    def _occupying(self) -> list[StartedJob]:
        return [job for job in self._jobs.unsettled() if job.stage < Stage.ENDED]

    def _not_begun(self) -> list[WaitingJob]:
        """Those on the list that nobody has launched."""
        return [job for job in self._jobs.waiting.all() if self._jobs.get(job.digest) is None]

    def _look_at(self, job: StartedJob) -> None:
        supervisor = self._supervisors.get(job.digest)
        has_exited = supervisor is not None and supervisor.poll() is not None
        if has_exited:
            del self._supervisors[job.digest]
            # It may have begun and ended meanwhile: only a row that is still at INTENT is withdrawn.
            self._jobs.withdraw(job.digest)
        if job.stage == Stage.RUNNING:
            since = self._seen_ms.setdefault(job.digest, self._monotonic_ms())
            self._watch.end_overdue(job, waited_ms=self._monotonic_ms() - since)
        self._watch.recover(job)

    def _settle_ended(self) -> list[JobOutcome]:
        outcomes = []
        for job in self._jobs.unsettled():
            if job.stage < Stage.ENDED:
                continue
            self._seen_ms.pop(job.digest, None)
            try:
                settled = self._reconciler.push(job.digest)
            except CreditLedgerError as error:
                self._note(job.digest, error)
            else:
                outcomes.append(outcome_of(settled, output=self._launcher.output(job.digest)))
        return outcomes

    def _drop_ended(self) -> list[bytes]:
        """Take off the list whose hold the ledger has ended. Our own clock alone ends nobody's wait."""
        late = [job for job in self._not_begun() if self._limit_ms(job) <= 0]
        return [job.digest for job in late if self._has_ended(job.digest) and self._drop(job)]

    def _drop(self, job: WaitingJob) -> bool:
        return self._jobs.drop(
            job, queue_process=self._identity, ending=Ending.NOT_STARTED, refusal="HoldClosedError"
        )

    def _adopt(self) -> list[bytes]:
        """Launch again what a runner that is gone had claimed, and perhaps launched."""
        adopted = []
        for job in self._occupying():
            waiting = self._jobs.waiting.get(job.digest)
            if job.stage != Stage.INTENT or waiting is None or job.queue_process.is_alive():
                continue
            if self._jobs.adopt(job, queue_process=self._identity) and self._launch(job, waiting):
                adopted.append(job.digest)
        return adopted

    def _start(self) -> list[bytes]:
        started: list[bytes] = []
        passed: set[bytes] = set()
        while True:
            free = len(set(self._slots) - {slot for job in self._occupying() for slot in job.slots})
            able = [job for job in self._not_begun() if job.digest not in passed and self._limit_ms(job) > 0]
            able = [job for job in able if job.hold.gpus <= len(self._slots)]
            chosen = next_to_start(able, self._occupied(), free=free, overhead_ms=self._overhead_ms)
            if chosen is None:
                return started
            passed.add(chosen.digest)
            if self._has_ended(chosen.digest):
                self._drop(chosen)
            elif self._claim_and_launch(chosen):
                started.append(chosen.digest)

    @property
    def _overhead_ms(self) -> int:
        """What a job may take beyond its time until its slots are free."""
        return self._timing.grace_ms + self._timing.heartbeat_ms

    def _occupied(self) -> list[Occupied]:
        return [
            Occupied(
                slots=len(set(job.slots) & set(self._slots)),
                left_ms=max(0, job.limit_ms - job.elapsed_ms) + self._overhead_ms,
            )
            for job in self._occupying()
        ]

    def _claim_and_launch(self, job: WaitingJob) -> bool:
        claim = self._jobs.claim(
            job.digest,
            job.hold,
            slots=self._slots,
            limit_ms=self._limit_ms(job),
            queue_process=self._identity,
            from_list=True,
            is_shadow=self._is_shadow,
        )
        return claim is not None and claim.is_new and self._launch(claim.job, job)

    def _launch(self, row: StartedJob, job: WaitingJob) -> bool:
        self._observe(Step.CLAIMED, job.digest)
        try:
            supervisor = self._launcher.launch(row, job.command, cwd=job.cwd, env=job.env)
        except StorageError as error:
            self._jobs.withdraw(job.digest)
            self._note(job.digest, error)
            return False
        self._supervisors[job.digest] = supervisor
        self._observe(Step.LAUNCHED, job.digest)
        return True

    def _limit_ms(self, job: WaitingJob) -> int:
        """How long it may run if it starts now; nothing if it is too late."""
        left = job.hold.expires_unix_ms - self._clock() - self._timing.margin_ms
        return min(job.hold.duration_ms, max(0, left))

    def _has_ended(self, hold: bytes) -> bool:
        try:
            with self._access.reading() as ledger, ledger.read() as view:
                state = hold_state(view, hold)
        except (StorageError, BusyError):
            return False
        return state is not None and state.status != HoldStatus.OPEN

    def _expire(self) -> int:
        """Have the ledger expire what is due, so that no hold outlives its grace."""
        now = self._monotonic_ms()
        if self._looked_ms is not None and now - self._looked_ms < EXPIRE_EVERY_MS:
            return 0
        self._looked_ms = now
        try:
            with self._access.reading() as ledger, ledger.read() as view:
                is_due = bool(due_expiries(view, self._clock()))
            if not is_due:
                return 0
            with self._access.writing() as ledger:
                return len(ledger.expire_due())
        except CreditLedgerError as error:
            self._problems.append(f"expiry: {type(error).__name__}: {error}")
            return 0

    def _note(self, hold: bytes, error: CreditLedgerError) -> None:
        self._problems.append(f"{hold.hex()}: {type(error).__name__}: {error}")

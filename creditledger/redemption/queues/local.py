"""A queue on this machine: real processes, GPU slots, and one durable record of what was started.

Source: specs/redemption.md §5, §6 and §9."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Self

from creditledger.credits.reading import hold_state
from creditledger.errors import (
    BusyError,
    CreditLedgerError,
    HoldClosedError,
    HoldExpiredError,
    MalformedRecordError,
    RefusedError,
    StorageError,
)
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.cosigning import Cosigner
from creditledger.ledger.keyring import KeyRole, load_key
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.opening import Place
from creditledger.records.state import HoldStatus
from creditledger.redemption.ledger_access import LedgerAccess
from creditledger.redemption.process_identity import ProcessIdentity
from creditledger.redemption.queues.job_outcome import JobOutcome, outcome_of
from creditledger.redemption.queues.launcher import STARTED_SET, Launcher
from creditledger.redemption.queues.runner import QueueRunner, Turn
from creditledger.redemption.queues.turn_order import in_turn
from creditledger.redemption.queues.watch import USUAL_TIMING, JobWatch, Timing
from creditledger.redemption.reconciler import Observer, Reconciler, Step
from creditledger.redemption.started_jobs import Ending, Stage, StartedJob, StartedJobs, require_fits
from creditledger.redemption.voucher import (
    VerifiedVoucher,
    Voucher,
    ledger_of,
    require_names_queue,
    require_open,
)
from creditledger.redemption.waiting_jobs import WaitingJob
from creditledger.transparency.bls import BlsBackend
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.trust_policy import TrustPolicy


class LocalQueue:
    """Runs jobs against vouchers. Several processes may share one directory; each voucher starts one job.

    `run` starts one job now and sees it to its end; `submit` puts one on the waiting list, which the process
    that calls `turn` over and over works through."""

    def __init__(
        self,
        directory: str | PathLike[str],
        *,
        ledger: Ledger | Place,
        key: Ed25519Signer | str | PathLike[str],
        policy: TrustPolicy | str | PathLike[str],
        slots: int | Sequence[int],
        hardware: str | None = None,
        clock: Clock = system_clock,
        monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        sleep: Callable[[float], None] = time.sleep,
        timing: Timing = USUAL_TIMING,
        observe: Observer = lambda step, hold: None,
        backend: BlsBackend | None = None,
        cosigners: Sequence[Cosigner] = (),
        is_shadow: bool = False,
    ) -> None:
        """Open the queue in ``directory``, made if need be, and `recover`.

        ``slots``: the GPU numbers that jobs may be given, or how many from 0 on. ``hardware``: the class
        they are of; a voucher of another is refused (None: any class). ``clock``: Unix milliseconds, for
        expiry only; ``monotonic_ms``: for waiting. ``cosigners``: see `Ledger.open`. ``is_shadow``: jobs that
        `turn` starts cost nothing. Raises MalformedRecordError, KeyFormatError, RoleError, StorageError."""
        self._directory = Path(directory).absolute()
        self._policy = policy if isinstance(policy, TrustPolicy) else TrustPolicy.load(Path(policy))
        ledger_id = ledger_of(self._policy)
        self._key = (
            key
            if isinstance(key, Ed25519Signer)
            else load_key(Path(key), roles=(KeyRole.QUEUE,), ledger_id=ledger_id).ed25519()
        )
        self._slots = _slot_numbers(slots)
        self._hardware = hardware
        self._clock = clock
        self._monotonic_ms = monotonic_ms
        self._timing = timing
        self._observe = observe
        self._backend = backend
        self._identity = ProcessIdentity.own()
        self._access = LedgerAccess(ledger, clock=clock, sleep=sleep, cosigners=cosigners)
        self._account = self._access.account_of(self._key.public_key)
        self._jobs = _open_directory(self._directory)
        self._watch = JobWatch(self._jobs, timing=timing, monotonic_ms=monotonic_ms, sleep=sleep)
        self._launcher = Launcher(self._directory, timing=timing)
        self.reconciler = Reconciler(
            self._jobs,
            access=self._access,
            key=self._key,
            ledger_id=ledger_id,
            observe=observe,
            account=self._account,
        )
        self._runner = QueueRunner(
            self._jobs,
            watch=self._watch,
            launcher=self._launcher,
            reconciler=self.reconciler,
            access=self._access,
            slots=self._slots,
            timing=timing,
            clock=clock,
            monotonic_ms=monotonic_ms,
            observe=observe,
            is_shadow=is_shadow,
        )
        self._recovered = tuple(outcome for outcome in self.recover() if outcome.settled)

    def close(self) -> None:
        """Let go of the files. Jobs that run go on, and a later `recover` finds them."""
        self._jobs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        voucher: Voucher | bytes | str | PathLike[str],
        command: Sequence[str],
        *,
        cwd: str | PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        wait_ms: int = 0,
    ) -> JobOutcome:
        """Run ``command`` on the voucher's GPUs to its end, then capture what it used and release the rest.

        A voucher whose job was started before starts nothing: that job's outcome is the answer, awaited if
        need be. ``env``: the job's environment, by default this process's; ``CUDA_VISIBLE_DEVICES`` and
        ``CREDITLEDGER_HOLD`` are set in it. ``wait_ms``: how long to wait for free GPUs, then BusyError.
        Raises what `Voucher.verify` does; RefusedError for another hardware class or more GPUs than there
        are; HoldClosedError if the ledger knows that the hold has ended. Source: specs/redemption.md §5."""
        verified = self._verified(voucher, command)
        if self._jobs.get(verified.digest) is None:
            self._require_startable(verified)
            self._observe(Step.VERIFIED, verified.digest)
            job = self._claim(verified, wait_ms=wait_ms)
            if job is not None:
                self._run_claimed(job, command, cwd=cwd, env=env)
        return self.wait(verified.digest)

    def submit(
        self,
        voucher: Voucher | bytes | str | PathLike[str],
        command: Sequence[str],
        *,
        cwd: str | PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> bytes:
        """Put ``command`` on the waiting list, durably, and return at once; the hold's digest, for `outcome`.

        A voucher that was presented before, here or to `run`, changes nothing. Raises as `run` does.
        Source: specs/redemption.md §9."""
        verified = self._verified(voucher, command)
        if self._jobs.get(verified.digest) is None:
            self._require_startable(verified)
            self._limit_ms(verified)
            require_fits(verified.hold, self._slots)
            self._jobs.waiting.add(
                verified.digest, verified.hold, command=command, cwd=_folder(cwd), env=_environment(env)
            )
        return verified.digest

    def turn(self) -> Turn:
        """Launch whoever's turn it is, settle what has ended, expire what is due; see `QueueRunner.turn`.

        The first turn also tells what opening the queue has settled. One process at a time should call
        this. Source: specs/redemption.md §9."""
        turn, settled = self._runner.turn(), self._recovered
        self._recovered = ()
        return replace(turn, settled=(*settled, *turn.settled))

    def waiting(self) -> list[WaitingJob]:
        """Whoever is on the list and has not begun, in turn."""
        return in_turn(self._jobs.waiting.all())

    def wait(self, hold: bytes) -> JobOutcome:
        """Await the end of a job started here, settle it as far as the ledger can be reached, and tell.

        Raises UnknownIdError for a hold that was never started here."""
        self._watch.await_end(hold)
        return self._settle(hold)

    def cancel(self, hold: bytes) -> None:
        """Ask a job to end; what it used until then is charged. One that waits never starts.

        Raises UnknownIdError."""
        waiting = self._jobs.waiting.get(hold)
        if waiting is None or not self._jobs.drop(
            waiting, queue_process=self._identity, ending=Ending.CANCELLED
        ):
            self._watch.cancel(hold)

    def recover(self) -> list[JobOutcome]:
        """Find out what became of every hold not settled, and settle those that have ended.

        Jobs whose supervisor still runs are left alone: `wait` for them. Source: specs/redemption.md §6."""
        for job in self._jobs.unsettled():
            self._watch.recover(job)
        ended = [job.digest for job in self._jobs.unsettled() if job.stage >= Stage.ENDED]
        return [self._settle(hold) for hold in ended]

    def running(self) -> list[StartedJob]:
        """The jobs that hold slots now."""
        return [job for job in self._jobs.unsettled() if job.stage < Stage.ENDED]

    def outcome(self, hold: bytes) -> JobOutcome:
        """What became of a hold. Raises UnknownIdError, and BusyError while its job runs."""
        return outcome_of(self._jobs.require(hold), output=self._launcher.output(hold))

    def _verified(
        self, voucher: Voucher | bytes | str | PathLike[str], command: Sequence[str]
    ) -> VerifiedVoucher:
        if not command:
            raise MalformedRecordError("no command to run", expected="a program and its arguments")
        given = voucher if isinstance(voucher, Voucher) else Voucher.load(voucher)
        verified = given.prove(self._policy, backend=self._backend)
        require_names_queue(verified, self._account)
        return verified

    def _require_startable(self, voucher: VerifiedVoucher) -> None:
        require_open(voucher, now_unix_ms=self._clock())
        if self._hardware is not None and voucher.hold.hardware != self._hardware:
            raise RefusedError(
                "voucher is for other hardware", expected=self._hardware, found=voucher.hold.hardware
            )
        self._require_not_ended(voucher.digest)

    def _require_not_ended(self, hold: bytes) -> None:
        # The proof and our own rows suffice. This second look is for a queue whose directory was lost or
        # restored from a backup; without the ledger at hand we go by the proof.
        with suppress(StorageError, BusyError), self._access.reading() as ledger, ledger.read() as view:
            state = hold_state(view, hold)
            if state is not None and state.status != HoldStatus.OPEN:
                raise HoldClosedError(
                    "the ledger has ended this hold",
                    expected="open",
                    found=HoldStatus(state.status).name.lower(),
                )

    def _claim(self, voucher: VerifiedVoucher, *, wait_ms: int) -> StartedJob | None:
        """The row, if this call made it; None if somebody else did. Waits for slots."""
        deadline = self._monotonic_ms() + wait_ms
        while True:
            claim = self._jobs.claim(
                voucher.digest,
                voucher.hold,
                slots=self._slots,
                limit_ms=self._limit_ms(voucher),
                queue_process=self._identity,
            )
            if claim is not None:
                return claim.job if claim.is_new else None
            if self._monotonic_ms() >= deadline:
                raise self._busy(voucher)
            self._watch.pause()

    def _busy(self, voucher: VerifiedVoucher) -> BusyError:
        if self._jobs.waiting.get(voucher.digest) is not None:
            return BusyError("the voucher's job is on the waiting list", expected="its turn")
        return BusyError(
            "not enough GPUs are free", expected=str(voucher.hold.gpus), found="fewer, all in use"
        )

    def _limit_ms(self, voucher: VerifiedVoucher) -> int:
        """How long the job may run: what was paid for, and no longer than a capture can still be made."""
        left = voucher.hold.expires_unix_ms - self._clock() - self._timing.margin_ms
        if left <= 0:
            raise HoldExpiredError(
                "hold expires too soon to start a job",
                expected=f"more than {self._timing.margin_ms} ms before {voucher.hold.expires_unix_ms}",
                found=str(self._clock()),
            )
        return min(voucher.hold.duration_ms, left)

    def _run_claimed(
        self,
        job: StartedJob,
        command: Sequence[str],
        *,
        cwd: str | PathLike[str] | None,
        env: Mapping[str, str] | None,
    ) -> None:
        self._observe(Step.CLAIMED, job.digest)
        try:
            supervisor = self._launcher.launch(job, command, cwd=_folder(cwd), env=_environment(env))
        except BaseException:
            self._jobs.withdraw(job.digest)
            with suppress(CreditLedgerError):
                self._settle(job.digest)
            raise
        self._observe(Step.LAUNCHED, job.digest)
        try:
            self._watch.await_end(job.digest, supervisor=supervisor)
        except BaseException:
            # Ctrl-C at the queue is meant for the job: it sits in a session of its own.
            self.cancel(job.digest)
            self._watch.await_end(job.digest, supervisor=supervisor)
            self._settle(job.digest)
            raise
        self._observe(Step.ENDED, job.digest)

    def _settle(self, hold: bytes) -> JobOutcome:
        problem = None
        try:
            self.reconciler.push(hold)
        except CreditLedgerError as error:
            problem = f"{type(error).__name__}: {error}"
        return outcome_of(self._jobs.require(hold), output=self._launcher.output(hold), problem=problem)


def _open_directory(directory: Path) -> StartedJobs:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "jobs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"queue directory cannot be used: {error.strerror}", found=str(directory)[-100:]
        ) from error
    return StartedJobs(directory / STARTED_SET)


def _folder(cwd: str | PathLike[str] | None) -> str:
    return os.path.abspath(os.getcwd() if cwd is None else cwd)


def _environment(env: Mapping[str, str] | None) -> Mapping[str, str]:
    return dict(os.environ) if env is None else env


def _slot_numbers(slots: int | Sequence[int]) -> tuple[int, ...]:
    numbers = tuple(range(slots)) if isinstance(slots, int) else tuple(slots)
    if not numbers or len(set(numbers)) != len(numbers) or min(numbers) < 0:
        raise MalformedRecordError("slots are GPU numbers, each once", found=str(numbers)[:80])
    return numbers

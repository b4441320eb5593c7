"""A queue on this machine: real processes, GPU slots, and one durable record of what was started.

Source: specs/redemption.md §5 and §6."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import creditledger
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
from creditledger.ledger.keyring import KeyRole, load_key
from creditledger.ledger.ledger import Ledger
from creditledger.records.state import HoldStatus
from creditledger.redemption.ledger_access import LedgerAccess
from creditledger.redemption.process_identity import ProcessIdentity
from creditledger.redemption.queues.containment import HOLD_VARIABLE, end_marked
from creditledger.redemption.queues.supervisor import Task
from creditledger.redemption.reconciler import Observer, Reconciler, Step
from creditledger.redemption.started_jobs import Ending, Stage, StartedJob, StartedJobs
from creditledger.redemption.voucher import (
    VerifiedVoucher,
    Voucher,
    ledger_of,
    require_names_queue,
    require_open,
)
from creditledger.transparency.bls import BlsBackend
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.trust_policy import TrustPolicy

SUPERVISOR: Final = "creditledger.redemption.queues.supervisor"
SLOTS_VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
_OVERDUE_MS: Final = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How often a queue looks, and how long it waits. Milliseconds."""

    poll_ms: int = 50
    heartbeat_ms: int = 1_000
    """A lost job is charged up to its last heartbeat."""
    grace_ms: int = 5_000
    """From SIGTERM to SIGKILL; not charged."""
    margin_ms: int = 30_000
    """A job ends at least this long before its hold expires, so that its capture comes in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOutcome:
    """What became of one voucher at this queue."""

    hold: bytes
    """Its digest, 32 bytes."""
    exit_code: int | None
    """Minus the signal's number for a job that a signal ended; None where nobody saw the end."""
    ending: Ending
    gpu_ms: int
    captured_micro: int
    released_micro: int
    settled: bool
    """False while the ledger could not be told; `LocalQueue.recover` tells it later."""
    refusal: str | None
    """Name of the error if the hold had ended before it could be captured or released."""
    stdout: Path
    stderr: Path


class LocalQueue:
    """Runs jobs against vouchers. Several processes may share one directory; each voucher starts one job."""

    def __init__(
        self,
        directory: str | PathLike[str],
        *,
        ledger: Ledger | str | PathLike[str],
        key: Ed25519Signer | str | PathLike[str],
        policy: TrustPolicy | str | PathLike[str],
        slots: int | Sequence[int],
        hardware: str | None = None,
        clock: Clock = system_clock,
        monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        sleep: Callable[[float], None] = time.sleep,
        timing: Timing = Timing(),  # noqa: B008
        observe: Observer = lambda step, hold: None,
        backend: BlsBackend | None = None,
    ) -> None:
        """Open the queue in ``directory``, made if need be, and `recover`.

        ``slots``: the GPU numbers that jobs may be given, or how many from 0 on. ``hardware``: the class they
        are of; a voucher of another is refused (None: any class). ``clock``: Unix milliseconds, for expiry only;
        ``monotonic_ms``: for waiting. Raises MalformedRecordError, KeyFormatError, RoleError, StorageError."""
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
        self._sleep = sleep
        self._timing = timing
        self._observe = observe
        self._backend = backend
        self._identity = ProcessIdentity.own()
        self._access = LedgerAccess(ledger, clock=clock, sleep=sleep)
        self._jobs = _open_directory(self._directory)
        self.reconciler = Reconciler(
            self._jobs, access=self._access, key=self._key, ledger_id=ledger_id, observe=observe
        )
        self.recover()

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
        Raises what `Voucher.verify` does; RefusedError for another hardware class or more GPUs than there are;
        HoldClosedError if the ledger knows that the hold has ended. Source: specs/redemption.md §5."""
        if not command:
            raise MalformedRecordError("no command to run", expected="a program and its arguments")
        given = voucher if isinstance(voucher, Voucher) else Voucher.load(voucher)
        verified = given.prove(self._policy, backend=self._backend)
        require_names_queue(verified, self._key.public_key)
        if self._jobs.get(verified.digest) is None:
            self._require_startable(verified)
            self._observe(Step.VERIFIED, verified.digest)
            job = self._claim(verified, wait_ms=wait_ms)
            if job is not None:
                self._run_claimed(job, command, cwd=cwd, env=env)
        return self.wait(verified.digest)

    def wait(self, hold: bytes) -> JobOutcome:
        """Await the end of a job started here, settle it as far as the ledger can be reached, and tell.

        Raises UnknownIdError for a hold that was never started here."""
        self._await_end(hold, supervisor=None)
        return self._settle(hold)

    def cancel(self, hold: bytes) -> None:
        """Ask a job to end; what it used until then is charged. Raises UnknownIdError."""
        job = self._jobs.require(hold)
        if job.supervisor is not None and job.supervisor.is_alive():
            with suppress(ProcessLookupError):
                os.kill(job.supervisor.pid, signal.SIGTERM)

    def recover(self) -> list[JobOutcome]:
        """Find out what became of every hold not settled, and settle those that have ended.

        Jobs whose supervisor still runs are left alone: `wait` for them. Source: specs/redemption.md §6."""
        for job in self._jobs.unsettled():
            self._recover(job)
        ended = [job.digest for job in self._jobs.unsettled() if job.stage >= Stage.ENDED]
        return [self._settle(hold) for hold in ended]

    def running(self) -> list[StartedJob]:
        """The jobs that hold slots now."""
        return [job for job in self._jobs.unsettled() if job.stage < Stage.ENDED]

    def outcome(self, hold: bytes) -> JobOutcome:
        """What became of a hold. Raises UnknownIdError, and BusyError while its job runs."""
        job = self._jobs.require(hold)
        if job.ending is None:
            raise BusyError("job has not ended", expected="ended", found=job.stage.name.lower())
        return JobOutcome(
            hold=hold,
            exit_code=job.exit_code,
            ending=job.ending,
            gpu_ms=job.gpu_ms,
            captured_micro=job.captured_micro,
            released_micro=job.released_micro,
            settled=job.stage == Stage.SETTLED,
            refusal=job.refusal,
            stdout=self._output(hold, "stdout"),
            stderr=self._output(hold, "stderr"),
        )

    def _require_startable(self, voucher: VerifiedVoucher) -> None:
        require_open(voucher, now_unix_ms=self._clock())
        if self._hardware is not None and voucher.hold.hardware != self._hardware:
            raise RefusedError(
                "voucher is for other hardware", expected=self._hardware, found=voucher.hold.hardware
            )
        if voucher.hold.gpus > len(self._slots):
            raise RefusedError(
                "job asks for more GPUs than this queue has",
                expected=f"at most {len(self._slots)}",
                found=str(voucher.hold.gpus),
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
                raise BusyError(
                    "not enough GPUs are free", expected=str(voucher.hold.gpus), found="fewer, all in use"
                )
            self._pause()

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
            supervisor = self._launch(self._task(job, command, cwd=cwd, env=env))
        except BaseException:
            self._jobs.withdraw(job.digest)
            raise
        self._observe(Step.LAUNCHED, job.digest)
        try:
            self._await_end(job.digest, supervisor=supervisor)
        except BaseException:
            # Ctrl-C at the queue is meant for the job: it sits in a session of its own.
            self.cancel(job.digest)
            self._await_end(job.digest, supervisor=supervisor)
            self._settle(job.digest)
            raise
        self._observe(Step.ENDED, job.digest)

    def _task(
        self,
        job: StartedJob,
        command: Sequence[str],
        *,
        cwd: str | PathLike[str] | None,
        env: Mapping[str, str] | None,
    ) -> Task:
        given = {
            SLOTS_VARIABLE: ",".join(map(str, job.slots)),
            HOLD_VARIABLE: job.digest.hex(),
        }
        return Task(
            started_set=str(self._directory / "started.sqlite"),
            hold=job.digest.hex(),
            command=tuple(command),
            cwd=os.fspath(cwd) if cwd is not None else os.getcwd(),
            env={**(os.environ if env is None else env), **given},
            stdout=str(self._output(job.digest, "stdout")),
            stderr=str(self._output(job.digest, "stderr")),
            limit_ms=job.limit_ms,
            grace_ms=self._timing.grace_ms,
            heartbeat_ms=self._timing.heartbeat_ms,
        )

    def _launch(self, task: Task) -> subprocess.Popen[bytes]:
        package = str(Path(creditledger.__file__).parent.parent)
        paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        encoded = task.encode()
        try:
            Path(task.stdout).parent.mkdir(mode=0o700, exist_ok=True)
            with open(Path(task.stdout).with_name("supervisor"), "wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", SUPERVISOR],
                    cwd=self._directory,
                    env={**os.environ, "PYTHONPATH": paths},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    start_new_session=True,
                )
            process.communicate_task = None if False else None  # type: ignore[attr-defined]
            assert process.stdin is not None
            with process.stdin as pipe:
                pipe.write(encoded)
        except OSError as error:
            raise StorageError(f"job could not be launched: {error.strerror}") from error
        return process

    def _await_end(self, hold: bytes, *, supervisor: subprocess.Popen[bytes] | None) -> None:
        since: int | None = None
        while True:
            has_exited = supervisor is not None and supervisor.poll() is not None
            job = self._jobs.require(hold)
            if job.stage >= Stage.ENDED:
                return
            if job.stage == Stage.RUNNING:
                since = self._monotonic_ms() if since is None else since
                self._end_overdue(job, waited_ms=self._monotonic_ms() - since)
            if has_exited and job.stage == Stage.INTENT:
                self._jobs.withdraw(hold)
            self._recover(job)
            self._pause()

    def _end_overdue(self, job: StartedJob, *, waited_ms: int) -> None:
        # A job may have stopped its supervisor: then nobody else is left to end it in time.
        if waited_ms > job.limit_ms + self._timing.grace_ms + _OVERDUE_MS:
            if job.supervisor is not None and job.supervisor.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(job.supervisor.pid, signal.SIGKILL)
            end_marked(job.digest, pause=self._pause)
            self._jobs.lose(job.digest, elapsed_ms=job.limit_ms)

    def _recover(self, job: StartedJob) -> None:
        if job.stage == Stage.INTENT and not job.queue_process.is_alive():
            self._jobs.withdraw(job.digest)
        if job.stage == Stage.RUNNING and job.supervisor is not None and not job.supervisor.is_alive():
            end_marked(job.digest, pause=self._pause)
            # Read again: the supervisor may have noted the end just before it went.
            self._jobs.lose(job.digest, elapsed_ms=self._jobs.require(job.digest).elapsed_ms)

    def _settle(self, hold: bytes) -> JobOutcome:
        with suppress(CreditLedgerError):
            self.reconciler.push(hold)
        return self.outcome(hold)

    def _output(self, hold: bytes, name: str) -> Path:
        return self._directory / "jobs" / hold.hex() / name

    def _pause(self) -> None:
        self._sleep(self._timing.poll_ms / 1000)


def _open_directory(directory: Path) -> StartedJobs:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / "jobs").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"queue directory cannot be used: {error.strerror}", found=str(directory)[-100:]
        ) from error
    return StartedJobs(directory / "started.sqlite")


def _slot_numbers(slots: int | Sequence[int]) -> tuple[int, ...]:
    numbers = tuple(range(slots)) if isinstance(slots, int) else tuple(slots)
    if not numbers or len(set(numbers)) != len(numbers) or min(numbers) < 0:
        raise MalformedRecordError("slots are GPU numbers, each once", found=str(numbers)[:80])
    return numbers

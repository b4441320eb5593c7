"""Hold, capture, release, expire: credits set aside, and the one end each hold comes to.

Source: specs/credits.md §5."""

from creditledger.credits import tariff
from creditledger.credits.account import account_in_role, change, require_open
from creditledger.credits.holds import (
    end_hold,
    hold_of,
    live_hold,
    live_holds_until,
    open_hold,
    put_hold_state,
)
from creditledger.credits.jobs import JobStatus, job_of, progress_of, put_progress
from creditledger.credits.levies import take_levy
from creditledger.credits.pool import in_force
from creditledger.credits.state import State, StateView
from creditledger.credits.step import Step
from creditledger.errors import (
    AmountError,
    ConflictError,
    ExpiredError,
    HoldExpiredError,
    RefusedError,
    RoleError,
    UnknownIdError,
)
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.job import Job
from creditledger.records.registration import Role
from creditledger.records.state import HoldState, HoldStatus
from creditledger.records.transfer import Capture, Expire, Hold, HoldPurpose, Release

JOB_HARDWARE = "job"


def apply_hold(step: Step, hold: Hold) -> None:
    """Set credits aside: for one job of the holder's, or for GPU time at one queue."""
    step.require_actor(hold.holder)
    step.claim_id(hold.holder, hold.id)
    if hold.purpose == HoldPurpose.JOB:
        _require_covers_job(step, hold)
    else:
        require_covers_voucher(step, hold)
    change(step.state, hold.holder, spendable=-hold.amount_micro, held=hold.amount_micro)
    open_hold(step.state, step.digest, hold)
    if hold.purpose == HoldPurpose.JOB:
        progress = progress_of(step.state, hold.job)
        put_progress(step.state, progress.replace(hold=step.digest, status=JobStatus.HELD))


def _require_covers_job(step: Step, hold: Hold) -> None:
    job, progress = job_of(step.state, hold.job), progress_of(step.state, hold.job)
    if hold.holder != job.client:
        raise RoleError("a job is covered by its client", expected=job.client.hex(), found=hold.holder.hex())
    if progress.status != JobStatus.ORDERED:
        raise ConflictError("the job has its hold", expected=progress.hold.hex(), found=step.digest.hex())
    if step.now >= job.expires_unix_ms:
        raise ExpiredError(
            "the job has expired", expected=f"before {job.expires_unix_ms}", found=str(step.now)
        )
    _require_named(hold, job)


def _require_named(hold: Hold, job: Job) -> None:
    """The hold is the one that its job names, of enough, for long enough."""
    if hold.id != job.hold_id or hold.hardware != JOB_HARDWARE:
        raise RefusedError(
            "hold is not the one the job names",
            expected=f"id {job.hold_id.hex()}, hardware {JOB_HARDWARE}",
            found=f"id {hold.id.hex()}, hardware {hold.hardware}",
        )
    if hold.amount_micro < job.max_price_micro:
        raise AmountError(
            "hold is less than the job's bound",
            expected=f"at least {job.max_price_micro}",
            found=str(hold.amount_micro),
        )
    if hold.expires_unix_ms < job.expires_unix_ms:
        raise RefusedError(
            "hold ends before its job",
            expected=f"at least {job.expires_unix_ms}",
            found=str(hold.expires_unix_ms),
        )


def require_covers_voucher(step: Step, hold: Hold) -> None:
    """The hold is for GPU time of a listed class at an open queue, at the tariff's price, and not expired.

    Raises RefusedError and its kinds. Source: specs/credits.md §5."""
    require_open(account_in_role(step.state, hold.queue, Role.QUEUE))
    price = step.parameters.hardware_price(hold.hardware)
    if price is None:
        raise UnknownIdError("the pool lists no such hardware", found=hold.hardware)
    if hold.micro_per_gpu_second != price.micro_per_gpu_second:
        raise RefusedError(
            "hold is at another price than the one in force",
            expected=str(price.micro_per_gpu_second),
            found=str(hold.micro_per_gpu_second),
        )
    due = tariff.gpu_price(
        gpus=hold.gpus, duration_ms=hold.duration_ms, micro_per_gpu_second=hold.micro_per_gpu_second
    )
    if hold.amount_micro != due:
        raise AmountError("hold is not the tariff's price", expected=str(due), found=str(hold.amount_micro))
    if hold.expires_unix_ms <= step.now:
        raise HoldExpiredError(
            "hold would have expired", expected=f"after {step.now}", found=str(hold.expires_unix_ms)
        )


def apply_capture(step: Step, capture: Capture) -> None:
    """The hold's queue takes the price of what was used: once, in time, up to the hold's amount."""
    step.require_actor(capture.queue, Role.QUEUE)
    step.claim_id(capture.queue, capture.id)
    held = _own_hold(step, capture.hold, capture.queue, HoldStatus.OPEN)
    if step.now >= held.expires_unix_ms:
        raise HoldExpiredError(
            "hold has expired", expected=f"before {held.expires_unix_ms}", found=str(step.now)
        )
    amount = _captured(step, held, capture)
    share = tariff.levy(amount, step.parameters.levy_ppm)
    change(step.state, held.holder, held=-amount)
    change(step.state, capture.queue, spendable=amount - share, metered=amount - share)
    take_levy(step.state, capture.queue, share)
    put_hold_state(step.state, held.replace(status=HoldStatus.CAPTURED, captured_micro=amount))


def _captured(step: Step, held: HoldState, capture: Capture) -> int:
    price = hold_of(step.state, capture.hold).micro_per_gpu_second
    due = tariff.gpu_price(gpus=1, duration_ms=capture.gpu_ms, micro_per_gpu_second=price)
    if capture.amount_micro != due:
        raise AmountError(
            "capture is not the tariff's price", expected=str(due), found=str(capture.amount_micro)
        )
    if due > held.amount_micro:
        raise AmountError(
            "capture is more than is held", expected=f"at most {held.amount_micro}", found=str(due)
        )
    return due


def apply_release(step: Step, release: Release) -> None:
    """The hold's queue gives back what it did not capture, and ends the hold."""
    step.require_actor(release.queue, Role.QUEUE)
    step.claim_id(release.queue, release.id)
    held = _own_hold(step, release.hold, release.queue, HoldStatus.OPEN, HoldStatus.CAPTURED)
    _give_back(step, held, HoldStatus.RELEASED)


def _own_hold(step: Step, digest: bytes, queue: bytes, *statuses: HoldStatus) -> HoldState:
    if hold_of(step.state, digest).queue != queue:
        raise RoleError("the hold does not name this queue", found=queue.hex())
    return live_hold(step.state, digest, *statuses)


def apply_expire(step: Step, expire: Expire) -> None:
    """After expiry and grace the operator ends the hold; a job with deliveries is settled instead."""
    step.require_operator()
    held = live_hold(step.state, expire.hold, HoldStatus.OPEN, HoldStatus.CAPTURED)
    earliest = held.expires_unix_ms + step.parameters.grace_ms
    if step.now < earliest:
        raise RefusedError("hold is in its grace", expected=f"at least {earliest}", found=str(step.now))
    if held.job != ZERO_DIGEST:
        progress = progress_of(step.state, held.job)
        if progress.delivery_index:
            raise RefusedError("the job has deliveries to settle", expected="a settlement", found="an expire")
        put_progress(step.state, progress.replace(status=JobStatus.EXPIRED))
    _give_back(step, held, HoldStatus.EXPIRED)


def _give_back(step: Step, held: HoldState, status: HoldStatus) -> None:
    rest = held.amount_micro - held.captured_micro
    change(step.state, held.holder, held=-rest, spendable=rest)
    end_hold(step.state, held, status, captured_micro=held.captured_micro)


def due_expiries(view: StateView, now_unix_ms: int) -> list[bytes]:
    """Digests of the holds that an expire record would end now, the first to expire first."""
    state = State(view)
    latest = now_unix_ms - in_force(state).grace_ms
    return [hold for hold in live_holds_until(state, latest) if not _is_delivered(state, hold)]


def _is_delivered(state: State, hold: bytes) -> bool:
    job = hold_of(state, hold).job
    return job != ZERO_DIGEST and progress_of(state, job).delivery_index > 0

"""Jobs under way: each one's hold and status, and per span how far its chain of receipts goes.

Source: specs/credits.md §6."""

from enum import IntEnum
from typing import Final

from creditledger.credits.state import State
from creditledger.errors import UnknownIdError
from creditledger.quantities import (
    ZERO_DIGEST,
    AccountId,
    Code,
    Digest,
    LayerIndex,
    LeafIndex,
    Position,
    UnixMillisecond,
)
from creditledger.records.job import Job, PlanSpan
from creditledger.records.record import Fields

_JOB: Final = b"b/"
_PROGRESS: Final = b"j/"
_LEG: Final = b"l/"
_WINDOW: Final = b"c/"
_UNSETTLED: Final = b"g/"
_CLOSED: Final = b"x/"


class JobStatus(IntEnum):
    """The life of a job."""

    ORDERED = 1
    HELD = 2
    """A hold covers it: work may start."""
    CLOSED = 3
    """The client has countersigned for the last time."""
    SETTLED = 4
    EXPIRED = 5
    """Its hold expired with nothing delivered."""


class JobProgress(Fields):
    """What has become of a job."""

    job: Digest
    client: AccountId
    index: LeafIndex
    expires_unix_ms: UnixMillisecond
    hold: Digest = ZERO_DIGEST
    status: Code = JobStatus.ORDERED
    delivery_index: LeafIndex = 0
    """Where the client's last countersignature stands; 0 before the first."""


class Leg(Fields):
    """One span of one job: its node's chain of receipts, and what the client countersigned of it."""

    node: AccountId
    layer_start: LayerIndex
    layer_stop: LayerIndex
    next_position: Position = 0
    """Where the next window must start: all positions before it have receipts."""
    head: Digest = ZERO_DIGEST
    """The chain's last receipt."""
    ended: Code = 0
    """1 after a short window: nothing may follow."""
    delivered_positions: Position = 0
    delivered_receipt: Digest = ZERO_DIGEST


def open_job(state: State, digest: bytes, job: Job, index: int) -> None:
    """Keep a new job's body and begin its progress."""
    state.view.put(_JOB + digest, job.encode())
    put_progress(
        state,
        JobProgress(job=digest, client=job.client, index=index, expires_unix_ms=job.expires_unix_ms),
    )


def job_of(state: State, digest: bytes) -> Job:
    """The job's body. Raises UnknownIdError."""
    encoded = state.view.get(_JOB + digest)
    if encoded is None:
        raise UnknownIdError("no such job", found=digest.hex())
    return Job.decode(encoded)


def progress_of(state: State, digest: bytes) -> JobProgress:
    """What has become of the job. Raises UnknownIdError."""
    found = state.row(JobProgress, _PROGRESS + digest)
    if found is None:
        raise UnknownIdError("no such job", found=digest.hex())
    return found


def put_progress(state: State, progress: JobProgress) -> None:
    """Set a job's progress, and list it while it waits for its settlement."""
    state.put_row(_PROGRESS + progress.job, progress)
    unsettled = _UNSETTLED + progress.expires_unix_ms.to_bytes(8, "big") + progress.job
    for key, is_listed in (
        (unsettled, progress.status in (JobStatus.HELD, JobStatus.CLOSED)),
        (_CLOSED + progress.job, progress.status == JobStatus.CLOSED),
    ):
        if is_listed:
            state.view.put(key, b"")
        else:
            state.view.delete(key)


def unsettled_jobs(state: State) -> list[bytes]:
    """Digests of the jobs under an open hold, the first to expire first."""
    return [key[-32:] for key, _ in state.view.scan(_UNSETTLED)]


def ended_jobs(state: State, now_unix_ms: int) -> list[bytes]:
    """Digests of the unsettled jobs that are closed or expired, ascending."""
    ended = {key[-32:] for key, _ in state.view.scan(_CLOSED)}
    for key, _ in state.view.scan(_UNSETTLED):
        if int.from_bytes(key[2:10], "big") > now_unix_ms:
            break
        ended.add(key[-32:])
    return sorted(ended)


def leg_of(state: State, job: bytes, span: PlanSpan) -> Leg:
    """How far the chain of this span of the job goes; a fresh leg if it has no receipt yet."""
    found = state.row(Leg, _LEG + job + span.layer_start.to_bytes(2, "big"))
    if found is not None:
        return found
    return Leg(node=span.node, layer_start=span.layer_start, layer_stop=span.layer_stop)


def put_leg(state: State, job: bytes, leg: Leg) -> None:
    """Set how far a chain goes."""
    state.put_row(_LEG + job + leg.layer_start.to_bytes(2, "big"), leg)


def put_window(state: State, job: bytes, layer_start: int, window_start: int, receipt: bytes) -> None:
    """Bind (job, span, window) to its one receipt."""
    state.view.put(_window_key(job, layer_start) + window_start.to_bytes(4, "big"), receipt)


def window_receipt(state: State, job: bytes, layer_start: int, window_start: int) -> bytes | None:
    """The receipt of (job, span, window), or None."""
    return state.view.get(_window_key(job, layer_start) + window_start.to_bytes(4, "big"))


def receipts_of_leg(state: State, job: bytes, layer_start: int) -> list[tuple[int, bytes]]:
    """All (window start, receipt digest) of a span, ascending."""
    prefix = _window_key(job, layer_start)
    return [(int.from_bytes(key[-4:], "big"), receipt) for key, receipt in state.view.scan(prefix)]


def _window_key(job: bytes, layer_start: int) -> bytes:
    return _WINDOW + job + layer_start.to_bytes(2, "big")

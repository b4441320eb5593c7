"""Batch: a node's receipts, all admitted or none. Source: specs/credits.md §6."""

from dataclasses import dataclass
from hashlib import sha256

from creditledger.credits import tariff
from creditledger.credits.coverage import UncoveredReceipt, await_round
from creditledger.credits.job_rules import require_working_node
from creditledger.credits.jobs import (
    JobStatus,
    Leg,
    job_of,
    leg_of,
    progress_of,
    put_leg,
    put_window,
)
from creditledger.credits.pool import parameters_of
from creditledger.credits.standing import put_standing, standing_of
from creditledger.credits.step import Step
from creditledger.errors import (
    ConflictError,
    ExpiredError,
    HoldClosedError,
    OpeningError,
    RefusedError,
    RoleError,
    UnknownIdError,
)
from creditledger.quantities import AMOUNT_MAX
from creditledger.records.job import Job, PlanSpan
from creditledger.records.kinds import Kind
from creditledger.records.parameters import ModelTerms
from creditledger.records.receipt import WINDOW, Batch, Receipt
from creditledger.records.record import signing_prefix
from creditledger.records.registration import Role
from creditledger.records.state import ReceiptState, consumed_key, receipt_key
from creditledger.records.verdict import Outcome
from creditledger.transparency.merkle import leaf_hashes, root_from_leaf_hashes


def apply_batch(step: Step, batch: Batch) -> None:
    """Admit every receipt of the batch; one that the rules refuse refuses the whole batch."""
    step.require_actor(batch.node, Role.NODE)
    require_working_node(step.state, batch.node)
    if batch.audit_epoch > step.parameters.sequence:
        raise RefusedError(
            "sealed to audit keys that are not in force",
            expected=f"at most {step.parameters.sequence}",
            found=str(batch.audit_epoch),
        )
    _require_bodies(batch, step.bodies)
    desk = _Desk(step=step, node=batch.node)
    prefix = signing_prefix(Kind.RECEIPT, step.ledger_id)
    for place, (body, receipt) in enumerate(zip(step.bodies, Receipt.decode_all(step.bodies), strict=True)):
        desk.admit(place, receipt, sha256(prefix + body).digest())
    desk.close()


def _require_bodies(batch: Batch, bodies: tuple[bytes, ...]) -> None:
    root = root_from_leaf_hashes(leaf_hashes(bodies))
    if len(bodies) != batch.count or root != batch.root:
        raise OpeningError(
            "bodies are not the batch's receipts",
            expected=f"{batch.count} with root {batch.root.hex()}",
            found=f"{len(bodies)} with root {root.hex()}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenJob:
    """A job that receipts of the batch belong to, read once."""

    job: Job
    terms: ModelTerms


class _Desk:
    """Admits one batch's receipts; jobs and chains are read once and chains written once."""

    __slots__ = ("_jobs", "_legs", "_node", "_step")

    def __init__(self, *, step: Step, node: bytes) -> None:
        self._step = step
        self._node = node
        self._jobs: dict[bytes, _OpenJob] = {}
        self._legs: dict[tuple[bytes, int], Leg] = {}

    def admit(self, place: int, receipt: Receipt, digest: bytes) -> None:
        """Check receipt number ``place`` and enter it."""
        if self._step.state.map_value(consumed_key(digest)) is not None:
            raise ConflictError("receipt was logged before", found=digest.hex())
        if receipt.node != self._node:
            raise RoleError("receipt is of another node", expected=self._node.hex(), found=receipt.node.hex())
        open_job = self._job(receipt.job)
        leg = self._leg(receipt, open_job.job)
        _require_next(receipt, leg, open_job.job)
        self._legs[receipt.job, receipt.layer_start] = leg.replace(
            next_position=receipt.window_start + receipt.positions,
            head=digest,
            ended=int(receipt.positions < WINDOW),
        )
        self._enter(place, receipt, digest, open_job.terms)

    def close(self) -> None:
        """Write the chains, and that the node was seen."""
        state = self._step.state
        for (job, _), leg in self._legs.items():
            put_leg(state, job, leg)
        standing = standing_of(state, self._node)
        put_standing(state, self._node, standing.replace(last_seen_unix_ms=self._step.now))

    def _job(self, digest: bytes) -> _OpenJob:
        found = self._jobs.get(digest)
        if found is None:
            found = self._jobs[digest] = self._read_job(digest)
        return found

    def _read_job(self, digest: bytes) -> _OpenJob:
        state = self._step.state
        job, progress = job_of(state, digest), progress_of(state, digest)
        if progress.status != JobStatus.HELD:
            raise HoldClosedError(
                "job takes no receipts now", expected="held", found=JobStatus(progress.status).name.lower()
            )
        if self._step.now >= job.expires_unix_ms:
            raise ExpiredError(
                "job has expired", expected=f"before {job.expires_unix_ms}", found=str(self._step.now)
            )
        terms = parameters_of(state, job.parameters).model_terms(job.model)
        if terms is None:
            raise AssertionError("a job was admitted without its model")
        return _OpenJob(job=job, terms=terms)

    def _leg(self, receipt: Receipt, job: Job) -> Leg:
        key = (receipt.job, receipt.layer_start)
        found = self._legs.get(key)
        if found is None:
            found = leg_of(self._step.state, receipt.job, _span_of(receipt, job))
        if found.layer_stop != receipt.layer_stop:
            raise UnknownIdError(
                "receipt is not of the node's span", expected=f"layers to {found.layer_stop}"
            )
        return found

    def _enter(self, place: int, receipt: Receipt, digest: bytes, terms: ModelTerms) -> None:
        step = self._step
        step.state.put_map(consumed_key(digest), step.index.to_bytes(8, "big"))
        step.state.put_entry(receipt_key(digest), _fresh_state(receipt, digest, step.index))
        put_window(step.state, receipt.job, receipt.layer_start, receipt.window_start, digest)
        value = min(window_value_micro(receipt, terms), AMOUNT_MAX)
        await_round(step.state, step.index, place, UncoveredReceipt(receipt=digest, value_micro=value))


def window_value_micro(receipt: Receipt, terms: ModelTerms) -> int:
    """What one receipt's window would earn by itself, rounded down."""
    layers = receipt.layer_stop - receipt.layer_start
    flops = tariff.span_flops(terms, layers, receipt.window_start, receipt.positions)
    return tariff.span_price(terms, flops)


def _span_of(receipt: Receipt, job: Job) -> PlanSpan:
    span = job.span_of(receipt.layer_start)
    if span is None or span.node != receipt.node:
        raise UnknownIdError("receipt is not of the node's span", found=f"layer {receipt.layer_start}")
    return span


def _require_next(receipt: Receipt, leg: Leg, job: Job) -> None:
    """The receipt is the next of its chain, of the job's model, within the job's bound."""
    if receipt.model != job.model:
        raise RefusedError("receipt is of another model", expected=job.model.hex(), found=receipt.model.hex())
    if leg.ended or receipt.window_start != leg.next_position:
        raise RefusedError(
            "receipt is not the next window",
            expected="nothing after a short window" if leg.ended else f"start {leg.next_position}",
            found=f"start {receipt.window_start}",
        )
    if receipt.previous != leg.head:
        raise RefusedError(
            "receipt does not follow its chain", expected=leg.head.hex(), found=receipt.previous.hex()
        )
    end = receipt.window_start + receipt.positions
    if end > job.max_positions:
        raise RefusedError(
            "receipt goes beyond the job", expected=f"at most {job.max_positions}", found=str(end)
        )


def _fresh_state(receipt: Receipt, digest: bytes, batch_index: int) -> ReceiptState:
    return ReceiptState(
        receipt=digest,
        job=receipt.job,
        node=receipt.node,
        layer_start=receipt.layer_start,
        positions=receipt.positions,
        batch_index=batch_index,
        round=0,
        due=0,
        upheld=0,
        refuted=0,
        inconclusive=0,
        outcome=Outcome.UNCHECKED,
        settled=0,
    )

"""Job and delivery: what a client orders, and what it countersigns. Source: specs/credits.md §6."""

from creditledger.credits.account import account_in_role, require_open
from creditledger.credits.jobs import (
    JobStatus,
    Leg,
    job_of,
    leg_of,
    open_job,
    progress_of,
    put_leg,
    put_progress,
    window_receipt,
)
from creditledger.credits.pool import in_force_digest
from creditledger.credits.state import State
from creditledger.credits.step import Step
from creditledger.errors import (
    AmountError,
    ExpiredError,
    HoldClosedError,
    RefusedError,
    RoleError,
    UnknownIdError,
)
from creditledger.records.job import Job, PlanSpan
from creditledger.records.parameters import ModelTerms
from creditledger.records.receipt import WINDOW, ChainHead, Delivery
from creditledger.records.registration import Role
from creditledger.records.state import ReceiptState, receipt_key


def apply_job(step: Step, job: Job) -> None:
    """An order of a listed model, at the parameters in force, from nodes that may work."""
    step.require_actor(job.client, Role.CLIENT)
    step.claim_id(job.client, job.id)
    if step.now >= job.expires_unix_ms:
        raise ExpiredError("job has expired", expected=f"after {step.now}", found=str(job.expires_unix_ms))
    digest = in_force_digest(step.state)
    if job.parameters != digest:
        raise RefusedError(
            "job is not at the parameters in force", expected=digest.hex(), found=job.parameters.hex()
        )
    if job.max_price_micro == 0:
        raise AmountError("a job has a price", expected="more than 0", found="0")
    _require_plan(step, job, step.parameters.model_terms(job.model))
    open_job(step.state, step.digest, job, step.index)


def _require_plan(step: Step, job: Job, terms: ModelTerms | None) -> None:
    if terms is None:
        raise UnknownIdError("the pool lists no such model", found=job.model.hex())
    if job.plan[-1].layer_stop > terms.layers:
        raise RefusedError(
            "plan goes beyond the model",
            expected=f"{terms.layers} layers",
            found=str(job.plan[-1].layer_stop),
        )
    for node in {span.node for span in job.plan}:
        require_working_node(step.state, node)


def require_working_node(state: State, node: bytes) -> None:
    """``node`` is registered as one and neither closed nor suspended.

    Raises UnknownIdError, RoleError, AccountClosedError, RefusedError."""
    if require_open(account_in_role(state, node, Role.NODE)).suspended:
        raise RefusedError("node is suspended", expected="a node in good standing", found=node.hex())


def apply_delivery(step: Step, delivery: Delivery) -> None:
    """The client accepts receipts up to each head; the last delivery closes the job."""
    step.require_actor(delivery.client, Role.CLIENT)
    job, progress = job_of(step.state, delivery.job), progress_of(step.state, delivery.job)
    if delivery.client != job.client:
        raise RoleError("only the job's client countersigns", expected=job.client.hex())
    if progress.status != JobStatus.HELD:
        raise HoldClosedError(
            "job takes no delivery now", expected="held", found=JobStatus(progress.status).name.lower()
        )
    for head in delivery.heads:
        put_leg(step.state, delivery.job, _delivered(step.state, delivery.job, job, head))
    status = JobStatus.CLOSED if delivery.closes else JobStatus.HELD
    put_progress(step.state, progress.replace(delivery_index=step.index, status=status))


def _delivered(state: State, digest: bytes, job: Job, head: ChainHead) -> Leg:
    """The head's leg once it is accepted."""
    span = job.span_of(head.layer_start)
    if span is None or span.node != head.node:
        raise UnknownIdError("head is not of a span in the plan", found=f"layer {head.layer_start}")
    leg = leg_of(state, digest, span)
    if head.positions < leg.delivered_positions:
        raise RefusedError(
            "delivery goes backwards",
            expected=f"at least {leg.delivered_positions} positions",
            found=str(head.positions),
        )
    _require_head(state, digest, span, head)
    return leg.replace(delivered_positions=head.positions, delivered_receipt=head.receipt)


def _require_head(state: State, digest: bytes, span: PlanSpan, head: ChainHead) -> None:
    """The head's receipt is the one whose window ends at the head's position."""
    window_start = max(head.positions - 1, 0) // WINDOW * WINDOW
    receipt = window_receipt(state, digest, span.layer_start, window_start)
    known = None if receipt is None else state.entry(ReceiptState, receipt_key(receipt))
    if known is None or receipt != head.receipt:
        raise UnknownIdError(
            "head is not the receipt at that position",
            expected="no receipt" if receipt is None else receipt.hex(),
            found=head.receipt.hex(),
        )
    if window_start + known.positions != head.positions:
        raise RefusedError(
            "positions are not those up to the head",
            expected=str(window_start + known.positions),
            found=str(head.positions),
        )

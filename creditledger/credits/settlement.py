"""Settlement: a job's hold becomes its nodes' unvested credits once all due checks are in.

Source: specs/credits.md §10."""

from dataclasses import dataclass

from creditledger.credits import tariff
from creditledger.credits.account import burn, change
from creditledger.credits.ballot import AGREEING, FIRST_WITH_CONFIRMERS
from creditledger.credits.holds import end_hold, live_hold
from creditledger.credits.jobs import (
    JobStatus,
    Leg,
    ended_jobs,
    job_of,
    leg_of,
    progress_of,
    put_progress,
    receipts_of_leg,
)
from creditledger.credits.levies import take_levy
from creditledger.credits.lots import add_lot
from creditledger.credits.pool import genesis_of, in_force, parameters_of, tip_of
from creditledger.credits.standing import after_settlement, put_standing, standing_of
from creditledger.credits.state import State, StateView
from creditledger.credits.step import Step
from creditledger.credits.verdicts import no_data_count
from creditledger.errors import BusyError, HoldClosedError, RefusedError
from creditledger.records.job import Job
from creditledger.records.parameters import ModelTerms, Parameters
from creditledger.records.state import HoldStatus, LotState, ReceiptState, receipt_key
from creditledger.records.transfer import Payment, Settlement


@dataclass(frozen=True, slots=True, kw_only=True)
class SpanResult:
    """What the checks say about one span's delivered receipts."""

    passed_positions: int = 0
    passed_flops: int = 0
    delivered_flops: int = 0
    checks: int = 0
    no_data: int = 0
    without_data: int = 0
    """Receipts for which two validators were shown no data."""


def propose_settlement(
    view: StateView, job_digest: bytes, ledger_id: bytes, *, now_unix_ms: int | None = None
) -> Settlement:
    """The settlement the operator should sign now; ``now_unix_ms`` is the last entry's time if absent.

    Raises UnknownIdError; HoldClosedError for a job without an open hold; RefusedError for one that is
    neither closed nor expired, has nothing delivered, or is of another ledger; BusyError while a
    delivered receipt is not certified or a due verdict is missing. Source: specs/credits.md §10."""
    state = State(view)
    if genesis_of(state).ledger_id != ledger_id:
        raise RefusedError("state is of another ledger", expected=ledger_id.hex())
    job = job_of(state, job_digest)
    now = tip_of(state).time_unix_ms if now_unix_ms is None else now_unix_ms
    _require_ended(state, job_digest, now)
    parameters = parameters_of(state, job.parameters)
    hold = live_hold(state, progress_of(state, job_digest).hold, HoldStatus.OPEN)
    payments, burned = _payments(state, job_digest, job, parameters)
    return Settlement(
        job=job_digest,
        payments=payments,
        burned_micro=burned,
        released_micro=hold.amount_micro - burned - sum(payment.amount_micro for payment in payments),
    )


def _require_ended(state: State, job_digest: bytes, now: int) -> None:
    progress = progress_of(state, job_digest)
    if progress.status not in (JobStatus.HELD, JobStatus.CLOSED):
        raise HoldClosedError(
            "job has nothing to settle",
            expected="a job under an open hold",
            found=JobStatus(progress.status).name.lower(),
        )
    if progress.status == JobStatus.HELD and now < progress.expires_unix_ms:
        raise RefusedError(
            "job is under way", expected=f"closed, or {progress.expires_unix_ms}", found=str(now)
        )
    if not progress.delivery_index:
        raise RefusedError("nothing was delivered", expected="a delivery; else the hold expires")


def _payments(
    state: State, job_digest: bytes, job: Job, parameters: Parameters
) -> tuple[tuple[Payment, ...], int]:
    """The payments in plan order, capped together with what is burned by the job's bound."""
    terms = parameters.model_terms(job.model)
    if terms is None:
        raise AssertionError("a job was admitted without its model")
    left, burned = job.max_price_micro, 0
    payments = []
    for span in job.plan:
        leg = leg_of(state, job_digest, span)
        result = span_result(state, job_digest, leg, terms)
        is_burned = _is_burned(state, result)
        flops = result.delivered_flops if is_burned else result.passed_flops
        amount = min(tariff.span_price(terms, flops), left)
        left -= amount
        if is_burned:
            burned += amount
        elif result.passed_positions:
            payments.append(_payment(leg, result.passed_positions, amount, parameters.levy_ppm))
    return tuple(payments), burned


def _is_burned(state: State, result: SpanResult) -> bool:
    """Whether there was no data: the span's pay is void and its price burned.

    From rule set 3 on two validators say so of one receipt; before, all of them of all."""
    if in_force(state).rule_set >= FIRST_WITH_CONFIRMERS:
        return result.without_data > 0
    return 0 < result.checks == result.no_data


def _payment(leg: Leg, positions: int, amount: int, levy_ppm: int) -> Payment:
    return Payment(
        node=leg.node,
        layer_start=leg.layer_start,
        positions=positions,
        amount_micro=amount,
        levy_micro=tariff.levy(amount, levy_ppm),
    )


def span_result(state: State, job_digest: bytes, leg: Leg, terms: ModelTerms) -> SpanResult:
    """Sum up a span's delivered receipts. Raises BusyError while one of them is undecided."""
    result = SpanResult()
    for window_start, digest in receipts_of_leg(state, job_digest, leg.layer_start):
        if window_start >= leg.delivered_positions:
            break
        receipt = _decided(state, digest)
        flops = tariff.span_flops(terms, leg.layer_stop - leg.layer_start, window_start, receipt.positions)
        passed, no_data = receipt.has_passed, no_data_count(state, digest)
        result = SpanResult(
            passed_positions=result.passed_positions + passed * receipt.positions,
            passed_flops=result.passed_flops + passed * flops,
            delivered_flops=result.delivered_flops + flops,
            checks=result.checks + receipt.due,
            no_data=result.no_data + (no_data if receipt.due else 0),
            without_data=result.without_data + (no_data >= AGREEING),
        )
    return result


def _decided(state: State, digest: bytes) -> ReceiptState:
    receipt = state.entry(ReceiptState, receipt_key(digest))
    if receipt is None:
        raise AssertionError("a chain names a receipt without a state")
    if receipt.round == 0:
        raise BusyError("a delivered receipt is in no certified round yet", found=digest.hex())
    if not receipt.is_judged:
        done = receipt.upheld + receipt.refuted + receipt.inconclusive
        raise BusyError("checks are due", expected=f"{receipt.due} verdicts", found=str(done))
    return receipt


def apply_settlement(step: Step, settlement: Settlement) -> None:
    """By the operator, and exactly what `propose_settlement` gives."""
    step.require_operator()
    state = step.state
    expected = propose_settlement(state.view, settlement.job, step.ledger_id, now_unix_ms=step.now)
    if settlement != expected:
        raise RefusedError(
            "settlement is not what the checks give",
            expected=str(expected.to_values()[3:]),
            found=str(settlement.to_values()[3:]),
        )
    progress = progress_of(state, settlement.job)
    hold = live_hold(state, progress.hold, HoldStatus.OPEN)
    released = settlement.released_micro
    change(state, hold.holder, held=-hold.amount_micro, spendable=released)
    burn(state, settlement.burned_micro)
    for payment in settlement.payments:
        _pay(step, settlement.job, payment)
    end_hold(state, hold, HoldStatus.SETTLED, captured_micro=hold.amount_micro - released)
    put_progress(state, progress.replace(status=JobStatus.SETTLED))
    _mark_settled(state, settlement.job)


def _pay(step: Step, job_digest: bytes, payment: Payment) -> None:
    state, net = step.state, payment.amount_micro - payment.levy_micro
    change(state, payment.node, unvested=net, verified=net)
    take_levy(state, payment.node, payment.levy_micro)
    standing = after_settlement(standing_of(state, payment.node), payment.amount_micro)
    put_standing(state, payment.node, standing)
    if net == 0:
        return
    lot = LotState(
        job=job_digest,
        node=payment.node,
        layer_start=payment.layer_start,
        amount_micro=net,
        settled_round=tip_of(state).certified_round,
        settled_unix_ms=step.now,
        vested=0,
    )
    add_lot(state, lot, settled_micro=standing.settled_micro)


def _mark_settled(state: State, job_digest: bytes) -> None:
    """Only what the client accepted is settled."""
    for span in job_of(state, job_digest).plan:
        leg = leg_of(state, job_digest, span)
        for window_start, digest in receipts_of_leg(state, job_digest, span.layer_start):
            if window_start >= leg.delivered_positions:
                break
            receipt = state.entry(ReceiptState, receipt_key(digest))
            if receipt is not None:
                state.put_entry(receipt_key(digest), receipt.replace(settled=1))


def due_settlements(view: StateView, now_unix_ms: int) -> list[bytes]:
    """Digests of the jobs that `propose_settlement` would settle now, ascending."""
    return [job for job in ended_jobs(State(view), now_unix_ms) if _is_due(view, job, now_unix_ms)]


def _is_due(view: StateView, job_digest: bytes, now_unix_ms: int) -> bool:
    state = State(view)
    try:
        propose_settlement(view, job_digest, genesis_of(state).ledger_id, now_unix_ms=now_unix_ms)
    except (BusyError, RefusedError):
        return False
    return True

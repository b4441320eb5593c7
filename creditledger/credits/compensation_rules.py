"""Refunds and clawbacks: what was paid is never undone, it is paid back. Source: specs/credits.md §14."""

from creditledger.credits.account import account_of, change, require_open
from creditledger.credits.captures import captured_sum, note_capture, put_captured_sum
from creditledger.credits.hold_rules import apply_capture
from creditledger.credits.holds import hold_of
from creditledger.credits.jobs import job_of
from creditledger.credits.pending import defer
from creditledger.credits.pool import operator_account
from creditledger.credits.spending import give_back
from creditledger.credits.step import Step
from creditledger.credits.tariff import levy
from creditledger.errors import AmountError, RoleError, UnknownIdError
from creditledger.records.registration import Role
from creditledger.records.state import LotState, lot_key
from creditledger.records.transfer import Capture, Clawback, Refund


def apply_refundable_capture(step: Step, capture: Capture) -> None:
    """As `apply_capture`, and what it took is kept for refunds."""
    apply_capture(step, capture)
    share = levy(capture.amount_micro, step.parameters.levy_ppm)
    note_capture(step.state, step.digest, capture, metered_micro=capture.amount_micro - share)


def apply_refund(step: Step, refund: Refund) -> None:
    """The queue gives back captured credits out of its own; the levy on them stays where it went."""
    step.require_actor(refund.queue, Role.QUEUE)
    step.claim_id(refund.queue, refund.id)
    taken = captured_sum(step.state, refund.capture)
    if taken.queue != refund.queue:
        raise RoleError(
            "another queue made the capture", expected=taken.queue.hex(), found=refund.queue.hex()
        )
    holder = require_open(account_of(step.state, hold_of(step.state, taken.hold).holder))
    left = taken.amount_micro - taken.refunded_micro
    if not 0 < refund.amount_micro <= left:
        raise AmountError(
            "refund is not of what was captured", expected=f"1..{left}", found=str(refund.amount_micro)
        )
    unmetered = min(refund.amount_micro, taken.metered_micro)
    change(step.state, refund.queue, spendable=-refund.amount_micro, metered=-unmetered)
    change(step.state, holder.account, spendable=refund.amount_micro)
    give_back(step.state, taken.hold, refund.amount_micro)
    put_captured_sum(
        step.state,
        refund.capture,
        taken.replace(
            refunded_micro=taken.refunded_micro + refund.amount_micro,
            metered_micro=taken.metered_micro - unmetered,
        ),
    )


def apply_clawback(step: Step, clawback: Clawback) -> None:
    """By the operator, of one lot; in effect with the first round certified over it."""
    step.require_operator()
    step.claim_id(operator_account(step.state), clawback.id)
    lot = step.state.entry(LotState, lot_key(clawback.job, clawback.layer_start))
    if lot is None or lot.node != clawback.node:
        raise UnknownIdError(
            "the job paid this node no such lot",
            found=f"{clawback.job.hex()} from layer {clawback.layer_start}",
        )
    require_open(account_of(step.state, job_of(step.state, clawback.job).client))
    defer(step.state, step.index, clawback)

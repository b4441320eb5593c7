"""Budgets, and what counts towards them: holds and, for the whole account, transfers.

Source: specs/credits.md §13."""

from creditledger.credits.budgets import BudgetState, put_budget, require_within
from creditledger.credits.delegation_rules import apply_delegated_hold
from creditledger.credits.hold_rules import apply_hold
from creditledger.credits.spending import WHOLE_ACCOUNT, SpentHold, add_spent, day_of, note_hold
from creditledger.credits.step import Step
from creditledger.credits.transfer_rules import apply_transfer
from creditledger.errors import RoleError
from creditledger.records.account import Budget
from creditledger.records.transfer import DelegatedHold, Hold, Transfer


def apply_budget(step: Step, budget: Budget) -> None:
    """By the account: replaces the budget it had, for itself or for that delegate."""
    step.require_actor(budget.account)
    step.claim_id(budget.account, budget.id)
    if budget.delegate == budget.account:
        raise RoleError("an account is not its own delegate", expected="zero, or a delegate")
    put_budget(
        step.state,
        BudgetState(
            account=budget.account,
            delegate=budget.delegate,
            limit_micro=budget.limit_micro,
            days=budget.days,
            notice_micro=budget.notice_micro,
        ),
    )


def apply_hold_in_budget(step: Step, hold: Hold) -> None:
    """As before, and within the account's budget."""
    apply_hold(step, hold)
    spent = SpentHold(
        hold=step.digest,
        account=hold.holder,
        delegate=WHOLE_ACCOUNT,
        queue=hold.queue,
        day=day_of(step.now),
    )
    note_hold(step.state, spent, hold.amount_micro)
    require_within(step.state, hold.holder, WHOLE_ACCOUNT, now_unix_ms=step.now)


def apply_delegated_hold_in_budget(step: Step, hold: DelegatedHold) -> None:
    """Within the delegation, the delegate's budget and the account's."""
    apply_delegated_hold(step, hold)
    require_within(step.state, hold.holder, hold.delegate, now_unix_ms=step.now)
    require_within(step.state, hold.holder, WHOLE_ACCOUNT, now_unix_ms=step.now)


def apply_transfer_in_budget(step: Step, transfer: Transfer) -> None:
    """As before, and within the payer's budget."""
    apply_transfer(step, transfer)
    add_spent(step.state, transfer.payer, WHOLE_ACCOUNT, day_of(step.now), transfer.amount_micro)
    require_within(step.state, transfer.payer, WHOLE_ACCOUNT, now_unix_ms=step.now)

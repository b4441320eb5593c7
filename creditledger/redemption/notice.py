"""What is to be told before credits run out: a spendable balance or a budget that is nearly used up.

Source: specs/redemption.md §11."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from creditledger.credits.budgets import BudgetState
from creditledger.credits.spending import WHOLE_ACCOUNT
from creditledger.credits.state import StateView
from creditledger.quantities import AccountId, MicroCredit
from creditledger.redemption.amount import format_amount


class Shortage(StrEnum):
    """What is running out."""

    BALANCE = "low-balance"
    BUDGET = "low-budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spendable:
    """What may still be spent under one budget, in micro-credits."""

    delegate: AccountId
    """Zero: the whole account's budget."""
    balance_micro: MicroCredit
    """Of the account, its credit line included."""
    budget_micro: MicroCredit | None
    """Of the budget; None where it has no limit."""
    notice_micro: MicroCredit
    """Below this it is to be told; 0 for never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something fell below what the account wanted to be told about."""

    shortage: Shortage
    delegate: AccountId
    left_micro: MicroCredit
    below_micro: MicroCredit

    @property
    def text(self) -> str:
        """One line for a person."""
        whose = "" if self.delegate == WHOLE_ACCOUNT else f" of delegate {self.delegate.hex()[:16]}"
        name = self.shortage.value.replace("-", " ")
        left, below = format_amount(self.left_micro), format_amount(self.below_micro)
        return f"{name}{whose}: {left} left, notice at {below}"


def spendable_under(
    view: StateView, budget: BudgetState, *, balance_micro: int, now_unix_ms: int
) -> Spendable:
    """What ``budget`` leaves now. ``balance_micro``: what the account can spend at all."""
    return Spendable(
        delegate=budget.delegate,
        balance_micro=balance_micro,
        budget_micro=budget.left_micro(view, now_unix_ms),
        notice_micro=budget.notice_micro,
    )


def notices_of(spendable: Iterable[Spendable]) -> tuple[Notice, ...]:
    """What is to be told, in the order of ``spendable``: a low balance once, every low budget."""
    found: dict[tuple[Shortage, bytes], Notice] = {}
    for row in spendable:
        if row.balance_micro < row.notice_micro:
            _note(found, Shortage.BALANCE, WHOLE_ACCOUNT, row.balance_micro, row.notice_micro)
        if row.budget_micro is not None and row.budget_micro < row.notice_micro:
            _note(found, Shortage.BUDGET, row.delegate, row.budget_micro, row.notice_micro)
    return tuple(found.values())


def _note(
    found: dict[tuple[Shortage, bytes], Notice], shortage: Shortage, delegate: bytes, left: int, below: int
) -> None:
    known = found.get((shortage, delegate))
    if known is None or known.below_micro < below:
        found[shortage, delegate] = Notice(
            shortage=shortage, delegate=delegate, left_micro=left, below_micro=below
        )

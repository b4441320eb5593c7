"""Budgets: what an account, or one delegate of it, may spend over some days. Source: specs/credits.md §13."""

from typing import Final

from creditledger.credits.spending import WHOLE_ACCOUNT, day_of, spent_micro
from creditledger.credits.state import State, StateView, decode_row
from creditledger.errors import LimitError
from creditledger.quantities import AMOUNT_MAX, AccountId, Count, MicroCredit
from creditledger.records.record import Fields

NO_LIMIT: Final = AMOUNT_MAX

_BUDGET: Final = b"U/"


class BudgetState(Fields):
    """The budget in force for an account, or for one delegate of it."""

    account: AccountId
    delegate: AccountId
    """Zero: all that the account spends."""
    limit_micro: MicroCredit
    days: Count
    notice_micro: MicroCredit

    def spent_micro(self, view: StateView, now_unix_ms: int) -> int:
        """What was spent today and on the days before it that count, less what came back of that."""
        today = day_of(now_unix_ms)
        return spent_micro(State(view), self.account, self.delegate, until_day=today, days=self.days)

    def left_micro(self, view: StateView, now_unix_ms: int) -> int | None:
        """What may still be spent now; None without a limit."""
        if self.limit_micro == NO_LIMIT:
            return None
        return max(0, self.limit_micro - self.spent_micro(view, now_unix_ms))


def budget_of(state: State, account: bytes, delegate: bytes = WHOLE_ACCOUNT) -> BudgetState | None:
    """The budget of an account, or of one delegate of it, or None."""
    return state.row(BudgetState, _BUDGET + account + delegate)


def budgets_of(state: State, account: bytes) -> list[BudgetState]:
    """All budgets of an account: its own first, then its delegates'."""
    return [decode_row(BudgetState, row) for _, row in state.view.scan(_BUDGET + account)]


def put_budget(state: State, budget: BudgetState) -> None:
    """Set a budget: the latest one counts."""
    state.put_row(_BUDGET + budget.account + budget.delegate, budget)


def require_within(state: State, account: bytes, delegate: bytes, *, now_unix_ms: int) -> None:
    """What was spent, the entry in hand included, does not pass the budget. Raises LimitError."""
    budget = budget_of(state, account, delegate)
    if budget is None or budget.limit_micro == NO_LIMIT:
        return
    spent = budget.spent_micro(state.view, now_unix_ms)
    if spent > budget.limit_micro:
        whose = "the account's" if delegate == WHOLE_ACCOUNT else "the delegate's"
        raise LimitError(
            f"{whose} budget is used up",
            expected=f"at most {budget.limit_micro} in {budget.days} days",
            found=str(spent),
        )

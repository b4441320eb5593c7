"""Where an account stands: what it has, what of it is held or unvested, why and until when.

Source: specs/redemption.md §11."""

from dataclasses import dataclass

from creditledger.credits import reading
from creditledger.credits.account import spendable_micro
from creditledger.credits.budgets import BudgetState, budgets_of
from creditledger.credits.holds import hold_of, live_holds_of
from creditledger.credits.lots import WaitingLot, waiting_lots_of
from creditledger.credits.spending import DelegationState, delegations_of
from creditledger.credits.state import State, StateView
from creditledger.errors import UnknownIdError
from creditledger.quantities import MicroCredit
from creditledger.records.registration import Role
from creditledger.records.state import AccountState, HoldState
from creditledger.records.transfer import Hold
from creditledger.redemption.notice import Notice, notices_of, spendable_under


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHold:
    """A hold that has not ended."""

    state: HoldState
    body: Hold

    @property
    def held_micro(self) -> int:
        """What is still set aside under it."""
        return self.state.amount_micro - self.state.captured_micro


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetUse:
    """A budget, and how far it is used up."""

    budget: BudgetState
    spent_micro: MicroCredit
    left_micro: MicroCredit | None
    """None without a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """An account's credits of one moment, with the reasons."""

    account: AccountState
    holds: tuple[OpenHold, ...]
    """The first to expire first; what they hold sums up to the account's held credits."""
    lots: tuple[WaitingLot, ...]
    """The oldest first; they sum up to its unvested credits."""
    budgets: tuple[BudgetUse, ...]
    delegations: tuple[DelegationState, ...]
    """Revoked and expired ones left out."""
    notices: tuple[Notice, ...]

    @property
    def balance_micro(self) -> int:
        """All that is the account's, held and unvested included; negative where it owes more."""
        own = self.account
        return own.available_micro - own.overdrawn_micro + own.held_micro + own.unvested_micro

    @property
    def spendable_micro(self) -> int:
        """What it can hold or transfer now, its credit line included."""
        return spendable_micro(self.account)


def position_of(view: StateView, account: bytes, *, now_unix_ms: int) -> Position:
    """Where ``account`` (32-byte id) stands in ``view``, a state of one moment; ``now_unix_ms`` for budgets.

    Reads every hold that is open and every lot that is unvested in the pool, and nothing that has ended.
    Raises UnknownIdError."""
    found = reading.account_state(view, account)
    if found is None:
        raise UnknownIdError("no such account", found=account.hex())
    state, spendable = State(view), spendable_micro(found)
    lots: tuple[WaitingLot, ...] = ()
    if found.role == Role.NODE:
        lots = tuple(waiting_lots_of(state, reading.parameters_in_force(view), account))
    budgets = budgets_of(state, account)
    return Position(
        account=found,
        holds=tuple(
            OpenHold(state=hold, body=hold_of(state, hold.hold)) for hold in live_holds_of(state, account)
        ),
        lots=lots,
        budgets=tuple(_use(view, budget, now_unix_ms) for budget in budgets),
        delegations=tuple(
            row for row in delegations_of(state, account) if row.cap_micro and now_unix_ms < row.until_unix_ms
        ),
        notices=notices_of(
            spendable_under(view, budget, balance_micro=spendable, now_unix_ms=now_unix_ms)
            for budget in budgets
        ),
    )


def spending_notices(
    view: StateView, account: bytes, *, delegate: bytes = reading.WHOLE_ACCOUNT, now_unix_ms: int
) -> tuple[Notice, ...]:
    """What whoever just spent for ``account`` is to be told: by its budget, and by its delegate's own."""
    found = reading.account_state(view, account)
    if found is None:
        return ()
    rows = (
        reading.budget_of(view, account, whose) for whose in dict.fromkeys((reading.WHOLE_ACCOUNT, delegate))
    )
    return notices_of(
        spendable_under(view, row, balance_micro=spendable_micro(found), now_unix_ms=now_unix_ms)
        for row in rows
        if row is not None
    )


def _use(view: StateView, budget: BudgetState, now_unix_ms: int) -> BudgetUse:
    return BudgetUse(
        budget=budget,
        spent_micro=budget.spent_micro(view, now_unix_ms),
        left_micro=budget.left_micro(view, now_unix_ms),
    )

"""Why an account cannot pay for a job now, in words for its members: credits, delegation, budget.

Source: specs/redemption.md §10."""

from creditledger.credits import reading
from creditledger.credits.account import spendable_micro
from creditledger.credits.spending import WHOLE_ACCOUNT
from creditledger.credits.state import StateView
from creditledger.redemption.amount import format_amount


def shortfall_of(
    view: StateView, *, name: str, holder: bytes, delegate: bytes, queue: bytes, amount_micro: int, now: int
) -> str | None:
    """What is missing for ``delegate`` to hold the amount for ``holder`` at ``queue``; None if nothing is.

    The ledger decides in the end: this only keeps from asking for what it would refuse. All ids 32 bytes;
    ``name``: how its members call the holder."""
    state = reading.account_state(view, holder)
    if state is None:
        return f"the pool has no account {name}"
    spendable = spendable_micro(state)
    if spendable < amount_micro:
        return f"needs {format_amount(amount_micro)}, {name} has {format_amount(spendable)}"
    given = reading.delegation(view, holder, delegate, queue)
    if given is None or given.cap_micro == 0:
        return f"{name} does not let this queue spend: creditledger delegate"
    if now >= given.until_unix_ms:
        return f"{name} let this queue spend until a time that is over: creditledger delegate"
    left = max(0, given.cap_micro - given.used_micro)
    if left < amount_micro:
        return f"needs {format_amount(amount_micro)}, the cap of {name} leaves {format_amount(left)}"
    for spender in (WHOLE_ACCOUNT, delegate):
        budget = reading.budget_of(view, holder, spender)
        rest = None if budget is None else budget.left_micro(view, now)
        if rest is not None and rest < amount_micro:
            return f"needs {format_amount(amount_micro)}, the budget of {name} leaves {format_amount(rest)}"
    return None

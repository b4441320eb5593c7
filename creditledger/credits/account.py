"""Accounts: every change of a balance, and the sum over all of them.

Source: specs/credits.md §4."""

from collections.abc import Iterator
from typing import Final

from creditledger.credits.state import MAP, State, StateView
from creditledger.errors import (
    AccountClosedError,
    AmountError,
    InsufficientCreditError,
    IntegrityError,
    RoleError,
    UnknownIdError,
)
from creditledger.quantities import AMOUNT_MAX, MicroCredit, require_amount
from creditledger.records.record import Fields
from creditledger.records.registration import Role
from creditledger.records.state import AccountState, account_key

SUSPENDED: Final = 1
CLOSED: Final = 2
"""What `AccountState.suspended` says, beside 0."""

_TOTALS: Final = b"t/totals"
_NAME: Final = b"u/"


class Totals(Fields):
    """Sums over all accounts: available - overdrawn + held + unvested + burned == granted."""

    granted_micro: MicroCredit = 0
    burned_micro: MicroCredit = 0
    available_micro: MicroCredit = 0
    overdrawn_micro: MicroCredit = 0
    held_micro: MicroCredit = 0
    unvested_micro: MicroCredit = 0
    ceiling_micro: MicroCredit = 0
    """All grants and credit lines ever logged: no balance can pass this, so it must stay an amount."""


def totals_of(state: State) -> Totals:
    """The sums over all accounts."""
    return state.row(Totals, _TOTALS) or Totals()


def account_of(state: State, account: bytes) -> AccountState:
    """The account. Raises UnknownIdError."""
    found = state.entry(AccountState, account_key(account))
    if found is None:
        raise UnknownIdError("no such account", found=account.hex())
    return found


def account_in_role(state: State, account: bytes, role: Role) -> AccountState:
    """The account, registered in ``role``. Raises UnknownIdError, RoleError."""
    found = account_of(state, account)
    if found.role != role:
        raise RoleError(
            f"{found.name} is of another role",
            expected=role.name.lower(),
            found=Role(found.role).name.lower(),
        )
    return found


def require_open(account: AccountState) -> AccountState:
    """``account`` if it was not closed. Raises AccountClosedError."""
    if account.suspended == CLOSED:
        raise AccountClosedError(f"{account.name} was closed", expected="an open account", found="closed")
    return account


def put_empty_account(state: State, account: bytes, role: Role, name: str) -> None:
    """Put a new account with nothing in it under its id, and under no name yet."""
    empty = AccountState(
        account=account,
        role=role,
        name=name,
        available_micro=0,
        overdrawn_micro=0,
        held_micro=0,
        unvested_micro=0,
        credit_line_micro=0,
        verified_micro=0,
        metered_micro=0,
        suspended=0,
    )
    state.put_entry(account_key(account), empty)


def name_account(state: State, name: str, account: bytes) -> None:
    """Let ``name`` stand for an account's id from now on."""
    state.view.put(_NAME + name.encode("ascii"), account)


def account_named(state: State, name: str) -> bytes | None:
    """The id of the account registered as ``name``, or None."""
    return state.view.get(_NAME + name.encode("ascii", "replace"))


def change(
    state: State,
    account: bytes,
    *,
    spendable: int = 0,
    held: int = 0,
    unvested: int = 0,
    verified: int = 0,
    metered: int = 0,
) -> AccountState:
    """Add the given micro-credits, which may be negative, to an account's parts.

    ``spendable`` is available less overdrawn: it may fall to minus the credit line. Raises
    InsufficientCreditError below that, AmountError where a part leaves 0..2^63-1."""
    before = account_of(state, account)
    after = _changed(
        before, spendable=spendable, held=held, unvested=unvested, verified=verified, metered=metered
    )
    state.put_entry(account_key(account), after)
    _carry(state, (before, after))
    return after


def pay(state: State, payer: bytes, payee: bytes, amount_micro: int) -> None:
    """Move spendable credits between two accounts. Raises as `change`."""
    before = account_of(state, payer)
    after = _changed(before, spendable=-amount_micro)
    state.put_entry(account_key(payer), after)
    theirs_before = account_of(state, payee)
    theirs_after = _changed(theirs_before, spendable=amount_micro)
    state.put_entry(account_key(payee), theirs_after)
    _carry(state, (before, after), (theirs_before, theirs_after))


def _changed(
    before: AccountState,
    *,
    spendable: int = 0,
    held: int = 0,
    unvested: int = 0,
    verified: int = 0,
    metered: int = 0,
) -> AccountState:
    net = before.available_micro - before.overdrawn_micro + spendable
    if spendable < 0 and net < -before.credit_line_micro:
        raise InsufficientCreditError(
            f"{before.name} cannot cover the amount",
            expected=f"{-spendable} micro-credits",
            found=f"{spendable_micro(before)} micro-credits",
        )
    parts = {"available_micro": max(net, 0), "overdrawn_micro": max(-net, 0)}
    if held:
        parts["held_micro"] = before.held_micro + held
    if unvested:
        parts["unvested_micro"] = before.unvested_micro + unvested
    # Lifetime counters pay nobody: they stop at the top instead of blocking a payment.
    if verified:
        parts["verified_micro"] = min(before.verified_micro + verified, AMOUNT_MAX)
    if metered:
        parts["metered_micro"] = min(before.metered_micro + metered, AMOUNT_MAX)
    for part in parts.values():
        require_amount(part)
    return before.replace(**parts)


def suspend(state: State, node: bytes) -> None:
    """The node gets no new jobs, logs no batches and nothing of it vests."""
    account = account_of(state, node)
    if not account.suspended:
        state.put_entry(account_key(node), account.replace(suspended=SUSPENDED))


def spendable_micro(account: AccountState) -> int:
    """What the account can still hold or transfer, its credit line included."""
    return max(0, account.available_micro - account.overdrawn_micro + account.credit_line_micro)


def credit_grant(state: State, account: bytes, amount_micro: int) -> None:
    """New credits enter an account."""
    change(state, account, spendable=amount_micro)
    totals = totals_of(state)
    state.put_row(_TOTALS, totals.replace(granted_micro=totals.granted_micro + amount_micro))


def burn(state: State, amount_micro: int) -> None:
    """Count credits that just left an account as burned."""
    totals = totals_of(state)
    state.put_row(_TOTALS, totals.replace(burned_micro=totals.burned_micro + amount_micro))


def raise_ceiling(state: State, amount_micro: int) -> None:
    """Make room for ``amount_micro`` more. Raises AmountError if balances could pass 2^63-1."""
    totals = totals_of(state)
    ceiling = totals.ceiling_micro + amount_micro
    if ceiling > AMOUNT_MAX:
        raise AmountError(
            "grants and credit lines would pass the largest amount",
            expected=f"at most {AMOUNT_MAX - totals.ceiling_micro}",
            found=str(amount_micro),
        )
    state.put_row(_TOTALS, totals.replace(ceiling_micro=ceiling))


def _carry(state: State, *changes: tuple[AccountState, AccountState]) -> None:
    """Bring the sums after the accounts: pairs of before and after."""
    available = overdrawn = held = unvested = 0
    for before, after in changes:
        available += after.available_micro - before.available_micro
        overdrawn += after.overdrawn_micro - before.overdrawn_micro
        held += after.held_micro - before.held_micro
        unvested += after.unvested_micro - before.unvested_micro
    if not (available or overdrawn or held or unvested):
        return  # as with every payment out of what there is
    totals = totals_of(state)
    state.put_row(
        _TOTALS,
        totals.replace(
            available_micro=totals.available_micro + available,
            overdrawn_micro=totals.overdrawn_micro + overdrawn,
            held_micro=totals.held_micro + held,
            unvested_micro=totals.unvested_micro + unvested,
        ),
    )


def accounts_named_like(view: StateView, beginning: str) -> Iterator[bytes]:
    """The ids of the accounts whose names begin so, by name. ``beginning``: ASCII."""
    return (account for _, account in view.scan(_NAME + beginning.encode("ascii")))


def accounts_beginning(view: StateView, beginning: bytes) -> Iterator[bytes]:
    """The ids that begin so, ascending."""
    prefix = MAP + account_key(b"")
    return (key[len(prefix) :] for key, _ in view.scan(prefix + beginning))


def all_accounts(view: StateView) -> Iterator[AccountState]:
    """Every account, ascending by id."""
    for _, encoded in view.scan(MAP + account_key(b"")):
        yield AccountState.decode(encoded)


def check_invariant(view: StateView) -> Totals:
    """Sum all accounts and compare with the totals; return them.

    available - overdrawn + held + unvested + burned == granted. Raises IntegrityError.
    Source: specs/credits.md §4."""
    totals = totals_of(State(view))
    sums = [0, 0, 0, 0]
    for account in all_accounts(view):
        parts = (
            account.available_micro,
            account.overdrawn_micro,
            account.held_micro,
            account.unvested_micro,
        )
        sums = [total + part for total, part in zip(sums, parts, strict=True)]
    kept = [totals.available_micro, totals.overdrawn_micro, totals.held_micro, totals.unvested_micro]
    available, overdrawn, held, unvested = sums
    found = available - overdrawn + held + unvested + totals.burned_micro
    if sums != kept or found != totals.granted_micro:
        raise IntegrityError(
            "credits were made or lost",
            expected=f"{totals.granted_micro} granted, sums {kept}",
            found=f"{found}, sums {sums}",
        )
    return totals

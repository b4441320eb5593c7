"""Delegation, and the holds that a delegate makes: somebody else spends, within what the account allows.

Source: specs/credits.md §13."""

from creditledger.credits.account import account_in_role, account_of, change, require_open
from creditledger.credits.delegations import (
    require_delegate,
    require_delegate_signed,
    require_no_machine,
)
from creditledger.credits.hold_rules import require_covers_voucher
from creditledger.credits.holds import open_hold
from creditledger.credits.rotation_rules import apply_registration_or_operator, apply_rotation
from creditledger.credits.spending import (
    DelegationState,
    SpentHold,
    day_of,
    delegation_of,
    note_hold,
    put_delegation,
)
from creditledger.credits.step import Step
from creditledger.errors import ExpiredError, LimitError, RoleError, UnknownIdError
from creditledger.records.account import Delegation
from creditledger.records.registration import Registration, Role, Rotation
from creditledger.records.transfer import DelegatedHold


def apply_delegation(step: Step, delegation: Delegation) -> None:
    """By the account: cap and time replace those before; what was used stays used."""
    step.require_actor(delegation.account)
    if delegation.delegate == delegation.account:
        raise RoleError("an account delegates to somebody else", found=delegation.delegate.hex())
    require_delegate(step.state, delegation.delegate)
    require_open(account_in_role(step.state, delegation.queue, Role.QUEUE))
    before = delegation_of(step.state, delegation.account, delegation.delegate, delegation.queue)
    put_delegation(
        step.state,
        DelegationState(
            account=delegation.account,
            delegate=delegation.delegate,
            queue=delegation.queue,
            cap_micro=delegation.cap_micro,
            used_micro=0 if before is None else before.used_micro,
            until_unix_ms=delegation.until_unix_ms,
        ),
    )


def apply_delegated_hold(step: Step, hold: DelegatedHold) -> None:
    """By the delegate: as a voucher's hold, in time and within the cap."""
    require_delegate_signed(step, hold.delegate)
    step.claim_id(hold.delegate, hold.id)
    delegation = _delegation(step, hold)
    require_covers_voucher(step, hold)
    change(step.state, hold.holder, spendable=-hold.amount_micro, held=hold.amount_micro)
    open_hold(step.state, step.digest, hold)
    # After the credits, as specs/credits.md §13 orders refusals; whatever is refused leaves no trace.
    if delegation.used_micro + hold.amount_micro > delegation.cap_micro:
        raise LimitError(
            "the delegation's cap is used up",
            expected=f"at most {max(0, delegation.cap_micro - delegation.used_micro)}",
            found=str(hold.amount_micro),
        )
    spent = SpentHold(
        hold=step.digest,
        account=hold.holder,
        delegate=hold.delegate,
        queue=hold.queue,
        day=day_of(step.now),
    )
    note_hold(step.state, spent, hold.amount_micro)


def _delegation(step: Step, hold: DelegatedHold) -> DelegationState:
    """The delegation that the hold is made under, between open accounts.

    Raises UnknownIdError, RoleError, AccountClosedError, ExpiredError."""
    holder = account_of(step.state, hold.holder)
    queue = account_in_role(step.state, hold.queue, Role.QUEUE)
    found = delegation_of(step.state, hold.holder, hold.delegate, hold.queue)
    if found is None:
        raise UnknownIdError("the holder has delegated nothing to this key there", found=hold.delegate.hex())
    require_open(holder)
    require_open(queue)
    if step.now >= found.until_unix_ms:
        raise ExpiredError(
            "the delegation has ended", expected=f"before {found.until_unix_ms}", found=str(step.now)
        )
    return found


def apply_registration_of_no_machine(step: Step, registration: Registration) -> None:
    """As before, and not of a key with which a machine has spent."""
    require_no_machine(step.state, registration.account)
    apply_registration_or_operator(step, registration)


def apply_rotation_to_no_machine(step: Step, rotation: Rotation) -> None:
    """As before, and not to a key with which a machine has spent."""
    require_no_machine(step.state, rotation.new_key)
    apply_rotation(step, rotation)

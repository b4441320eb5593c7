"""Rotation, and the registrations that rule set 2 knows besides: keys change hands as was committed before.

Source: specs/credits.md §11."""

from hashlib import sha256

from creditledger.credits.account import account_named, account_of, name_account, require_open
from creditledger.credits.founding_rules import apply_registration
from creditledger.credits.key_history import (
    commit_to,
    commitment_of,
    first_key,
    hand_over,
    is_known_key,
    key_in_force,
)
from creditledger.credits.pool import operator_account
from creditledger.credits.state import State
from creditledger.credits.step import Step
from creditledger.errors import ConflictError, RefusedError, RoleError
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.registration import Registration, Role, Rotation
from creditledger.records.state import account_key, public_key_key
from creditledger.transparency.keys import require_ed25519_public_key


def apply_registration_or_operator(step: Step, registration: Registration) -> None:
    """A new account, as before; or the operator, which commits to its next key and gets no account."""
    account = registration.account
    _require_other_key(account, registration.next_key)
    if registration.role == Role.OPERATOR:
        _apply_operator(step, registration)
        return
    if account != operator_account(step.state) and _is_later_key(step.state, account):
        raise RoleError("the key speaks for an account already", expected="a new key", found=account.hex())
    apply_registration(step, registration)


def _apply_operator(step: Step, registration: Registration) -> None:
    account, state = registration.account, step.state
    if account != operator_account(state):
        raise RoleError(
            "only the genesis' operator registers as one",
            expected=operator_account(state).hex(),
            found=account.hex(),
        )
    if is_known_key(state, account):
        raise ConflictError("the operator is registered already", found=account.hex())
    if account_named(state, registration.name) is not None:
        raise ConflictError("name is taken", expected="a free name", found=registration.name)
    if registration.admission:
        raise RefusedError("the operator admits itself", expected="no admission signature")
    if registration.next_key == ZERO_DIGEST:
        raise RoleError("the operator registers to commit to a key", expected="SHA-256 of its next key")
    step.require_signer(account)
    name_account(state, registration.name, account)
    first_key(state, account, Role.OPERATOR, 0)
    commit_to(state, account, registration.next_key)


def apply_rotation(step: Step, rotation: Rotation) -> None:
    """The key in force hands over to the key it committed to; both sign."""
    account, state = rotation.account, step.state
    found = None if account == operator_account(state) else account_of(state, account)
    step.require_signer(key_in_force(state, account))
    if found is not None:
        require_open(found)
    _require_committed(state, rotation)
    require_ed25519_public_key(rotation.new_key)
    if is_known_key(state, rotation.new_key) or rotation.new_key == operator_account(state):
        raise RoleError(
            "the new key was in use before", expected="a key of its own", found=rotation.new_key.hex()
        )
    _require_other_key(rotation.new_key, rotation.next_key)
    unsigned = rotation.replace(consent=bytes(64)).signing_bytes(step.ledger_id)
    step.context.verifier.ed25519(rotation.new_key, unsigned, rotation.consent)
    hand_over(state, account, rotation.new_key, step.index)
    commit_to(state, account, rotation.next_key)


def _require_committed(state: State, rotation: Rotation) -> None:
    commitment = commitment_of(state, rotation.account)
    if commitment is None:
        raise RoleError(
            "the account committed to no next key: it never rotates",
            expected="a next key in its registration or last rotation",
            found="none",
        )
    found = sha256(rotation.new_key).digest()
    if found != commitment:
        raise RoleError(
            "the new key is not the one committed to", expected=commitment.hex(), found=found.hex()
        )


def _require_other_key(key: bytes, commitment: bytes) -> None:
    if commitment == sha256(key).digest():
        raise RoleError("a key commits to itself", expected="another key", found=key.hex())


def _is_later_key(state: State, key: bytes) -> bool:
    """Whether an account rotated to ``key``: being no account's id, it would pass for a new one."""
    is_id = state.map_value(account_key(key)) is not None
    return not is_id and state.map_value(public_key_key(key)) is not None

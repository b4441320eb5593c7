"""Genesis, parameters and registration: who the pool is, and by which rules.

Source: specs/credits.md §1 and §4."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from creditledger.credits.account import account_named, name_account, put_empty_account
from creditledger.credits.context import committee_of
from creditledger.credits.key_history import commit_to, first_key
from creditledger.credits.pending import defer, pending_records
from creditledger.credits.pool import (
    found_pool,
    in_force,
    operator_account,
    operator_of,
    put_tip,
    tip_of,
)
from creditledger.credits.state import State
from creditledger.credits.step import Step
from creditledger.errors import ConflictError, MalformedRecordError, RefusedError, RoleError
from creditledger.records.parameters import Admission, Genesis, LevyUse, Parameters
from creditledger.records.registration import Registration, Role, admission_bytes
from creditledger.records.state import account_key
from creditledger.transparency.keys import require_ed25519_public_key

SUPPORTED_RULE_SETS = (1, 2, 3, 4)
FIRST_WITH_LEVY_POOL: Final = 4


def apply_genesis(step: Step, genesis: Genesis) -> None:
    """Entry 0, once, signed by the operator it names."""
    if step.index != 0:
        raise RefusedError(
            "a ledger has one genesis", expected="genesis at index 0", found=f"index {step.index}"
        )
    if genesis.ledger_id != step.ledger_id:
        raise RefusedError(
            "genesis is of another ledger", expected=step.ledger_id.hex(), found=genesis.ledger_id.hex()
        )
    require_ed25519_public_key(genesis.operator)
    _require_supported(genesis.parameters)
    _require_profiles(genesis.parameters, step.bodies)
    step.require_signer(genesis.operator)
    found_pool(step.state, genesis)


def apply_parameters(step: Step, parameters: Parameters) -> None:
    """The next sequence number, by the operator; in force with the first round certified over it."""
    step.require_operator()
    tip = tip_of(step.state)
    _require_sequence(parameters, tip.sequence + 1)
    _require_supported(parameters)
    _require_not_lowered(step.state, parameters)
    _require_profiles(parameters, step.bodies)
    defer(step.state, step.index, parameters)
    put_tip(step.state, tip.replace(sequence=parameters.sequence))


def apply_registration(step: Step, registration: Registration) -> None:
    """A new account under a new name, signed by its own key and admitted as the pool asks."""
    account, state = registration.account, step.state
    require_ed25519_public_key(account)
    if account == operator_account(state):
        raise RoleError("the operator's key has no account", expected="a key of its own")
    if registration.role == Role.OPERATOR:
        raise RoleError("an account is not the operator's", expected="node, client or queue")
    if state.map_value(account_key(account)) is not None:
        raise ConflictError("account is registered already", found=account.hex())
    if account_named(state, registration.name) is not None:
        raise ConflictError("name is taken", expected="a free name", found=registration.name)
    _require_admission(step, registration)
    step.require_signer(account)
    put_empty_account(state, account, Role(registration.role), registration.name)
    name_account(state, registration.name, account)
    first_key(state, account, Role(registration.role), step.index)
    # Under rule set 1 too, which has no use for it: who committed then may rotate once 2 is in force.
    commit_to(state, account, registration.next_key)


def _require_sequence(parameters: Parameters, expected: int) -> None:
    if parameters.sequence != expected:
        raise RefusedError(
            "parameters are out of sequence", expected=str(expected), found=str(parameters.sequence)
        )


def _require_supported(parameters: Parameters) -> None:
    if parameters.rule_set not in SUPPORTED_RULE_SETS:
        raise RefusedError(
            f"rule set {parameters.rule_set} is not known",
            expected=f"one of {list(SUPPORTED_RULE_SETS)}",
            found=str(parameters.rule_set),
        )
    _require_levy_use(parameters)
    committee_of(parameters)


def _require_levy_use(parameters: Parameters) -> None:
    use = LevyUse(parameters.levy_use)
    if parameters.rule_set < FIRST_WITH_LEVY_POOL and use != LevyUse.BURN:
        raise RefusedError(
            f"rule set {parameters.rule_set} only burns levies", expected="burn", found=use.name.lower()
        )
    if use == LevyUse.MEMBERS and parameters.admission == Admission.OPEN:
        raise RefusedError(
            "levies are not returned to members that anybody may become",
            expected="admission by approval",
            found="open",
        )


def _require_not_lowered(state: State, parameters: Parameters) -> None:
    """Neither below the rule set in force nor below one that waits: rules that were in force stay known."""
    waiting = [record for _, record in pending_records(state) if isinstance(record, Parameters)]
    before = (waiting[-1] if waiting else in_force(state)).rule_set
    if parameters.rule_set < before:
        raise RefusedError(
            "the rule set's number only rises", expected=f"at least {before}", found=str(parameters.rule_set)
        )


def _require_profiles(parameters: Parameters, bodies: Sequence[bytes]) -> None:
    listed = {terms.profile for terms in parameters.profiles}
    for body in bodies:
        digest = sha256(body).digest()
        if digest not in listed:
            raise MalformedRecordError(
                "a profile is not one that the parameters list, or comes twice", found=digest.hex()
            )
        listed.discard(digest)


def _require_admission(step: Step, registration: Registration) -> None:
    if step.parameters.admission == Admission.OPEN:
        if registration.admission:
            raise RefusedError("the pool admits everybody", expected="no admission signature")
        return
    if not registration.admission:
        raise RefusedError(
            "the pool admits by approval", expected="the operator's signature over the account"
        )
    message = admission_bytes(registration.account, step.ledger_id)
    step.context.verifier.ed25519(operator_of(step.state), message, registration.admission)

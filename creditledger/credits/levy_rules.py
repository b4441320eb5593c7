"""Who is paid out of the levy pool, and where a validator's part goes. Source: specs/credits.md §14."""

from creditledger.credits.account import account_of, require_open
from creditledger.credits.levies import levy_shares, name_payee, pay_levy
from creditledger.credits.pool import operator_account
from creditledger.credits.step import Step
from creditledger.errors import RefusedError, RoleError
from creditledger.records.registration import Role
from creditledger.records.transfer import Levy, LevyPayee


def apply_levy_payee(step: Step, payee: LevyPayee) -> None:
    """By a member of the committee in force, with its BLS key; the latest one counts."""
    if all(member.bls_key != payee.validator for member in step.parameters.committee):
        raise RoleError("not a member of the committee", found=payee.validator.hex())
    if require_open(account_of(step.state, payee.payee)).role == Role.LEVY_POOL:
        raise RoleError("levies are not paid to the levy pool", expected="an account of somebody's")
    message = payee.signing_bytes(step.ledger_id)
    step.context.verifier.bls(payee.validator, message, step.entry.signature)
    step.claim_id(payee.validator, payee.id)
    name_payee(step.state, payee.validator, payee.payee)


def apply_levy(step: Step, levy: Levy) -> None:
    """By the operator, and exactly what `levy_shares` gives."""
    step.require_operator()
    step.claim_id(operator_account(step.state), levy.id)
    expected = levy_shares(step.state.view, levy.round)
    if levy.shares != expected:
        raise RefusedError(
            "levy is not what the rules give",
            expected=f"{len(expected)} shares, {sum(share.amount_micro for share in expected)} in all",
            found=f"{len(levy.shares)} shares, {sum(share.amount_micro for share in levy.shares)} in all",
        )
    if not expected:
        raise RefusedError("there is nothing to pay out", expected="a share of at least 1")
    pay_levy(step.state, levy.round, expected)

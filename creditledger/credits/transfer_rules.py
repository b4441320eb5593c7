"""Grants, credit lines, slashes and transfers. Source: specs/credits.md §4 and §8."""

from creditledger.credits.account import account_in_role, account_of, pay, raise_ceiling, require_open
from creditledger.credits.pending import defer
from creditledger.credits.pool import operator_account
from creditledger.credits.step import Step
from creditledger.errors import RefusedError
from creditledger.records.registration import Role
from creditledger.records.transfer import CreditLine, Grant, Slash, Transfer


def apply_grant(step: Step, grant: Grant) -> None:
    """By the operator, to an account; in effect with the first round certified over it."""
    step.require_operator()
    step.claim_id(operator_account(step.state), grant.id)
    require_open(account_of(step.state, grant.account))
    raise_ceiling(step.state, grant.amount_micro)
    defer(step.state, step.index, grant)


def apply_credit_line(step: Step, line: CreditLine) -> None:
    """By the operator, for an account; in effect with the first round certified over it."""
    step.require_operator()
    step.claim_id(operator_account(step.state), line.id)
    require_open(account_of(step.state, line.account))
    raise_ceiling(step.state, line.limit_micro)
    defer(step.state, step.index, line)


def apply_slash(step: Step, slash: Slash) -> None:
    """By the operator, of a node; in effect with the first round certified over it."""
    step.require_operator()
    step.claim_id(operator_account(step.state), slash.id)
    account_in_role(step.state, slash.node, Role.NODE)
    defer(step.state, step.index, slash)


def apply_transfer(step: Step, transfer: Transfer) -> None:
    """From payer to payee at once, where the pool allows transfers at all."""
    step.require_actor(transfer.payer)
    step.claim_id(transfer.payer, transfer.id)
    if not step.parameters.transfers_allowed:
        raise RefusedError("the pool does not allow transfers", expected="transfers_allowed 1", found="0")
    require_open(account_of(step.state, transfer.payee))
    pay(step.state, transfer.payer, transfer.payee, transfer.amount_micro)

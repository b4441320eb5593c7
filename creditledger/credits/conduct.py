"""Who said what about which receipt, and what that says about the validator.

Source: specs/credits.md §12."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from creditledger.credits.standing import conduct_of, put_conduct
from creditledger.credits.state import State
from creditledger.records.verdict import Outcome, Verdict

_VOTE: Final = b"B/"


def count_verdict_given(state: State, verdict: Verdict, validator: bytes) -> None:
    """Note what the validator with this BLS key said."""
    state.view.put(_VOTE + verdict.receipt + validator, bytes([verdict.outcome]))
    conduct = conduct_of(state, validator)
    put_conduct(state, validator, replace(conduct, checks=conduct.checks + 1))


def votes_on(state: State, receipt: bytes, outcome: Outcome) -> list[bytes]:
    """BLS keys of the validators that gave this outcome, ascending."""
    prefix = _VOTE + receipt
    return [key[len(prefix) :] for key, said in state.view.scan(prefix) if said[0] == outcome]


def count_outvoted(state: State, validators: Iterable[bytes]) -> None:
    """Two others contradicted what these said."""
    for validator in validators:
        conduct = conduct_of(state, validator)
        put_conduct(state, validator, replace(conduct, outvoted=conduct.outvoted + 1))


def count_canary(state: State, receipt: bytes) -> None:
    """The receipt was wrong on purpose: hold it for and against those that judged it."""
    for outcome in (Outcome.UPHELD, Outcome.REFUTED, Outcome.INCONCLUSIVE):
        for validator in votes_on(state, receipt, outcome):
            conduct = conduct_of(state, validator)
            missed = conduct.canaries_missed + (outcome is Outcome.UPHELD)
            put_conduct(
                state, validator, replace(conduct, canaries=conduct.canaries + 1, canaries_missed=missed)
            )

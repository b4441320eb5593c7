"""Who said what about which receipt, and what that says about the validator.

Source: specs/credits.md §12."""

from collections.abc import Iterable
from enum import Enum
from typing import Final

from creditledger.credits.standing import Conduct, conduct_of, put_conduct
from creditledger.credits.state import State
from creditledger.records.verdict import Outcome, Verdict

_VOTE: Final = b"B/"
_SKIPPED_MAX: Final = 10
"""Missing more than one in so many checks is no accident."""
_OUTVOTED_MAX: Final = 50
"""Nor is being outvoted in more than one of so many, twice or more."""


class Fault(Enum):
    """What a validator is named for."""

    SKIPS = "skips"
    """It lets its checks become overdue."""
    UPHOLDS_CANARIES = "upholds canaries"
    """It upheld work that was wrong on purpose: it does not look, or copies what it guesses."""
    OUTVOTED = "outvoted"
    """Others who looked at the same receipts contradict it."""


def faults_of(conduct: Conduct, *, missed: int) -> tuple[Fault, ...]:
    """What the validator is named for. ``missed``: checks it let become overdue.

    Source: specs/validation.md §9."""
    found = {
        Fault.SKIPS: missed * _SKIPPED_MAX > missed + conduct.checks,
        Fault.UPHOLDS_CANARIES: conduct.canaries_missed > 0,
        Fault.OUTVOTED: conduct.outvoted > 1 and conduct.outvoted * _OUTVOTED_MAX > conduct.checks,
    }
    return tuple(fault for fault, is_found in found.items() if is_found)


def count_verdict_given(state: State, verdict: Verdict, validator: bytes) -> None:
    """Note what the validator with this BLS key said."""
    state.view.put(_VOTE + verdict.receipt + validator, bytes([verdict.outcome]))
    conduct = conduct_of(state, validator)
    put_conduct(state, validator, conduct.replace(checks=conduct.checks + 1))


def votes_on(state: State, receipt: bytes, outcome: Outcome) -> list[bytes]:
    """BLS keys of the validators that gave this outcome, ascending."""
    prefix = _VOTE + receipt
    return [key[len(prefix) :] for key, said in state.view.scan(prefix) if said[0] == outcome]


def count_outvoted(state: State, validators: Iterable[bytes]) -> None:
    """Two others contradicted what these said."""
    for validator in validators:
        conduct = conduct_of(state, validator)
        put_conduct(state, validator, conduct.replace(outvoted=conduct.outvoted + 1))


def count_canary(state: State, receipt: bytes) -> None:
    """The receipt was wrong on purpose: hold it for and against those that judged it."""
    for outcome in (Outcome.UPHELD, Outcome.REFUTED, Outcome.INCONCLUSIVE):
        for validator in votes_on(state, receipt, outcome):
            conduct = conduct_of(state, validator)
            missed = conduct.canaries_missed + (outcome is Outcome.UPHELD)
            put_conduct(
                state, validator, conduct.replace(canaries=conduct.canaries + 1, canaries_missed=missed)
            )

"""The numbered rule sets. A number's meaning never changes: old entries replay by old rules.

Source: specs/credits.md §1."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from creditledger.credits.batch_rules import apply_batch
from creditledger.credits.budget_rules import (
    apply_budget,
    apply_delegated_hold_in_budget,
    apply_hold_in_budget,
    apply_transfer_in_budget,
)
from creditledger.credits.canary_rules import apply_canary, apply_canary_commit
from creditledger.credits.closing_rules import apply_closing, apply_listing
from creditledger.credits.compensation_rules import (
    apply_clawback,
    apply_refund,
    apply_refundable_capture,
)
from creditledger.credits.delegation_rules import (
    apply_delegation,
    apply_registration_of_no_machine,
    apply_rotation_to_no_machine,
)
from creditledger.credits.founding_rules import apply_genesis, apply_parameters, apply_registration
from creditledger.credits.hold_rules import apply_capture, apply_expire, apply_hold, apply_release
from creditledger.credits.job_rules import apply_delivery, apply_job
from creditledger.credits.levy_rules import apply_levy, apply_levy_payee
from creditledger.credits.rotation_rules import apply_registration_or_operator, apply_rotation
from creditledger.credits.round_rules import (
    apply_attestation,
    apply_certificate,
    apply_certificate_and_ask_again,
    apply_certificate_and_count_vested,
    apply_round,
)
from creditledger.credits.settlement import apply_settlement
from creditledger.credits.step import Step
from creditledger.credits.transfer_rules import apply_credit_line, apply_grant, apply_slash, apply_transfer
from creditledger.credits.verdict_rules import apply_commit, apply_reveal, apply_reveal_of_votes
from creditledger.errors import RefusedError
from creditledger.records.account import Budget, Closing, Delegation, Listing
from creditledger.records.job import Job
from creditledger.records.parameters import Genesis, Parameters
from creditledger.records.receipt import Batch, Delivery
from creditledger.records.record import Record
from creditledger.records.registration import Registration, Rotation
from creditledger.records.round import Attestation, Certificate, Round
from creditledger.records.transfer import (
    Capture,
    Clawback,
    CreditLine,
    DelegatedHold,
    Expire,
    Grant,
    Hold,
    Levy,
    LevyPayee,
    Refund,
    Release,
    Settlement,
    Slash,
    Transfer,
)
from creditledger.records.verdict import Canary, CanaryCommit, Commit, Reveal

Rule = Callable[[Step, Any], None]
"""Checks one record against the state and enters it, or raises."""

_WITH_BODIES: Final = (Genesis, Parameters, Batch, Reveal)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """The rules by which entries are folded while this set is in force."""

    number: int
    rules: Mapping[type[Record], Rule]

    def apply(self, step: Step) -> None:
        """Fold the step's entry. Raises RefusedError for a kind that this set does not admit."""
        record = step.entry.record
        rule = self.rules.get(type(record))
        if rule is None:
            raise RefusedError(
                f"rule set {self.number} admits no {record.KIND.name.lower()}",
                expected="a kind of record it knows",
                found=record.KIND.name.lower(),
            )
        if not isinstance(record, _WITH_BODIES):
            step.require_no_bodies()
        rule(step, record)


_RULES_1: Final[Mapping[type[Record], Rule]] = {
    Genesis: apply_genesis,
    Parameters: apply_parameters,
    Registration: apply_registration,
    Grant: apply_grant,
    CreditLine: apply_credit_line,
    Slash: apply_slash,
    Transfer: apply_transfer,
    Job: apply_job,
    Batch: apply_batch,
    Delivery: apply_delivery,
    Hold: apply_hold,
    Capture: apply_capture,
    Release: apply_release,
    Expire: apply_expire,
    Round: apply_round,
    Attestation: apply_attestation,
    Certificate: apply_certificate,
    Commit: apply_commit,
    Reveal: apply_reveal,
    Settlement: apply_settlement,
}
_RULES_2: Final[Mapping[type[Record], Rule]] = {
    **_RULES_1,
    Registration: apply_registration_or_operator,
    Rotation: apply_rotation,
}
_RULES_3: Final[Mapping[type[Record], Rule]] = {
    **_RULES_2,
    Certificate: apply_certificate_and_ask_again,
    Reveal: apply_reveal_of_votes,
    CanaryCommit: apply_canary_commit,
    Canary: apply_canary,
}
_RULES_4: Final[Mapping[type[Record], Rule]] = {
    **_RULES_3,
    Capture: apply_refundable_capture,
    Certificate: apply_certificate_and_count_vested,
    Levy: apply_levy,
    LevyPayee: apply_levy_payee,
    Refund: apply_refund,
    Clawback: apply_clawback,
    Registration: apply_registration_of_no_machine,
    Rotation: apply_rotation_to_no_machine,
    Delegation: apply_delegation,
    Budget: apply_budget,
    Closing: apply_closing,
    Listing: apply_listing,
    Hold: apply_hold_in_budget,
    DelegatedHold: apply_delegated_hold_in_budget,
    Transfer: apply_transfer_in_budget,
}

RULE_SETS: Final[Mapping[int, RuleSet]] = {
    1: RuleSet(number=1, rules=_RULES_1),
    2: RuleSet(number=2, rules=_RULES_2),
    3: RuleSet(number=3, rules=_RULES_3),
    4: RuleSet(number=4, rules=_RULES_4),
}


def require_rule_set(number: int) -> RuleSet:
    """The rule set with this number. Raises RefusedError naming it."""
    found = RULE_SETS.get(number)
    if found is None:
        raise RefusedError(
            f"rule set {number} is not known", expected=f"one of {sorted(RULE_SETS)}", found=str(number)
        )
    return found

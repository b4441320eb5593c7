"""What validators say about one receipt under rule set 3: two of at most three decide.

Source: specs/credits.md §12."""

from dataclasses import dataclass, replace
from typing import Final

from creditledger.credits.account import suspend
from creditledger.credits.conduct import count_outvoted, count_verdict_given, votes_on
from creditledger.credits.confirmation import await_confirmer, await_second_look
from creditledger.credits.pool import in_force
from creditledger.credits.standing import (
    Probation,
    after_verdict,
    probation_of,
    put_probation,
    put_standing,
    standing_of,
)
from creditledger.credits.state import State
from creditledger.credits.verdicts import add_no_data, no_data_count, receipt_of
from creditledger.quantities import AMOUNT_MAX
from creditledger.records.state import ReceiptState, receipt_key
from creditledger.records.verdict import Outcome, Reason, Verdict

FIRST_WITH_CONFIRMERS: Final = 3
"""The first rule set with the rules of this module."""
AGREEING: Final = 2
"""So many validators must agree on a failure."""
ASKED_MAX: Final = 3
"""Of so many, at most, unless the draw alone gave more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """The verdicts on one receipt, counted."""

    due: int
    upheld: int
    refuted: int
    no_data: int
    unsure: int
    """Inconclusive for another reason than that no data was shown."""

    @property
    def given(self) -> int:
        """Verdicts in all."""
        return self.upheld + self.refuted + self.no_data + self.unsure

    @property
    def is_complete(self) -> bool:
        """Whether nobody is still to be heard."""
        return self.given >= self.due

    @property
    def has_failed(self) -> bool:
        """Whether two validators refuted it, or were shown no data: its node is suspended."""
        return max(self.refuted, self.no_data) >= AGREEING

    @property
    def wants_confirmer(self) -> bool:
        """Whether one validator found a failure and another must be asked."""
        is_disputed = max(self.refuted, self.no_data) == 1
        return is_disputed and self.is_complete and self.given < ASKED_MAX and self.upheld < AGREEING

    @property
    def wants_second_look(self) -> bool:
        """Whether only one validator looked, and upheld it."""
        return self.is_complete and self.upheld == self.given == 1

    def outcome(self, before: Outcome) -> Outcome:
        """What is believed of the receipt, given what was ``before`` these verdicts."""
        if self.refuted:
            return Outcome.REFUTED
        if self.no_data >= AGREEING:
            return Outcome.INCONCLUSIVE
        if before is Outcome.UPHELD:
            return before
        if self.unsure or (self.is_complete and not self.upheld):
            return Outcome.INCONCLUSIVE
        return Outcome.UPHELD if self.is_complete else Outcome.UNCHECKED


def ballot_of(state: State, receipt: ReceiptState) -> Ballot:
    """The verdicts on a receipt so far."""
    no_data = no_data_count(state, receipt.receipt)
    return Ballot(
        due=receipt.due,
        upheld=receipt.upheld,
        refuted=receipt.refuted,
        no_data=no_data,
        unsure=receipt.inconclusive - no_data,
    )


def cast_vote(state: State, verdict: Verdict, validator: bytes) -> None:
    """Count one verdict by the validator with this BLS key, with all that follows for those concerned.

    Raises UnknownIdError for a receipt that is not logged."""
    receipt = receipt_of(state, verdict.receipt)
    before = ballot_of(state, receipt)
    if verdict.outcome == Outcome.INCONCLUSIVE and verdict.reason == Reason.NO_DATA:
        add_no_data(state, verdict.receipt)
    receipt = receipt.replace(
        upheld=receipt.upheld + (verdict.outcome == Outcome.UPHELD),
        refuted=receipt.refuted + (verdict.outcome == Outcome.REFUTED),
        inconclusive=receipt.inconclusive + (verdict.outcome == Outcome.INCONCLUSIVE),
    )
    after = ballot_of(state, receipt)
    put_standing(state, receipt.node, after_verdict(standing_of(state, receipt.node), verdict))
    _hold_against_node(state, receipt.node, before, after)
    _hold_against_validators(state, receipt.receipt, before, after, validator)
    count_verdict_given(state, verdict, validator)
    _conclude(state, receipt, after)


def lapse_vote(state: State, digest: bytes) -> None:
    """One validator less is to be heard; another may be asked in its place."""
    receipt = receipt_of(state, digest)
    receipt = receipt.replace(due=receipt.due - 1)
    _conclude(state, receipt, ballot_of(state, receipt))


def close_ballot(state: State, digest: bytes) -> None:
    """One validator less is to be heard, and nobody else is left to ask."""
    receipt = receipt_of(state, digest)
    receipt = receipt.replace(due=receipt.due - 1)
    _enter(state, receipt, ballot_of(state, receipt))


def _conclude(state: State, receipt: ReceiptState, ballot: Ballot) -> None:
    if ballot.wants_confirmer:
        # Counted as due at once: nothing is settled before the confirmer is drawn.
        await_confirmer(state, receipt.receipt)
        receipt = receipt.replace(due=receipt.due + 1)
        ballot = replace(ballot, due=receipt.due)
    elif ballot.wants_second_look:
        await_second_look(state, receipt.receipt)
    _enter(state, receipt, ballot)


def _enter(state: State, receipt: ReceiptState, ballot: Ballot) -> None:
    outcome = ballot.outcome(Outcome(receipt.outcome))
    state.put_entry(receipt_key(receipt.receipt), receipt.replace(outcome=outcome))


def _hold_against_node(state: State, node: bytes, before: Ballot, after: Ballot) -> None:
    if after.refuted == before.refuted and after.has_failed == before.has_failed:
        return
    probation = after_mismatch(
        probation_of(state, node),
        before,
        after,
        settled_micro=standing_of(state, node).settled_micro,
        probation_micro=in_force(state).probation_micro,
    )
    put_probation(state, node, probation)
    # Once for each failure: a further refutal must not undo what a quorum has decided meanwhile.
    if after.has_failed and not before.has_failed:
        suspend(state, node)


def after_mismatch(
    probation: Probation, before: Ballot, after: Ballot, *, settled_micro: int, probation_micro: int
) -> Probation:
    """A mismatch makes checks certain for a while; a confirmed failure starts probation again.

    ``probation_micro``: its length. Source: specs/credits.md §12."""
    is_failure = after.has_failed and not before.has_failed
    certain_until = min(settled_micro + probation_micro, AMOUNT_MAX)
    return probation.replace(
        mismatches=probation.mismatches + after.refuted - before.refuted,
        confirmed=probation.confirmed + is_failure,
        certain_until_micro=max(probation.certain_until_micro, certain_until),
        from_micro=settled_micro if is_failure else probation.from_micro,
    )


def _hold_against_validators(
    state: State, receipt: bytes, before: Ballot, after: Ballot, validator: bytes
) -> None:
    """Whoever two others contradict is outvoted."""
    if after.refuted >= AGREEING:
        if before.refuted < AGREEING:
            count_outvoted(state, votes_on(state, receipt, Outcome.UPHELD))
        elif after.upheld > before.upheld:
            count_outvoted(state, [validator])
    elif after.refuted == 1 and after.upheld >= AGREEING > before.upheld:
        count_outvoted(state, votes_on(state, receipt, Outcome.REFUTED))
    elif after.refuted > before.refuted and after.upheld >= AGREEING:
        count_outvoted(state, [validator])

"""The fold: one entry after another gives the state, and what the rules refuse leaves no trace.

Source: specs/credits.md §1."""

from collections.abc import Sequence
from hashlib import sha256

from creditledger.credits.context import (
    FoldContext,
    SignatureVerifier,
    TransparencyVerifier,
    committee_of,
)
from creditledger.credits.hold_rules import due_expiries
from creditledger.credits.pool import in_force, in_force_digest, put_tip, tip_of
from creditledger.credits.rounds import attestation_signatures
from creditledger.credits.rule_sets import RULE_SETS, RuleSet, require_rule_set
from creditledger.credits.settlement import due_settlements, propose_settlement
from creditledger.credits.state import Overlay, State, StateView
from creditledger.credits.step import Step
from creditledger.errors import ConflictError, IntegrityError, RefusedError
from creditledger.records.entry import Entry
from creditledger.records.parameters import Genesis
from creditledger.records.round import Round
from creditledger.records.state import consumed_key

__all__ = [
    "FoldContext",
    "SignatureVerifier",
    "TransparencyVerifier",
    "apply_entry",
    "attestations_of",
    "committee_of",
    "due_expiries",
    "due_settlements",
    "propose_round",
    "propose_settlement",
]


def apply_entry(view: StateView, entry: Entry, bodies: Sequence[bytes], context: FoldContext) -> None:
    """Fold one entry into ``view``, or raise and leave ``view`` as it was.

    ``bodies``: a batch's encoded receipts in order, a reveal's verdicts, the profiles of a genesis or
    parameters record; else none. Raises RefusedError and its kinds, SignatureError, CertificateError,
    MalformedRecordError; IntegrityError if ``context.index`` is not the number of entries folded.
    Source: specs/credits.md §1."""
    overlay = Overlay(view)
    state = State(overlay)
    tip = tip_of(state)
    if context.index != tip.size:
        raise IntegrityError(
            "entry is folded out of order", expected=f"index {tip.size}", found=str(context.index)
        )
    if entry.time_unix_ms < tip.time_unix_ms:
        raise RefusedError(
            "entry is older than the one before it",
            expected=f"at least {tip.time_unix_ms}",
            found=str(entry.time_unix_ms),
        )
    message = entry.record.signing_bytes(context.ledger_id)
    digest = sha256(message).digest()
    if state.map_value(consumed_key(digest)) is not None:
        raise ConflictError("record was logged before", found=digest.hex())
    step = Step(
        state=state, context=context, entry=entry, message=message, digest=digest, bodies=tuple(bodies)
    )
    _rule_set(step).apply(step)
    state.put_map(consumed_key(digest), context.index.to_bytes(8, "big"))
    put_tip(state, tip_of(state).replace(size=context.index + 1, time_unix_ms=entry.time_unix_ms))
    overlay.merge()


def _rule_set(step: Step) -> RuleSet:
    """The rule set in force at the entry's index; a genesis brings its own."""
    record = step.entry.record
    if step.context.index > 0:
        return RULE_SETS[in_force(step.state).rule_set]
    if not isinstance(record, Genesis):
        raise RefusedError(
            "a ledger begins with its genesis", expected="genesis", found=record.KIND.name.lower()
        )
    return require_rule_set(record.parameters.rule_set)


def propose_round(view: StateView, context: FoldContext) -> Round:
    """The round the operator should sign as entry ``context.index``.

    Commits the map in ``view``: hand in an `Overlay` that may be thrown away."""
    state = State(view)
    return Round(
        number=tip_of(state).round + 1,
        log_size=context.index,
        log_root=context.log_root(),
        map_root=state.commit_map(),
        parameters=in_force_digest(state),
    )


def attestations_of(view: StateView, round_number: int) -> dict[int, bytes]:
    """The signatures logged for a round so far, by member index."""
    return attestation_signatures(State(view), round_number)

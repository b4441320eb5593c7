"""Attesting a round: replayed, witnessed, written down, and only then signed.

Source: specs/validation.md §2."""

from creditledger.credits import reading
from creditledger.credits.fold import committee_of
from creditledger.credits.reading import RoundInfo
from creditledger.credits.state import StateView
from creditledger.errors import (
    CreditLedgerError,
    IntegrityError,
    MalformedRecordError,
    PolicyError,
    RefusedError,
    UnknownIdError,
    VerificationError,
)
from creditledger.ledger.replica import Replica
from creditledger.records.entry import Entry, Submission
from creditledger.records.round import Attestation, round_statement
from creditledger.transparency.quorum import NO_QUORUM
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.validation.journal import AttestedRound, Journal
from creditledger.validation.validator_key import ValidatorKey


def follow_log(replica: Replica, *, now_unix_ms: int) -> list[tuple[int, Entry]]:
    """Replay what is published and witnessed; the entries that were new.

    The fold recomputes every round: what the operator logged against the rules, a false state
    commitment above all, raises VerificationError, and nothing from that entry on is ever believed."""
    try:
        return list(replica.steps(now_unix_ms))
    except (RefusedError, MalformedRecordError) as error:
        raise VerificationError(
            f"the operator logged what the rules refuse: {error}", expected=error.expected, found=error.found
        ) from error


def require_witnesses(policy: TrustPolicy) -> None:
    """Raises PolicyError if ``policy`` accepts checkpoints that no witness has seen.

    A round signed under such a one could be taken back: its seed would be known before its log is
    fixed."""
    if policy.quorum == NO_QUORUM:
        raise PolicyError("rounds are signed under witnessed checkpoints only", expected="a witness quorum")


def require_own_history(replica: Replica, journal: Journal) -> None:
    """Check that the log still holds the last round that was signed.

    Raises IntegrityError if it has become shorter or another: this validator would vouch for both."""
    last = journal.latest_attested()
    if last is None:
        return
    info = reading.round_numbered(replica.state, last.number) if replica.size > last.log_size else None
    if info is None or info.digest != last.digest:
        raise IntegrityError(
            f"the log does not hold round {last.number} that this validator signed",
            expected=last.digest.hex(),
            found="no such round" if info is None else info.digest.hex(),
        )


def open_round(replica: Replica, *, policy: TrustPolicy) -> RoundInfo | None:
    """The latest round, if it may be signed: replayed, under a witnessed checkpoint, not certified.

    ``replica`` must have been followed. Raises PolicyError, VerificationError."""
    info = reading.latest_round(replica.state)
    if info is None or info.is_certified:
        return None
    require_witnesses(policy)
    if replica.checkpoint is None or replica.checkpoint.size <= info.index:
        raise VerificationError(
            "no witnessed checkpoint covers the round",
            expected=f"more than {info.index} entries",
            found="none" if replica.checkpoint is None else str(replica.checkpoint.size),
        )
    return info


def attest_round(
    info: RoundInfo, *, state: StateView, ledger_id: bytes, key: ValidatorKey, journal: Journal
) -> Submission | None:
    """The attestation of a round from `open_round`; None without a seat on its committee.

    The journal is bound first: for another round of this number it raises IntegrityError, and nothing
    is signed."""
    parameters = reading.parameters_with(state, info.round.parameters)
    if parameters is None:
        raise UnknownIdError("the round's parameters were never in force")
    member = key.member_index(parameters.committee)
    if member is None:
        return None
    journal.note_attested(
        AttestedRound(number=info.round.number, digest=info.digest, log_size=info.round.log_size)
    )
    committee = committee_of(parameters).digest
    attestation = Attestation(round=info.digest, committee=committee, member=member)
    signature = key.bls.sign(round_statement(info.digest, committee, ledger_id))
    return Submission(record=attestation, signature=signature)


def is_final(error: CreditLedgerError) -> bool:
    """Whether sending the same again can not help."""
    return isinstance(error, RefusedError | MalformedRecordError | VerificationError)

"""Closing and certifying rounds with what is at hand. Source: specs/ledger.md §9."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from creditledger.credits import reading
from creditledger.credits.fold import (
    FoldContext,
    SignatureVerifier,
    attestations_of,
    committee_of,
    due_settlements,
    propose_round,
    propose_settlement,
)
from creditledger.credits.state import DIRTY, Overlay, StateView
from creditledger.errors import UnknownIdError
from creditledger.ledger.canaries import Canaries
from creditledger.ledger.clock import Clock, system_clock
from creditledger.records.entry import Entry, Submission
from creditledger.records.kinds import Kind
from creditledger.records.round import Attestation, Certificate, Round, round_statement
from creditledger.records.state import consumed_key
from creditledger.transparency.bls import BlsSigner
from creditledger.transparency.certificate import make_certificate

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Ledger, Snapshot
    from creditledger.ledger.writer import Acknowledgement

ROUNDS_AT_ONCE = 2
"""A certified round puts pending records into effect; the next one certifies what that gave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundStanding:
    """How far the latest round has come."""

    number: int
    log_size: int
    """The index of its entry: it speaks of everything before."""
    attested: int
    """Members whose attestation is logged."""
    quorum: int
    is_certified: bool


def round_to_sign(snapshot: "Snapshot", ledger_id: bytes, verifier: SignatureVerifier) -> Round:
    """The round that the operator should sign now. Changes nothing."""
    log = snapshot.log
    context = FoldContext(
        ledger_id=ledger_id, index=log.size, log_root=lambda: log.root_at(log.size), verifier=verifier
    )
    return propose_round(Overlay(snapshot.state), context)


def is_news(snapshot: "Snapshot", *, now_unix_ms: int) -> bool:
    """Whether a next round would say or do anything: entries or states that the latest one does not speak
    of, or checks that are overdue now.

    Attestations and certificates alone are no news: else every round would call for another."""
    latest = reading.latest_round(snapshot.state)
    if latest is None or (latest.is_certified and reading.has_overdue_checks(snapshot.state, now_unix_ms)):
        return True
    # What is marked for the next map commit, beyond the digests of consumed records.
    if any(not key.startswith(DIRTY + consumed_key(b"")) for key, _ in snapshot.state.scan(DIRTY)):
        return True
    own = (Kind.ATTESTATION, Kind.CERTIFICATE)
    later = range(latest.index + 1, snapshot.log.size)
    return any(Entry.decode(snapshot.log.entry_bytes(index)).record.KIND not in own for index in later)


def attestation(state: StateView, member: int, signer: BlsSigner, ledger_id: bytes) -> Submission:
    """A member's attestation of the latest round: its signature is also its seed for the draw.

    The caller has replayed the log to that round. Raises UnknownIdError if there is none."""
    info = _latest(state)
    committee = committee_of(reading.parameters_in_force(state)).digest
    record = Attestation(round=info.digest, committee=committee, member=member)
    return Submission(
        record=record, signature=signer.sign(round_statement(info.digest, committee, ledger_id))
    )


def certificate(state: StateView, ledger_id: bytes) -> Submission | None:
    """The certificate of the latest round from the logged attestations; None if there is nothing to
    certify or no quorum yet."""
    info = reading.latest_round(state)
    if info is None or info.is_certified:
        return None
    committee = committee_of(reading.parameters_in_force(state))
    signatures = attestations_of(state, info.round.number)
    if len(signatures) < committee.quorum:
        return None
    signers, aggregate = make_certificate(
        signatures,
        committee=committee,
        statement=round_statement(info.digest, committee.digest, ledger_id),
    )
    record = Certificate(round=info.digest, committee=committee.digest, signers=signers)
    return Submission(record=record, signature=aggregate)


def standing(state: StateView) -> RoundStanding:
    """How far the latest round has come. Raises UnknownIdError if there is none."""
    info = _latest(state)
    return RoundStanding(
        number=info.round.number,
        log_size=info.round.log_size,
        attested=len(attestations_of(state, info.round.number)),
        quorum=reading.parameters_in_force(state).quorum,
        is_certified=info.is_certified,
    )


def complete_round(
    ledger: "Ledger", validators: Mapping[int, BlsSigner] | None, *, clock: Clock
) -> RoundStanding:
    """See `Ledger.complete_round`."""
    signers = ledger.local_validators() if validators is None else validators
    for _ in range(ROUNDS_AT_ONCE):
        with ledger.snapshot() as snapshot:
            news = is_news(snapshot, now_unix_ms=clock())
        if news:
            ledger.close_round()
        # Attested only under a cosigned checkpoint: no seed may be known of a round that can change.
        ledger.publish()
        _attest(ledger, signers)
        certified = ledger.certify()
        if not news or certified is None:
            break
    ledger.publish()
    with ledger.read() as state:
        return standing(state)


def settle_due(ledger: "Ledger", *, clock: Clock) -> "list[Acknowledgement]":
    """See `Ledger.settle_due`."""
    with ledger.read() as state:
        Canaries(ledger.directory.canaries).open_judged(ledger, state)
    with ledger.read() as state:
        records = [propose_settlement(state, job, ledger.id) for job in due_settlements(state, clock())]
    return [ledger.append(ledger.sign(record)) for record in records]


def reaches_quorum(ledger: "Ledger") -> bool:
    """Whether the validators whose key files lie in the ledger's directory can certify alone."""
    with ledger.read() as state:
        quorum = reading.parameters_in_force(state).quorum
    return len(ledger.local_validators()) >= quorum


def advance(ledger: "Ledger", *, clock: Clock = system_clock) -> None:
    """Expire and settle what is due, certify what can be, and publish.

    A standby only publishes. Where a quorum is elsewhere, a round is closed over what is new once the last
    one is certified, and attested by those who are here."""
    if not ledger.is_writer:
        ledger.publish()
        return
    ledger.expire_due()
    ledger.settle_due()
    if reaches_quorum(ledger):
        ledger.complete_round()
        return
    ledger.certify()
    with ledger.snapshot() as snapshot:
        latest = reading.latest_round(snapshot.state)
        is_open = latest is not None and not latest.is_certified
        is_due = not is_open and is_news(snapshot, now_unix_ms=clock())
    if is_due:
        ledger.close_round()
    ledger.publish()
    if _attest(ledger, ledger.local_validators()):
        ledger.publish()


def _attest(ledger: "Ledger", signers: Mapping[int, BlsSigner]) -> bool:
    """Attest the latest round with ``signers``; whether any of them had not."""
    with ledger.read() as state:
        info = _latest(state)
        if info.is_certified:
            return False
        given = attestations_of(state, info.round.number)
        missing = [
            attestation(state, member, signer, ledger.id)
            for member, signer in sorted(signers.items())
            if member not in given
        ]
    for submission in missing:
        ledger.append(submission)
    return bool(missing)


def _latest(state: StateView) -> reading.RoundInfo:
    info = reading.latest_round(state)
    if info is None:
        raise UnknownIdError("the ledger has no round yet", expected="a closed round")
    return info

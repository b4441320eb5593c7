"""Verdicts are bound first and shown later. Source: specs/validation.md §6."""

from collections.abc import Callable, Mapping

from creditledger.errors import OpeningError
from creditledger.records.entry import Submission
from creditledger.records.record import Record
from creditledger.records.verdict import CUSUM_STEP_BIAS, Commit, Reveal, Verdict, verdict_commitment
from creditledger.transparency.bundle import Leaf, ShownVerdict, SignedRecord
from creditledger.transparency.merkle import inclusion_proof, leaf_hashes, root_from_leaf_hashes
from creditledger.validation.journal import JournaledVerdict, RoundVerdicts
from creditledger.validation.judgement import Judgement
from creditledger.validation.validator_key import ValidatorKey


def salted_verdicts(
    judgements: Mapping[bytes, Judgement],
    *,
    round_number: int,
    member: int,
    random_bytes: Callable[[int], bytes],
) -> RoundVerdicts:
    """The verdicts of a round with fresh salts, to be bound to in the journal.

    ``judgements``: by receipt digest."""
    verdicts = []
    for receipt, judgement in sorted(judgements.items()):
        salt = random_bytes(32)
        verdict = Verdict(
            round=round_number,
            member=member,
            receipt=receipt,
            outcome=judgement.outcome,
            reason=judgement.reason,
            cusum_step_biased=judgement.cusum_step_micro + CUSUM_STEP_BIAS,
            evidence=judgement.evidence_digest(salt),
        )
        statistics = judgement.statistics_bytes()
        verdicts.append(JournaledVerdict(verdict=verdict, salt=salt, statistics=statistics))
    return RoundVerdicts(number=round_number, salt=random_bytes(32), verdicts=tuple(verdicts))


def signed_commit(bound: RoundVerdicts, *, member: int, key: ValidatorKey, ledger_id: bytes) -> Submission:
    """The commit to journaled verdicts."""
    commit = Commit(
        round=bound.number,
        member=member,
        count=len(bound.verdicts),
        commitment=_commitment(bound, key),
    )
    return _signed(commit, key, ledger_id)


def signed_reveal(
    bound: RoundVerdicts, *, member: int, commitment: bytes, key: ValidatorKey, ledger_id: bytes
) -> Submission:
    """The opening of ``commitment``, as it stands in the log.

    Raises OpeningError if the journal's verdicts are not the ones committed to."""
    own = _commitment(bound, key)
    if own != commitment:
        raise OpeningError(
            f"the journal has other verdicts of round {bound.number} than were committed to",
            expected=commitment.hex(),
            found=own.hex(),
        )
    return _reveal(bound, member, key, ledger_id)


def shown_verdicts(
    bound: RoundVerdicts, *, member: int, key: ValidatorKey, ledger_id: bytes
) -> dict[bytes, ShownVerdict]:
    """Each verdict as a stranger can check it, by receipt digest: to be shown with the reveal, not before."""
    reveal = _reveal(bound, member, key, ledger_id)
    signed = SignedRecord(record=reveal.record.encode(), signature=reveal.signature, place=())
    hashes = leaf_hashes(reveal.bodies)
    return {
        one.verdict.receipt: ShownVerdict(
            reveal=signed,
            verdict=reveal.bodies[number],
            leaf=Leaf(index=number, path=tuple(inclusion_proof(hashes, number, len(hashes)))),
        )
        for number, one in enumerate(bound.verdicts)
    }


def _reveal(bound: RoundVerdicts, member: int, key: ValidatorKey, ledger_id: bytes) -> Submission:
    bodies = _bodies(bound)
    reveal = Reveal(round=bound.number, member=member, count=len(bodies), root=_root(bodies), salt=bound.salt)
    return _signed(reveal, key, ledger_id, bodies=bodies)


def _commitment(bound: RoundVerdicts, key: ValidatorKey) -> bytes:
    root = _root(_bodies(bound))
    return verdict_commitment(member_key=key.bls.public_key, root=root, salt=bound.salt)


def _bodies(bound: RoundVerdicts) -> tuple[bytes, ...]:
    return tuple(one.verdict.encode() for one in bound.verdicts)


def _root(bodies: tuple[bytes, ...]) -> bytes:
    return root_from_leaf_hashes(leaf_hashes(bodies))


def _signed(
    record: Record, key: ValidatorKey, ledger_id: bytes, *, bodies: tuple[bytes, ...] = ()
) -> Submission:
    return Submission(record=record, signature=key.bls.sign(record.signing_bytes(ledger_id)), bodies=bodies)

"""The fold itself: order, time, repeats, signatures, kinds, and that a refusal leaves no trace."""

from dataclasses import replace

import pytest
from msgspec import structs

from creditledger.credits import reading
from creditledger.credits.account import change, check_invariant
from creditledger.credits.context import FoldContext, TransparencyVerifier
from creditledger.credits.fold import apply_entry, attestations_of, propose_settlement
from creditledger.credits.state import State
from creditledger.errors import (
    CertificateError,
    ConflictError,
    IntegrityError,
    MalformedRecordError,
    RefusedError,
    SignatureError,
)
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.account import Delegation
from creditledger.records.entry import Entry, Submission
from creditledger.records.registration import Role, Rotation
from creditledger.records.transfer import Levy, LevyShare, Refund
from creditledger.records.verdict import Canary
from creditledger.transparency.certificate import Committee, CommitteeMember
from fakes.cast import START_MS, ed25519, fake_id
from fakes.committee import fake_digest, real_validator
from fakes.pool import Pool


def test_entries_are_folded_in_order_and_time_does_not_run_back() -> None:
    pool = Pool()
    submission = pool.papers.registration(ed25519("new"), "new", Role.NODE)
    pool.now = START_MS - 1
    pool.refuse(submission, RefusedError, "older than the one before")
    entry = Entry(time_unix_ms=START_MS, record=submission.record, signature=submission.signature)
    for index in (len(pool.entries) - 1, len(pool.entries) + 1):
        with pytest.raises(IntegrityError, match="out of order"):
            apply_entry(pool.view, entry, (), structs.replace(pool.context, index=index))
    pool.now = START_MS
    pool.submit(submission)
    assert reading.tip(pool.view).size == len(pool.entries)


def every_step(pool: Pool) -> list[Submission]:
    """One acceptable submission of each kind that the fold takes in a fresh, funded pool's life."""
    papers, found = pool.papers, []

    def take(submission: Submission) -> Submission:
        pool.submit(submission)
        found.append(submission)
        return submission

    take(papers.registration(ed25519("late"), "late", Role.NODE))
    take(papers.parameters(pool.parameters.replace(sequence=1, levy_ppm=3)))
    take(papers.grant(pool.client.public_key, 10_000_000))
    take(papers.credit_line(pool.client.public_key, 5))
    take(papers.slash(pool.node.public_key, 1))
    proposal = pool.propose_round()
    take(papers.round(proposal))
    take(papers.attestation(0, proposal, pool.parameters))
    take(papers.certificate(proposal, pool.parameters, attestations_of(pool.view, 1)))
    take(papers.transfer(pool.client, pool.node.public_key, 5))
    job = take(papers.job(pool.client, [pool.node.public_key], parameters=pool.parameters_digest)).record
    take(papers.job_hold(pool.client, job))
    chain = papers.receipts(job, job.plan[0], 256)
    take(papers.batch(pool.node, chain))
    take(papers.delivery(pool.client, chain))
    number = pool.run_round().number
    verdicts = papers.verdicts(number, 0, reading.duties_of(pool.view, 0, number))
    take(papers.commit(0, verdicts))
    take(papers.reveal(0, verdicts))
    settlement = propose_settlement(pool.view, job.digest(pool.ledger_id), pool.ledger_id)
    take(papers.signed(papers.operator, settlement))
    voucher = take(papers.voucher_hold(pool.client, pool.queue.public_key)).record
    take(papers.capture(pool.queue, voucher, 1))
    take(papers.release(pool.queue, voucher.digest(pool.ledger_id)))
    expiring = take(papers.voucher_hold(pool.client, pool.queue.public_key, tag="expiring")).record
    pool.now = expiring.expires_unix_ms + pool.parameters.grace_ms
    take(papers.expire(expiring.digest(pool.ledger_id)))
    return found


class Suspicious(Pool):
    """Tries each submission with spoilt signatures, spare bodies and twice, around its acceptance."""

    def submit(self, submission: Submission) -> bytes:
        if not self.entries:
            return super().submit(submission)
        flipped = bytes([submission.signature[0] ^ 1]) + submission.signature[1:]
        self.refuse_plainly(replace(submission, signature=flipped), (SignatureError, CertificateError))
        shorter = submission.signature[:64] if len(submission.signature) == 96 else bytes(96)
        self.refuse_plainly(replace(submission, signature=shorter), (SignatureError, CertificateError))
        if not submission.bodies:
            self.refuse_plainly(replace(submission, bodies=(b"spare",)), (MalformedRecordError,))
        digest = super().submit(submission)
        self.refuse_plainly(submission, (ConflictError,))
        return digest

    def refuse_plainly(self, submission: Submission, errors: tuple[type[Exception], ...]) -> None:
        before = self.snapshot()
        with pytest.raises(errors):
            super().submit(submission)
        assert self.snapshot() == before


def test_every_kind_needs_its_signature_takes_no_spare_bodies_and_is_logged_once() -> None:
    pool = Suspicious()
    kinds = {type(submission.record).__name__ for submission in every_step(pool)}
    assert len(kinds) == 19
    check_invariant(pool.view)


def test_a_signature_by_another_account_does_not_count() -> None:
    pool = Pool()
    pool.fund(pool.client, 100)
    good = pool.papers.transfer(pool.client, pool.node.public_key, 5)
    for signer in (pool.node, pool.papers.operator, ed25519("stranger")):
        pool.refuse(pool.papers.signed(signer, good.record), SignatureError)
    granted = pool.papers.grant(pool.client.public_key, 5)
    pool.refuse(pool.papers.signed(pool.client, granted.record), SignatureError)
    pool.submit(good)
    pool.submit(granted)


def test_a_signature_for_another_ledger_does_not_count() -> None:
    pool, other = Pool(), Pool(levy_ppm=1)
    assert pool.ledger_id != other.ledger_id
    pool.refuse(other.papers.grant(pool.client.public_key, 5), SignatureError)
    pool.submit(pool.papers.grant(pool.client.public_key, 5))


@pytest.mark.parametrize(
    "record",
    [
        Rotation(
            account=ed25519("node").public_key, new_key=bytes(32), next_key=bytes(32), consent=bytes(64)
        ),
        Delegation(
            account=ed25519("client").public_key,
            delegate=ed25519("friend").public_key,
            cap_micro=1,
            until_unix_ms=START_MS,
            queue=ed25519("queue").public_key,
        ),
        Refund(
            id=fake_id("refund"),
            capture=ZERO_DIGEST,
            queue=ed25519("queue").public_key,
            amount_micro=1,
            reason="r",
        ),
        Levy(
            id=fake_id("levy"),
            round=1,
            shares=(LevyShare(account=ed25519("node").public_key, amount_micro=1),),
        ),
        Canary(receipt=fake_digest("receipt"), round=1, salt=bytes(32)),
    ],
    ids=lambda record: type(record).__name__,
)
def test_rule_set_1_names_itself_when_it_refuses_a_kind(record: Levy) -> None:
    pool = Pool()
    pool.refuse(pool.papers.signed(pool.papers.operator, record), RefusedError, "rule set 1 admits no")


def test_the_invariant_check_notices_credits_made_from_nothing() -> None:
    pool = Pool()
    pool.fund(pool.client, 100)
    check_invariant(pool.view)
    change(State(pool.view), pool.client.public_key, spendable=1)
    with pytest.raises(IntegrityError, match="made or lost"):
        check_invariant(pool.view)


def test_the_verifier_takes_true_signatures_and_refuses_false_ones() -> None:
    verifier = TransparencyVerifier()
    signer = real_validator(0)
    verifier.bls(signer.public_key, b"a", signer.sign(b"a"))
    with pytest.raises(SignatureError):
        verifier.bls(signer.public_key, b"b", signer.sign(b"a"))
    with pytest.raises(SignatureError):
        verifier.ed25519(ed25519("x").public_key, b"m", bytes(64))
    with pytest.raises(SignatureError):
        verifier.ed25519(ed25519("x").public_key, b"m", bytes(64))
    verifier.ed25519(ed25519("x").public_key, b"m", ed25519("x").sign(b"m"))


def test_the_verifier_checks_certificates() -> None:
    verifier, signer = TransparencyVerifier(), real_validator(0)
    member = CommitteeMember(bls_key=signer.public_key, proof_of_possession=signer.proof_of_possession())
    committee = Committee(members=(member,), quorum=1)
    verifier.certificate(committee, b"statement", b"\x01", signer.sign(b"statement"))
    with pytest.raises(CertificateError):
        verifier.certificate(committee, b"another", b"\x01", signer.sign(b"statement"))


def test_replaying_the_log_gives_the_same_state_bit_for_bit() -> None:
    pool = Pool(members=2)
    pool.fund(pool.client, 10_000_000)
    job = pool.order(pool.node, pool.other_node)
    pool.deliver(pool.work(job, 300))
    pool.check_round(pool.run_round().number)
    pool.settle(job)
    again = Pool(members=2, registered=False)
    for entry, bodies in list(zip(pool.entries, pool.bodies, strict=True))[1:]:
        again.now = entry.time_unix_ms
        again.submit(Submission(record=entry.record, signature=entry.signature, bodies=bodies))
    assert again.snapshot() == pool.snapshot()
    assert isinstance(pool.context, FoldContext)

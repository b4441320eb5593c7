"""Rounds, attestations, certificates, and what a certificate sets off."""

from dataclasses import replace

import pytest

from creditledger.credits import reading
from creditledger.credits.duty import drawn_members
from creditledger.credits.fold import attestations_of
from creditledger.errors import CertificateError, ConflictError, RefusedError, SignatureError, UnknownIdError
from creditledger.records.round import draw_seed
from fakes.cast import fake_digest
from fakes.pool import Pool


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("number", 2, "round number"),
        ("number", 0, "round number"),
        ("log_size", 4, "log size"),
        ("log_root", fake_digest("x"), "log root"),
        ("map_root", fake_digest("x"), "map root"),
        ("parameters", fake_digest("x"), "parameters"),
    ],
)
def test_a_round_is_what_the_fold_gives(field: str, value: object, match: str) -> None:
    pool = Pool()
    good = pool.propose_round()
    pool.refuse(pool.papers.round(good.replace(**{field: value})), RefusedError, match)
    pool.submit(pool.papers.round(good))
    info = reading.latest_round(pool.view)
    assert (info.round, info.index, info.is_certified) == (good, len(pool.entries) - 1, False)
    assert reading.latest_certified_round(pool.view) is None
    assert reading.map_root(pool.view) == good.map_root


def test_proposing_a_round_changes_nothing() -> None:
    pool = Pool()
    before = pool.snapshot()
    assert pool.propose_round() == pool.propose_round()
    assert pool.snapshot() == before


def test_only_the_latest_uncertified_round_is_attested() -> None:
    pool = Pool(members=2, quorum=1)
    first = pool.close_round()
    second = pool.close_round()
    pool.refuse(pool.papers.attestation(0, first, pool.parameters), RefusedError, "latest")
    pool.attest(second, 0)
    pool.certify(second)
    pool.refuse(pool.papers.attestation(1, second, pool.parameters), RefusedError, "certified")
    again = pool.papers.certificate(second, pool.parameters, attestations_of(pool.view, 2))
    pool.refuse(again, ConflictError, "logged before")
    pool.refuse(replace(again, record=again.record.replace(signers=b"\x03")), RefusedError, "certified")


def test_an_attestation_is_by_a_member_of_the_rounds_committee() -> None:
    pool = Pool(members=2)
    record = pool.close_round()
    good = pool.papers.attestation(1, record, pool.parameters)
    pool.refuse(replace(good, record=good.record.replace(member=0)), SignatureError)
    pool.refuse(replace(good, record=good.record.replace(member=2)), UnknownIdError)
    pool.refuse(replace(good, record=good.record.replace(committee=fake_digest("x"))), RefusedError)
    pool.submit(good)
    assert attestations_of(pool.view, 1) == {1: good.signature}
    assert attestations_of(pool.view, 2) == {}


@pytest.mark.parametrize("real_bls", [False, True])
def test_a_certificate_is_a_quorum_of_those_who_attested(real_bls: bool) -> None:
    pool = Pool(members=3, quorum=2, real_bls=real_bls)
    record = pool.close_round()
    papers, parameters = pool.papers, pool.parameters
    signatures = {m: papers.attestation(m, record, parameters).signature for m in range(3)}
    pool.attest(record, 0, 1)
    good = papers.certificate(record, parameters, {0: signatures[0], 1: signatures[1]})
    pool.refuse(papers.certificate(record, parameters, signatures), CertificateError, "did not attest")
    pool.refuse(replace(good, signature=signatures[0]), CertificateError)
    alone = good.record.replace(signers=b"\x01")
    pool.refuse(replace(good, record=alone), CertificateError)
    pool.refuse(replace(good, record=good.record.replace(signers=b"\x0b")), CertificateError)
    pool.submit(good)
    info = reading.latest_certified_round(pool.view)
    assert (info.certificate_index, info.certified_unix_ms) == (len(pool.entries) - 1, pool.now)


def test_a_certified_round_draws_checkers_from_its_signers_alone() -> None:
    """Anyone repeats the draw from the logged attestations."""
    pool = Pool(members=4, quorum=2, probation_micro=0, check_floor_ppm=900_000)
    pool.fund(pool.client, 10_000_000)
    job = pool.order(max_positions=256 * 40)
    digests = [receipt.digest(pool.ledger_id) for receipt in pool.work(job, 256 * 40)[0]]
    record = pool.close_round()
    pool.attest(record, 0, 1, 3)
    signatures = attestations_of(pool.view, record.number)
    signers = {member: signatures[member] for member in (0, 3)}
    pool.submit(pool.papers.certificate(record, pool.parameters, signers))
    seeds = {member: draw_seed(signature) for member, signature in signers.items()}
    drawn = {d: drawn_members(seeds, d, rate=900_000, members=4) for d in digests}
    assert any(drawn.values())
    for member in range(4):
        expected = sorted(digest for digest in digests if member in drawn[digest])
        assert reading.duties_of(pool.view, member, record.number) == expected
        duty = reading.member_duty(pool.view, member, record.number)
        assert (duty.due if duty else 0) == len(expected)
    for digest in digests:
        state = reading.receipt_state(pool.view, digest)
        assert (state.round, state.due) == (record.number, len(drawn[digest]))


def test_a_receipt_belongs_to_the_first_round_certified_over_it() -> None:
    """One logged after the round waits; one under an uncertified round is the next round's."""
    pool = Pool()
    pool.fund(pool.client, 10_000_000)
    early, late = pool.order(tag=1), pool.order(tag=2)
    first = pool.work(early, 256)[0][0].digest(pool.ledger_id)
    pool.close_round()
    covering = pool.close_round()
    second = pool.work(late, 256)[0][0].digest(pool.ledger_id)
    pool.attest(covering)
    pool.certify(covering)
    assert reading.receipt_state(pool.view, first).round == covering.number == 3
    assert reading.receipt_state(pool.view, second).round == 0
    later = pool.run_round()
    assert reading.receipt_state(pool.view, first).round == covering.number
    assert reading.receipt_state(pool.view, second).round == later.number


def test_a_receipt_above_the_always_check_value_is_always_drawn() -> None:
    pool = Pool(members=3, probation_micro=0, check_floor_ppm=0, always_check_micro=100_000)
    pool.fund(pool.client, 10_000_000)
    job = pool.order(max_positions=256 + 10)
    whole, short = pool.work(job, 256 + 10)[0]
    pool.run_round()
    assert reading.receipt_state(pool.view, whole.digest(pool.ledger_id)).due == 2
    assert reading.receipt_state(pool.view, short.digest(pool.ledger_id)).due == 0

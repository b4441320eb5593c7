"""Certificates: a quorum, of this committee, each once, each with a proven key."""

from hashlib import sha256

import pytest

from creditledger.errors import CertificateError, MalformedRecordError
from creditledger.transparency.bls import GROUP_ORDER, BlsSigner, key_from_seed
from creditledger.transparency.certificate import (
    Committee,
    CommitteeMember,
    decode_bitmap,
    encode_bitmap,
    make_certificate,
    verify_certificate,
)

SIGNERS = [BlsSigner(key_from_seed(bytes([number]) * 32)) for number in range(4)]
MEMBERS = tuple(
    CommitteeMember(bls_key=signer.public_key, proof_of_possession=signer.proof_of_possession())
    for signer in SIGNERS
)
COMMITTEE = Committee(members=MEMBERS, quorum=3)
STATEMENT = b"round 7 of " + COMMITTEE.digest
SIGNATURES = {number: signer.sign(STATEMENT) for number, signer in enumerate(SIGNERS)}


def certificate(*indices: int) -> tuple[bytes, bytes]:
    signatures = {index: SIGNATURES[index] for index in indices}
    return make_certificate(signatures, committee=COMMITTEE, statement=STATEMENT)


def test_a_quorum_certifies() -> None:
    for indices in ((0, 1, 2), (1, 2, 3), (0, 1, 2, 3)):
        bitmap, aggregate = certificate(*indices)
        assert decode_bitmap(bitmap, size=4) == list(indices)
        verify_certificate(committee=COMMITTEE, statement=STATEMENT, bitmap=bitmap, aggregate=aggregate)


def test_fewer_than_a_quorum_do_not() -> None:
    with pytest.raises(CertificateError, match="too few"):
        certificate(0, 1)
    _, aggregate = certificate(0, 1, 2)
    for bitmap in (b"\x03", b"\x00"):
        with pytest.raises(CertificateError, match="too few"):
            verify_certificate(committee=COMMITTEE, statement=STATEMENT, bitmap=bitmap, aggregate=aggregate)


def test_the_bitmap_says_who_signed() -> None:
    _, aggregate = certificate(0, 1, 2)
    with pytest.raises(CertificateError):
        verify_certificate(committee=COMMITTEE, statement=STATEMENT, bitmap=b"\x0f", aggregate=aggregate)
    with pytest.raises(CertificateError):
        verify_certificate(committee=COMMITTEE, statement=STATEMENT, bitmap=b"\x0e", aggregate=aggregate)


def test_another_statement_is_refused() -> None:
    bitmap, aggregate = certificate(0, 1, 2)
    with pytest.raises(CertificateError):
        verify_certificate(committee=COMMITTEE, statement=b"round 8", bitmap=bitmap, aggregate=aggregate)


def test_another_committee_has_another_digest() -> None:
    """So a statement that names the digest certifies for one committee only."""
    others = [
        Committee(members=MEMBERS, quorum=2),
        Committee(members=MEMBERS[::-1], quorum=3),
        Committee(members=MEMBERS[:3], quorum=3),
    ]
    assert len({COMMITTEE.digest, *(other.digest for other in others)}) == 4


def test_digest_layout() -> None:
    layout = b"creditledger/v1/committee\0" + b"\0\4\0\3"
    layout += b"".join(member.bls_key + member.proof_of_possession for member in MEMBERS)
    assert COMMITTEE.digest == sha256(layout).digest()


@pytest.mark.parametrize("bitmap", [b"", b"\x07\x00", b"\x17", b"\xff", b"\x87"])
def test_bitmaps_of_another_form_are_refused(bitmap: bytes) -> None:
    _, aggregate = certificate(0, 1, 2)
    with pytest.raises(CertificateError, match="does not fit"):
        verify_certificate(committee=COMMITTEE, statement=STATEMENT, bitmap=bitmap, aggregate=aggregate)


@pytest.mark.parametrize("index", [-1, 4, 9])
def test_signers_outside_the_committee_are_refused(index: int) -> None:
    signatures = {0: SIGNATURES[0], 1: SIGNATURES[1], index: SIGNATURES[2]}
    with pytest.raises(CertificateError, match="not in the committee"):
        make_certificate(signatures, committee=COMMITTEE, statement=STATEMENT)


def test_bits_run_from_the_lowest() -> None:
    assert encode_bitmap({0, 9}, size=10) == b"\x01\x02"
    assert decode_bitmap(b"\x01\x02", size=10) == [0, 9]
    assert encode_bitmap(set(), size=8) == b"\0"


@pytest.mark.parametrize("aggregate", [b"", b"\xc0" + bytes(95), bytes(96), b"\x80" * 96])
def test_infinity_and_junk_are_refused(aggregate: bytes) -> None:
    with pytest.raises(CertificateError):
        verify_certificate(committee=COMMITTEE, statement=STATEMENT, bitmap=b"\x07", aggregate=aggregate)


def test_one_signature_under_two_indices_is_refused() -> None:
    signatures = {0: SIGNATURES[0], 1: SIGNATURES[1], 2: SIGNATURES[1]}
    with pytest.raises(CertificateError) as refusal:
        make_certificate(signatures, committee=COMMITTEE, statement=STATEMENT)
    assert refusal.value.found == "failing members [2]"


def test_a_bad_signature_is_named() -> None:
    signatures = {**SIGNATURES, 3: SIGNERS[3].sign(b"something else")}
    with pytest.raises(CertificateError) as refusal:
        make_certificate(signatures, committee=COMMITTEE, statement=STATEMENT)
    assert refusal.value.found == "failing members [3]"


def test_a_rogue_key_cannot_sign_for_others() -> None:
    """pk' = pk_m - pk_a makes a forged aggregate verify; without a proof for pk' it is refused."""
    from py_ecc.bls.g2_primitives import G1_to_pubkey, pubkey_to_G1  # type: ignore[attr-defined]
    from py_ecc.optimized_bls12_381 import add, neg  # type: ignore[attr-defined]

    mallory = BlsSigner(key_from_seed(b"\x77" * 32))
    rogue = bytes(G1_to_pubkey(add(pubkey_to_G1(mallory.public_key), neg(pubkey_to_G1(MEMBERS[0].bls_key)))))
    forged = mallory.sign(STATEMENT)
    for proof in (mallory.proof_of_possession(), MEMBERS[0].proof_of_possession):
        committee = Committee(
            members=(MEMBERS[0], CommitteeMember(bls_key=rogue, proof_of_possession=proof)), quorum=2
        )
        with pytest.raises(CertificateError, match="possession"):
            verify_certificate(committee=committee, statement=STATEMENT, bitmap=b"\x03", aggregate=forged)


def test_keys_that_cancel_out_do_not_certify() -> None:
    pair = [BlsSigner(secret.to_bytes(32, "big")) for secret in (9, GROUP_ORDER - 9)]
    committee = Committee(
        members=tuple(
            CommitteeMember(bls_key=signer.public_key, proof_of_possession=signer.proof_of_possession())
            for signer in pair
        ),
        quorum=2,
    )
    with pytest.raises(CertificateError):
        verify_certificate(committee=committee, statement=b"x", bitmap=b"\x03", aggregate=b"\xc0" + bytes(95))


def test_committees_of_another_form_are_refused() -> None:
    for members, quorum in (
        ((), 1),
        (MEMBERS, 0),
        (MEMBERS, 5),
        ((MEMBERS[0], MEMBERS[0]), 1),
    ):
        with pytest.raises(MalformedRecordError):
            Committee(members=members, quorum=quorum)
    for key, proof in ((bytes(47), bytes(96)), (bytes(48), bytes(95))):
        with pytest.raises(MalformedRecordError):
            CommitteeMember(bls_key=key, proof_of_possession=proof)

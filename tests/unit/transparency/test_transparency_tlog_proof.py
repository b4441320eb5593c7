"""Proofs in text: one spelling each, and nothing believed but the reader's entry and policy."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from creditledger.errors import (
    InclusionProofError,
    MalformedBundleError,
    MalformedRecordError,
    PolicyError,
    SignatureError,
)
from creditledger.transparency.checkpoint import Checkpoint, sign_checkpoint
from creditledger.transparency.cosignature import CosignatureSigner, MlDsaCosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import inclusion_proof, leaf_hash, root_from_leaf_hashes
from creditledger.transparency.note import Ed25519NoteSigner, VerifierKey, add_signatures, sign_note
from creditledger.transparency.quorum import PolicyLog, PolicyWitness, WitnessGroup
from creditledger.transparency.tlog_proof import (
    EXTRA_SIZE_MAX,
    PROOF_HASHES_MAX,
    TLOG_PROOF_SIZE_MAX,
    TlogProof,
    parse_tlog_proof,
    verify_tlog_proof,
)
from creditledger.transparency.trust_policy import TrustPolicy
from published_vectors import Tally

ORIGIN, SECOND = "example.org/log", 1_700_000_000
LOG = Ed25519NoteSigner(ORIGIN, Ed25519Signer(b"\x01" * 32))
WITNESSES = [CosignatureSigner(f"w{n}.example", Ed25519Signer(bytes([16 + n]) * 32)) for n in range(3)]
SELF = MlDsaCosignatureSigner(ORIGIN, b"\x09" * 32)
ENTRIES = [b"entry %d" % number for number in range(7)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
CHECKPOINT = Checkpoint(origin=ORIGIN, size=7, root=root_from_leaf_hashes(LEAVES))
PLAIN = TlogProof(index=3, hashes=(b"\x11" * 32, b"\x22" * 32), checkpoint=b"opaque\n").encode()


def note(*cosigners: CosignatureSigner | MlDsaCosignatureSigner, origin: str = ORIGIN) -> bytes:
    checkpoint = replace(CHECKPOINT, origin=origin)
    lines = [cosigner.cosign(checkpoint.text, timestamp=SECOND).line for cosigner in cosigners]
    return add_signatures(sign_checkpoint(checkpoint, [LOG]), lines)


def proof(index: int = 3, *cosigners: CosignatureSigner) -> TlogProof:
    hashes = tuple(inclusion_proof(LEAVES, index, len(LEAVES)))
    return TlogProof(index=index, hashes=hashes, checkpoint=note(*(cosigners or WITNESSES)))


def two_of_three(**changes: object) -> TrustPolicy:
    witnesses = tuple(PolicyWitness(name=f"w{n}", vkey=key.vkey) for n, key in enumerate(WITNESSES))
    group = WitnessGroup(name="g", threshold=2, members=("w0", "w1", "w2"))
    policy = TrustPolicy(logs=(PolicyLog(vkey=LOG.vkey),), witnesses=witnesses, groups=(group,), quorum="g")
    return replace(policy, **changes)  # type: ignore[arg-type]


POLICY = two_of_three()


def test_the_published_cases(vectors: Path, ran: Tally) -> None:
    cases = json.loads((vectors / "tlog-proof" / "tlog_proof_cases.json").read_text())
    for case in cases["valid"]:
        found = parse_tlog_proof(case["text"].encode())
        assert found.index == case["index"], case["name"]
        assert found.extra == case.get("extra", "").encode(), case["name"]
        assert found.checkpoint == case["checkpoint"].encode(), case["name"]
        lines = case["text"].split("\n")
        start = 2 + ("extra" in case)
        assert lines[start : start + len(found.hashes)] == case["hashes"], case["name"]
        assert found.encode() == case["text"].encode(), case["name"]
    for case in cases["malformed"]:
        with pytest.raises(MalformedRecordError):
            parse_tlog_proof(case["text"].encode())
    ran("tlog-proof", len(cases["valid"]) + len(cases["malformed"]), "3 read and written back, 8 refused")


REFUSED = {
    "nothing": b"",
    "no header": PLAIN[23:],
    "another version": PLAIN.replace(b"@v1", b"@v2"),
    "a mark before": b"\xef\xbb\xbf" + PLAIN,
    "CRLF": PLAIN.replace(b"\n", b"\r\n"),
    "an extra of nothing": PLAIN.replace(b"index", b"extra \nindex"),
    "an extra without a space": PLAIN.replace(b"index", b"extra\nindex"),
    "two extras": PLAIN.replace(b"index", b"extra QQ==\nextra QQ==\nindex"),
    "extra after index": PLAIN.replace(b"index 3", b"index 3\nextra QQ=="),
    "extra that is not canonical": PLAIN.replace(b"index", b"extra QR==\nindex"),
    "extra without padding": PLAIN.replace(b"index", b"extra QQ\nindex"),
    "URL base64": PLAIN.replace(b"index", b"extra _-8=\nindex"),
    "no index": PLAIN.replace(b"index 3\n", b""),
    "two indices": PLAIN.replace(b"index 3", b"index 3\nindex 3"),
    "index with a zero": PLAIN.replace(b"index 3", b"index 03"),
    "index with a plus": PLAIN.replace(b"index 3", b"index +3"),
    "index with a space": PLAIN.replace(b"index 3", b"index  3"),
    "index with a tail": PLAIN.replace(b"index 3", b"index 3 "),
    "index in other digits": PLAIN.replace(b"index 3", "index \uff13".encode()),
    "index with an underscore": PLAIN.replace(b"index 3", b"index 1_0"),
    "index of 2^63": PLAIN.replace(b"index 3", b"index 9223372036854775808"),
    "index of 5000 digits": PLAIN.replace(b"index 3", b"index " + b"1" * 5000),
    "a hash of 31 bytes": PLAIN.replace(b"ERER" * 10 + b"ERE=", b"ERER" * 10 + b"EQ=="),
    "a hash with a tail": PLAIN.replace(b"ERE=\n", b"ERE= \n"),
    "hashes apart by another line end": PLAIN.replace(b"ERE=\n", "ERE=\u2028".encode()),
    "64 hashes": PLAIN.replace(b"index 3\n", b"index 3\n" + (b"ERER" * 10 + b"ERE=\n") * 62),
    "very many hashes": PLAIN.replace(b"index 3\n", b"index 3\n" + (b"ERER" * 10 + b"ERE=\n") * 9_999),
    "no empty line": PLAIN.replace(b"\n\n", b"\n"),
    "no checkpoint": PLAIN.removesuffix(b"opaque\n"),
    "a checkpoint without its last LF": PLAIN.removesuffix(b"\n"),
    "too long": PLAIN + b"a" * TLOG_PROOF_SIZE_MAX,
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_writer_writes_is_refused(name: str) -> None:
    assert REFUSED[name] != PLAIN
    assert parse_tlog_proof(PLAIN).encode() == PLAIN
    with pytest.raises(MalformedRecordError):
        parse_tlog_proof(REFUSED[name])
    with pytest.raises(MalformedBundleError):
        verify_tlog_proof(REFUSED[name], entry=ENTRIES[3], policy=POLICY)


def test_the_largest_proof_is_read_back() -> None:
    largest = TlogProof(
        index=2**63 - 1,
        hashes=(b"\xff" * 32,) * PROOF_HASHES_MAX,
        checkpoint=b"a" * 999_999 + b"\n",
        extra=b"\xff" * EXTRA_SIZE_MAX,
    )
    assert parse_tlog_proof(largest.encode()) == largest


@pytest.mark.parametrize(
    "change",
    [
        {"index": -1},
        {"index": 2**63},
        {"hashes": (b"\x11" * 31,)},
        {"hashes": (b"\x11" * 32,) * 64},
        {"checkpoint": b""},
        {"checkpoint": b"no end"},
        {"checkpoint": b"a" * 1_000_000 + b"\n"},
        {"extra": b"a" * (EXTRA_SIZE_MAX + 1)},
    ],
)
def test_what_cannot_be_read_back_is_not_made(change: dict[str, object]) -> None:
    with pytest.raises(MalformedRecordError):
        replace(parse_tlog_proof(PLAIN), **change)  # type: ignore[arg-type]


def test_a_checkpoint_may_hold_empty_lines() -> None:
    """The file is split at its first one."""
    made = TlogProof(index=0, hashes=(), checkpoint=b"text\n\nlines\n\nmore\n")
    assert parse_tlog_proof(made.encode()) == made


@pytest.mark.parametrize("index", range(7))
def test_an_entry_is_proven_at_its_index_only(index: int) -> None:
    encoded = proof(index).encode()
    verified = verify_tlog_proof(encoded, entry=ENTRIES[index], policy=POLICY)
    assert (verified.index, verified.checkpoint) == (index, CHECKPOINT)
    assert verified.cosigned_unix_ms == SECOND * 1_000
    for other in set(range(8)) - {index}:
        with pytest.raises(InclusionProofError):
            verify_tlog_proof(
                replace(proof(index), index=other).encode(), entry=ENTRIES[index], policy=POLICY
            )
    for entry in (b"", ENTRIES[index] + b"\0", ENTRIES[(index + 1) % 7], LEAVES[index]):
        with pytest.raises(InclusionProofError):
            verify_tlog_proof(encoded, entry=entry, policy=POLICY)


def test_a_hash_more_less_or_other_is_no_proof() -> None:
    good = proof()
    for hashes in (
        good.hashes[:-1],
        (*good.hashes, bytes(32)),
        good.hashes[::-1],
        (bytes(32), *good.hashes[1:]),
        (),
    ):
        with pytest.raises(InclusionProofError):
            verify_tlog_proof(replace(good, hashes=hashes).encode(), entry=ENTRIES[3], policy=POLICY)


def test_the_extra_is_not_looked_at() -> None:
    for extra in (ENTRIES[4], LEAVES[3], b"\n\n"):
        encoded = replace(proof(), extra=extra).encode()
        assert verify_tlog_proof(encoded, entry=ENTRIES[3], policy=POLICY).index == 3
        with pytest.raises(InclusionProofError):
            verify_tlog_proof(encoded, entry=ENTRIES[4], policy=POLICY)


def test_the_quorum_must_be_reached_by_distinct_witnesses() -> None:
    """One witness twice is one; nobody's line counts for another."""
    once = proof(3, WITNESSES[0])
    twice = proof(3, WITNESSES[0], WITNESSES[0])
    stranger = proof(3, WITNESSES[0], CosignatureSigner("w1.example", Ed25519Signer(b"\x77" * 32)))
    renamed = proof(3, WITNESSES[0], CosignatureSigner("w9.example", Ed25519Signer(bytes([16]) * 32)))
    for made in (once, twice, stranger, renamed):
        with pytest.raises(PolicyError, match="quorum"):
            verify_tlog_proof(made.encode(), entry=ENTRIES[3], policy=POLICY)
    enough = proof(3, WITNESSES[0], WITNESSES[2])
    assert verify_tlog_proof(enough.encode(), entry=ENTRIES[3], policy=POLICY).index == 3


def test_one_key_under_two_names_makes_no_policy() -> None:
    same = VerifierKey(name="other.example", key_type=4, public_key=WITNESSES[0].vkey.public_key)
    witnesses = (POLICY.witnesses[0], PolicyWitness(name="w1", vkey=same), POLICY.witnesses[2])
    with pytest.raises(MalformedRecordError, match="policy"):
        two_of_three(witnesses=witnesses)


def test_the_log_must_have_signed_under_its_own_origin() -> None:
    encoded = replace(proof(), checkpoint=note(*WITNESSES, origin="example.org/other")).encode()
    with pytest.raises(SignatureError, match="origin"):
        verify_tlog_proof(encoded, entry=ENTRIES[3], policy=POLICY)
    stranger = Ed25519NoteSigner(ORIGIN, Ed25519Signer(b"\x55" * 32))
    unsigned = replace(proof(), checkpoint=sign_checkpoint(CHECKPOINT, [stranger]))
    with pytest.raises(SignatureError, match="known key"):
        verify_tlog_proof(unsigned.encode(), entry=ENTRIES[3], policy=POLICY)


def test_a_false_line_of_a_known_witness_spoils_the_proof() -> None:
    line = WITNESSES[2].cosign(replace(CHECKPOINT, size=6).text, timestamp=SECOND).line
    spoilt = replace(proof(), checkpoint=add_signatures(note(*WITNESSES[:2]), [line]))
    with pytest.raises(SignatureError):
        verify_tlog_proof(spoilt.encode(), entry=ENTRIES[3], policy=POLICY)


def test_a_policy_that_wants_the_logs_ml_dsa_key_cannot_be_talked_down() -> None:
    own = PolicyWitness(name="self", vkey=SELF.vkey)
    groups = (*POLICY.groups, WitnessGroup(name="both", threshold=2, members=("g", "self")))
    policy = two_of_three(witnesses=(*POLICY.witnesses, own), groups=groups, quorum="both")
    with pytest.raises(PolicyError, match="quorum"):
        verify_tlog_proof(proof().encode(), entry=ENTRIES[3], policy=policy)
    full = replace(proof(), checkpoint=note(*WITNESSES, SELF)).encode()
    assert verify_tlog_proof(full, entry=ENTRIES[3], policy=policy).index == 3
    # A reader who does not know that key ignores its line, as C2SP asks.
    assert verify_tlog_proof(full, entry=ENTRIES[3], policy=POLICY).index == 3


def test_an_old_checkpoint_is_refused_where_the_policy_sets_an_age() -> None:
    policy = two_of_three(max_age_ms=60_000)
    encoded = proof().encode()
    now = SECOND * 1_000 + 60_000
    assert verify_tlog_proof(encoded, entry=ENTRIES[3], policy=policy, now_unix_ms=now).index == 3
    with pytest.raises(PolicyError, match="fresh"):
        verify_tlog_proof(encoded, entry=ENTRIES[3], policy=policy, now_unix_ms=now + 1)


def test_a_text_that_is_no_checkpoint_note_is_a_malformed_proof() -> None:
    extended = sign_note(CHECKPOINT.text + b"an extension\n", [LOG])
    for checkpoint in (b"opaque\n", extended):
        encoded = replace(proof(), checkpoint=checkpoint).encode()
        with pytest.raises(MalformedBundleError):
            verify_tlog_proof(encoded, entry=ENTRIES[3], policy=POLICY)

"""Cosignatures of both kinds: whose, when, over which tree."""

import json
from pathlib import Path

import pytest

from creditledger.errors import KeyFormatError, MalformedRecordError, SignatureError
from creditledger.transparency.checkpoint import Checkpoint, sign_checkpoint
from creditledger.transparency.cosignature import (
    CosignatureSigner,
    MlDsaCosignatureSigner,
    cosignature_message,
    cosignature_timestamp,
    ml_dsa_message,
    note_verifier,
)
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.note import (
    Ed25519NoteSigner,
    add_signatures,
    open_note,
    parse_note,
    parse_verifier_key,
    sign_note,
)
from published_vectors import Tally

CHECKPOINT = Checkpoint(origin="example.org/log", size=7, root=bytes(range(32)))
NOTE = sign_checkpoint(CHECKPOINT, [Ed25519NoteSigner("example.org/log", Ed25519Signer(bytes(32)))])
SIGNERS = [
    CosignatureSigner("example.org/witness", Ed25519Signer(b"\x05" * 32)),
    MlDsaCosignatureSigner("example.org/quantum", b"\x06" * 32),
]
IDS = ["ed25519", "ml-dsa-44"]


def test_messages_byte_for_byte() -> None:
    assert cosignature_message(CHECKPOINT.text, timestamp=1234) == (
        b"cosignature/v1\ntime 1234\n" + CHECKPOINT.text
    )
    assert ml_dsa_message(CHECKPOINT.text, name="w", timestamp=1234) == (
        b"subtree/v1\n\0"
        + b"\x01w"
        + (1234).to_bytes(8, "big")
        + b"\x0fexample.org/log"
        + bytes(8)
        + (7).to_bytes(8, "big")
        + bytes(range(32))
    )


@pytest.mark.parametrize("signer", SIGNERS, ids=IDS)
def test_a_cosigned_checkpoint_opens(signer: CosignatureSigner | MlDsaCosignatureSigner) -> None:
    cosigned = add_signatures(NOTE, [signer.cosign(CHECKPOINT.text, timestamp=99).line])
    text, signatures = open_note(cosigned, [note_verifier(signer.vkey)])
    assert text == CHECKPOINT.text
    assert [cosignature_timestamp(signature.body) for signature in signatures] == [99]
    assert parse_verifier_key(str(signer.vkey)) == signer.vkey


@pytest.mark.parametrize("signer", SIGNERS, ids=IDS)
def test_each_changed_part_is_refused(signer: CosignatureSigner | MlDsaCosignatureSigner) -> None:
    body = signer.cosign(CHECKPOINT.text, timestamp=99).body
    verifier = note_verifier(signer.vkey)
    verifier.verify(CHECKPOINT.text, body)
    larger = Checkpoint(origin=CHECKPOINT.origin, size=8, root=CHECKPOINT.root)
    with pytest.raises(SignatureError):
        verifier.verify(larger.text, body)
    for broken in (
        (100).to_bytes(8, "big") + body[8:],
        bytes(8) + body[8:],
        b"\xff" * 8 + body[8:],
        body[:-1],
        body + b"\0",
        body[:8],
        b"",
        body[:20] + bytes([body[20] ^ 1]) + body[21:],
    ):
        with pytest.raises(SignatureError):
            verifier.verify(CHECKPOINT.text, broken)


def test_ml_dsa_signs_the_cosigners_name() -> None:
    """The same key under another name is another cosigner."""
    body = SIGNERS[1].cosign(CHECKPOINT.text, timestamp=1).body
    renamed = MlDsaCosignatureSigner("example.org/other", b"\x06" * 32)
    with pytest.raises(SignatureError):
        note_verifier(renamed.vkey).verify(CHECKPOINT.text, body)


def test_ml_dsa_refuses_what_is_not_a_checkpoint() -> None:
    with pytest.raises(MalformedRecordError):
        SIGNERS[1].cosign(CHECKPOINT.text + b"extension\n", timestamp=1)
    body = SIGNERS[1].cosign(CHECKPOINT.text, timestamp=1).body
    with pytest.raises(SignatureError, match="checkpoints only"):
        note_verifier(SIGNERS[1].vkey).verify(b"a note\n", body)


def test_a_cosignature_is_not_a_log_signature() -> None:
    """One seed in two roles: the messages differ, so neither passes for the other."""
    seed = Ed25519Signer(b"\x05" * 32)
    as_log = Ed25519NoteSigner("example.org/witness", seed)
    cosigned = SIGNERS[0].cosign(CHECKPOINT.text, timestamp=1)
    with pytest.raises(SignatureError):
        note_verifier(as_log.vkey).verify(CHECKPOINT.text, cosigned.body[8:])
    assert as_log.vkey.key_id != cosigned.key_id


@pytest.mark.parametrize("signer", SIGNERS, ids=IDS)
@pytest.mark.parametrize("timestamp", [0, -1, 2**63])
def test_times_out_of_range_are_not_signed(
    signer: CosignatureSigner | MlDsaCosignatureSigner, timestamp: int
) -> None:
    signer.cosign(CHECKPOINT.text, timestamp=2**63 - 1)
    with pytest.raises(MalformedRecordError):
        signer.cosign(CHECKPOINT.text, timestamp=timestamp)


@pytest.mark.parametrize("timestamp", [0, 2**63])
def test_times_out_of_range_are_refused_though_signed(timestamp: int) -> None:
    """Source: specs/log.md §8: a witness says when, and no later than 2^63-1."""
    seed = Ed25519Signer(b"\x05" * 32)
    verifier = note_verifier(SIGNERS[0].vkey)

    def body(time: int) -> bytes:
        return time.to_bytes(8, "big") + seed.sign(cosignature_message(CHECKPOINT.text, timestamp=time))

    verifier.verify(CHECKPOINT.text, body(1))
    with pytest.raises(SignatureError, match="out of range"):
        verifier.verify(CHECKPOINT.text, body(timestamp))


def test_text_form_shows_no_seed() -> None:
    assert "redacted" in repr(SIGNERS[1])
    with pytest.raises(KeyFormatError):
        MlDsaCosignatureSigner("n", bytes(31))


def test_published_cosignature_byte_for_byte(vectors: Path, ran: Tally) -> None:
    cases = json.loads((vectors / "signed-notes/notes.json").read_text())
    case = next(case for case in cases if case.get("kind") == "cosignature")
    signer = CosignatureSigner(case["key_name"], Ed25519Signer(bytes.fromhex(case["ed25519_seed_hex"])))
    line = signer.cosign(case["body"].encode(), timestamp=case["timestamp"]).line
    assert line.decode() in case["note_lines"]
    note = next(case for case in cases if case["name"] == "sigsum checkpoint")
    parsed = parse_note(note["note"].encode())
    log = Ed25519Signer(bytes.fromhex(note["ed25519_seed_hex"]))
    signed = sign_note(parsed.text, [Ed25519NoteSigner(parsed.signatures[0].name, log)])
    assert signed == note["note"].encode()
    ran("signed-notes signed again", 2, "byte for byte")


def test_published_verifier_keys(vectors: Path, ran: Tally) -> None:
    cases = json.loads((vectors / "signed-notes/cosigner_vkeys.json").read_text())["cases"]
    accepted = 0
    for case in cases:
        if case.get("stated_key_id_matches_spec"):
            assert str(parse_verifier_key(case["vkey"])) == case["vkey"]
            accepted += 1
        else:
            with pytest.raises(KeyFormatError):
                parse_verifier_key(case["vkey"])
    assert accepted == 2
    ran("signed-notes verifier keys", len(cases), "2 read; 6 with another key's id or no key refused")


def test_published_ml_dsa_44_signatures(vectors: Path, ran: Tally) -> None:
    """The backend's verdicts, so that type 6 rests on a checked primitive."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

    groups = json.loads((vectors / "wycheproof/mldsa_44_verify_test.json").read_text())["testGroups"]
    seen = 0
    for group in groups:
        for case in group["tests"]:
            try:
                key = MLDSA44PublicKey.from_public_bytes(bytes.fromhex(group["publicKey"]))
                context = bytes.fromhex(case.get("ctx", ""))
                key.verify(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]), context)
            except (InvalidSignature, ValueError):
                assert case["result"] == "invalid", case["tcId"]
            else:
                assert case["result"] == "valid", case["tcId"]
            seen += 1
    ran("wycheproof ml-dsa-44 verify", seen, "as published, the primitive under type 6")


def test_published_ml_dsa_44_keys_and_signatures_from_a_seed(vectors: Path, ran: Tally) -> None:
    """Our signer derives the published public key, under which the published signature holds."""
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

    groups = json.loads((vectors / "wycheproof/mldsa_44_sign_seed_test.json").read_text())["testGroups"]
    seen = refused = 0
    for group in groups:
        seed = bytes.fromhex(group["privateSeed"])
        for case in group["tests"]:
            seen += 1
            if len(seed) != 32:
                with pytest.raises(KeyFormatError):
                    MlDsaCosignatureSigner("n", seed)
                refused += 1
                continue
            key = MlDsaCosignatureSigner("n", seed).vkey.public_key
            assert key.hex() == group["publicKey"], case["tcId"]
            public, context = MLDSA44PublicKey.from_public_bytes(key), bytes.fromhex(case.get("ctx", ""))
            if case["result"] == "invalid":
                assert len(context) > 255, case["tcId"]
                refused += 1
            elif "mu" in case and "msg" not in case:
                public.verify_mu(bytes.fromhex(case["sig"]), bytes.fromhex(case["mu"]))
            else:
                public.verify(bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"]), context)
    ran("wycheproof ml-dsa-44 sign, from the seed", seen, f"{refused} refused")

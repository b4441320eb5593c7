"""Signed notes: published notes, and every other spelling refused."""

import base64
import json
from pathlib import Path

import pytest

from creditledger.errors import KeyFormatError, MalformedRecordError, SignatureError
from creditledger.transparency.cosignature import note_verifier
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.note import (
    Ed25519NoteSigner,
    Ed25519NoteVerifier,
    Note,
    NoteSignature,
    VerifierKey,
    add_signatures,
    decode_base64,
    open_note,
    parse_note,
    parse_verifier_key,
    sign_note,
)
from published_vectors import Tally

ALICE = Ed25519NoteSigner("alice", Ed25519Signer(b"\x01" * 32))
BOB = Ed25519NoteSigner("bob", Ed25519Signer(b"\x02" * 32))
TEXT = b"first line\n\nthird line\n"
NOTE = sign_note(TEXT, [ALICE, BOB])


def verifier(signer: Ed25519NoteSigner) -> Ed25519NoteVerifier:
    return Ed25519NoteVerifier(signer.vkey)


def test_a_note_opens_for_each_of_its_signers() -> None:
    for signers in ([ALICE], [BOB], [BOB, ALICE]):
        text, verified = open_note(NOTE, list(map(verifier, signers)))
        assert text == TEXT
        assert {signature.vkey for signature in verified} == {signer.vkey for signer in signers}


def test_a_note_without_a_known_signer_is_refused() -> None:
    carol = Ed25519NoteSigner("carol", Ed25519Signer(b"\x03" * 32))
    for verifiers in ([verifier(carol)], []):
        with pytest.raises(SignatureError, match="known key"):
            open_note(NOTE, verifiers)


def test_one_failing_known_signature_is_enough_to_refuse() -> None:
    forged = NoteSignature(name="bob", key_id=BOB.vkey.key_id, body=bytes(64))
    note = add_signatures(sign_note(TEXT, [ALICE]), [forged.line])
    assert open_note(note, [verifier(ALICE)])[0] == TEXT
    with pytest.raises(SignatureError):
        open_note(note, [verifier(ALICE), verifier(BOB)])


def test_a_changed_text_is_refused() -> None:
    with pytest.raises(SignatureError):
        open_note(NOTE.replace(b"first", b"First"), [verifier(ALICE)])


def test_the_same_name_with_another_key_id_is_unknown() -> None:
    other = Ed25519NoteSigner("alice", Ed25519Signer(b"\x09" * 32))
    with pytest.raises(SignatureError, match="known key"):
        open_note(NOTE, [verifier(other)])


def test_two_verifiers_of_one_name_and_id_are_refused() -> None:
    with pytest.raises(SignatureError, match="share"):
        open_note(NOTE, [verifier(ALICE), verifier(ALICE)])


def test_encoding_undoes_parsing() -> None:
    assert parse_note(NOTE).encode() == NOTE


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\n",
        TEXT,
        TEXT + b"\n",
        NOTE[:-1],
        NOTE + b"\n",
        NOTE + b"junk\n",
        NOTE.replace(b"\n\xe2\x80\x94", b"\r\n\xe2\x80\x94"),
        NOTE.replace(b"\xe2\x80\x94 alice", b"- alice"),
        NOTE.replace(b"\xe2\x80\x94 alice", b"\xe2\x80\x94  alice"),
        NOTE.replace(b"\xe2\x80\x94 alice ", b"\xe2\x80\x94 al+ice "),
        NOTE.replace(b"\xe2\x80\x94 alice ", b"\xe2\x80\x94 al\xc2\xa0ice "),
        NOTE.replace(b"\xe2\x80\x94 alice ", b"\xe2\x80\x94 "),
        NOTE.replace(b"first", b"fir\x00st"),
        NOTE.replace(b"first", b"fir\tst"),
        NOTE.replace(b"first", b"fir\xff\xfest"),
        sign_note(TEXT, [ALICE]).replace(b"=\n", b"\n"),
        sign_note(TEXT, [ALICE]).replace(b"=\n", b"= \n"),
        TEXT + b"\n\xe2\x80\x94 alice AAAAAA==\n",
        TEXT + b"\n\xe2\x80\x94 alice\n",
        b"x" * 1_000_001,
    ],
)
def test_anything_that_no_signer_writes_is_refused(note: bytes) -> None:
    with pytest.raises(MalformedRecordError):
        parse_note(note)


def test_a_hundred_signatures_and_no_more() -> None:
    line = parse_note(NOTE).signatures[0].line
    note = TEXT + b"\n" + line * 100
    assert len(parse_note(note).signatures) == 100
    with pytest.raises(MalformedRecordError):
        parse_note(note + line)


def test_a_text_that_would_be_read_otherwise_is_not_signed() -> None:
    for text in (b"no line feed", b"", b"bad \xff\n", b"tab\there\n"):
        with pytest.raises(MalformedRecordError):
            sign_note(text, [ALICE])
    with pytest.raises(MalformedRecordError):
        Note(text=TEXT, signatures=()).encode()


def test_lines_that_change_the_text_are_not_added() -> None:
    line = parse_note(NOTE).signatures[1].line
    assert add_signatures(sign_note(TEXT, [ALICE]), [line]) == NOTE
    with pytest.raises(MalformedRecordError):
        add_signatures(NOTE, [b"\n" + line])


def test_base64_has_one_spelling() -> None:
    assert decode_base64(b"QQ==") == b"A"
    for encoded in (b"QR==", b"QQ", b"QQ==\n", b" QQ==", b"Q Q==", b"QQ=="[:3], b"\xff"):
        with pytest.raises(MalformedRecordError):
            decode_base64(encoded)


def test_verifier_keys_both_ways() -> None:
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    key = parse_verifier_key(text)
    assert (key.name, key.key_type, key.key_id.hex()) == ("PeterNeumann", 1, "c74f20a3")
    assert str(key) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeuman+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "Peter Neumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10R",
        "PeterNeumann+c74f20a3+",
        "PeterNeumann+c74f20a3+\u0661",
    ],
)
def test_other_verifier_keys_are_refused(text: str) -> None:
    with pytest.raises(KeyFormatError):
        parse_verifier_key(text)


@pytest.mark.parametrize("key_type", [0, 2, 5, 0xFA, 0xFF])
def test_types_without_a_meaning_here_are_refused(key_type: int) -> None:
    with pytest.raises(KeyFormatError, match="type"):
        VerifierKey(name="n", key_type=key_type, public_key=ALICE.vkey.public_key)


def test_a_verifier_key_around_a_weak_point_is_refused() -> None:
    with pytest.raises(KeyFormatError, match="low order"):
        VerifierKey(name="n", key_type=1, public_key=b"\x01" + bytes(31))


def test_published_notes(vectors: Path, ran: Tally) -> None:
    cases = json.loads((vectors / "signed-notes/notes.json").read_text())
    seen = 0
    for case in cases:
        if "vkeys" not in case:
            continue
        note = case["note"].encode() if "note" in case else base64.b64decode(case["note_b64"])
        verifiers = [note_verifier(parse_verifier_key(key)) for key in case["vkeys"]]
        if case["valid"]:
            text, signatures = open_note(note, verifiers)
            assert note.startswith(text + b"\n")
            assert signatures
        else:
            with pytest.raises((MalformedRecordError, SignatureError)):
                open_note(note, verifiers)
        seen += 1
    ran("signed-notes notes", seen, "10 open, 12 refused")


def test_a_published_key_of_a_type_without_a_meaning_here_is_refused(vectors: Path, ran: Tally) -> None:
    """Type 5 (RFC 6962): its note is well-formed, and opens for nobody here."""
    case = json.loads((vectors / "signed-notes/rfc6962_note.json").read_text())
    assert parse_note(case["rome_checkpoint"].encode()).encode() == case["rome_checkpoint"].encode()
    with pytest.raises(KeyFormatError, match="type"):
        parse_verifier_key(case["rome_vkey"])
    with pytest.raises(SignatureError):
        open_note(case["rome_checkpoint"].encode(), [note_verifier(ALICE.vkey)])
    ran("signed-notes rfc 6962 key", 1, "type 5 refused: specs/log.md §6")


def test_checkpoints_of_another_implementation_byte_for_byte(vectors: Path, ran: Tally) -> None:
    keys = json.loads((vectors / "tessera-log/keys.json").read_text())
    secret = base64.b64decode(keys["skey"].split("+", 4)[4])
    signer = Ed25519NoteSigner(keys["origin"], Ed25519Signer(secret[1:]))
    assert str(signer.vkey) == keys["vkey"]
    for size in range(16):
        note = (vectors / f"tessera-log/log/checkpoint.{size}").read_bytes()
        assert sign_note(parse_note(note).text, [signer]) == note
    ran("tessera-log checkpoints, signed again", size + 1, "byte for byte, sizes 0 to 15")

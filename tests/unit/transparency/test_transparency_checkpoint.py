"""Checkpoints: one spelling each."""

import base64

import pytest

from creditledger.errors import MalformedRecordError
from creditledger.transparency.checkpoint import (
    Checkpoint,
    parse_checkpoint,
    parse_checkpoint_note,
    parse_decimal,
    sign_checkpoint,
)
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.note import Ed25519NoteSigner

ROOT = base64.b64encode(bytes(range(32)))
TEXT = b"example.org/log\n12\n" + ROOT + b"\n"


def test_text_both_ways() -> None:
    checkpoint = Checkpoint(origin="example.org/log", size=12, root=bytes(range(32)))
    assert checkpoint.text == TEXT
    assert parse_checkpoint(TEXT) == checkpoint


def test_a_signed_checkpoint_is_read_back() -> None:
    checkpoint = parse_checkpoint(TEXT)
    signer = Ed25519NoteSigner("example.org/log", Ed25519Signer(bytes(32)))
    assert parse_checkpoint_note(sign_checkpoint(checkpoint, [signer])) == checkpoint


@pytest.mark.parametrize(
    "text",
    [
        b"",
        TEXT[:-1],
        TEXT + b"\n",
        TEXT + b"extension\n",
        b"\n" + TEXT,
        TEXT.replace(b"example.org/log", b""),
        TEXT.replace(b"example.org/log", b"a" * 256),
        TEXT.replace(b"example.org/log", b"\xff"),
        TEXT.replace(b"example.org/log", b"a\tb"),
        TEXT.replace(b"12", b"012"),
        TEXT.replace(b"12", b"+12"),
        TEXT.replace(b"12", b"-12"),
        TEXT.replace(b"12", b"1_2"),
        TEXT.replace(b"12", b" 12"),
        TEXT.replace(b"12", b"12 "),
        TEXT.replace(b"12", b""),
        TEXT.replace(b"12", "\uff11\uff12".encode()),
        TEXT.replace(b"12", b"12\r"),
        TEXT.replace(b"12", b"9223372036854775808"),
        TEXT.replace(ROOT, ROOT[:-1]),
        TEXT.replace(ROOT, base64.b64encode(bytes(31))),
        TEXT.replace(ROOT, base64.b64encode(bytes(33))),
        TEXT.replace(ROOT, ROOT + b" "),
        TEXT.replace(ROOT, ROOT[:-2] + b"9="),
    ],
)
def test_every_other_spelling_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedRecordError):
        parse_checkpoint(text)


def test_the_largest_size() -> None:
    assert parse_decimal(b"9223372036854775807") == 2**63 - 1
    assert parse_decimal(b"0") == 0
    with pytest.raises(MalformedRecordError):
        parse_decimal(b"9" * 5000)


@pytest.mark.parametrize("change", [{"size": -1}, {"size": 2**63}, {"root": b""}, {"origin": "a\nb"}])
def test_values_out_of_range_are_refused(change: dict[str, object]) -> None:
    good = {"origin": "a", "size": 2**63 - 1, "root": bytes(32)}
    Checkpoint(**good)  # type: ignore[arg-type]
    with pytest.raises(MalformedRecordError):
        Checkpoint(**{**good, **change})  # type: ignore[arg-type]

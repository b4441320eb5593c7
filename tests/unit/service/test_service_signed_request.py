"""Signed requests and links: what they hold for, and everything else they do not."""

from dataclasses import replace
from hashlib import sha256

import pytest

from creditledger.errors import ExpiredError, MalformedRecordError, SignatureError
from creditledger.service.signed_request import (
    LINK_AHEAD_MS_MAX,
    REQUEST_AHEAD_MS_MAX,
    LinkSignature,
    RequestSignature,
    sign_link,
    sign_request,
)
from creditledger.transparency.bls import BlsSigner, key_from_seed
from creditledger.transparency.keys import Ed25519Signer

NOW = 1_770_000_000_000
LEDGER, AUDIENCE = b"L" * 32, b"A" * 32
ASKED = {
    "ledger_id": LEDGER,
    "audience": AUDIENCE,
    "method": "PUT",
    "target": "/v1/evidence/inputs/00?x=1",
    "body_digest": sha256(b"body").digest(),
}
SIGNERS = [Ed25519Signer(b"k" * 32), BlsSigner(key_from_seed(b"k" * 32))]
NODE = SIGNERS[0]


def _signed(signer: Ed25519Signer | BlsSigner = NODE, expires: int = NOW + 60_000) -> RequestSignature:
    return RequestSignature.read(sign_request(signer, **ASKED, expires_unix_ms=expires))


@pytest.mark.parametrize("signer", SIGNERS, ids=["account", "member"])
def test_a_request_holds_for_what_was_signed(signer: Ed25519Signer | BlsSigner) -> None:
    signature = _signed(signer)
    signature.require(**ASKED, now_unix_ms=NOW)
    assert signature.key == signer.public_key


@pytest.mark.parametrize("signer", SIGNERS, ids=["account", "member"])
@pytest.mark.parametrize(
    ("part", "other"),
    [
        ("ledger_id", b"M" * 32),
        ("audience", b"B" * 32),
        ("method", "GET"),
        ("target", "/v1/evidence/inputs/00?x=2"),
        ("body_digest", sha256(b"bodY").digest()),
    ],
)
def test_a_request_holds_for_nothing_else(
    signer: Ed25519Signer | BlsSigner, part: str, other: bytes | str
) -> None:
    with pytest.raises(SignatureError):
        _signed(signer).require(**ASKED | {part: other}, now_unix_ms=NOW)


@pytest.mark.parametrize("signer", SIGNERS, ids=["account", "member"])
def test_neither_time_nor_key_can_be_changed(signer: Ed25519Signer | BlsSigner) -> None:
    signature = _signed(signer)
    with pytest.raises(SignatureError):
        replace(signature, expires_unix_ms=NOW + 60_001).require(**ASKED, now_unix_ms=NOW)
    other = _signed(type(signer)(key_from_seed(b"o" * 32)))
    with pytest.raises(SignatureError):
        replace(signature, key=other.key).require(**ASKED, now_unix_ms=NOW)


def test_a_request_has_its_time() -> None:
    for expires in (NOW + 1, NOW + REQUEST_AHEAD_MS_MAX):
        _signed(expires=expires).require(**ASKED, now_unix_ms=NOW)
    for expires in (NOW, NOW - 1, NOW + REQUEST_AHEAD_MS_MAX + 1):
        with pytest.raises(ExpiredError):
            _signed(expires=expires).require(**ASKED, now_unix_ms=NOW)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "v2" + text[2:],
        lambda text: text.upper(),
        lambda text: text + " ",
        lambda text: text[:-2],
        lambda text: text.replace(" ", "  ", 1),
        lambda text: text.replace(f" {NOW + 60_000} ", f" 0{NOW + 60_000} "),
        lambda text: text.replace(f" {NOW + 60_000} ", f" {10**16} "),
        lambda text: text.replace(f" {NOW + 60_000} ", " ٣ "),
        lambda text: text[:4] + text[6:],
        lambda text: "",
    ],
)
def test_a_header_is_written_one_way(spoil) -> None:
    text = sign_request(NODE, **ASKED, expires_unix_ms=NOW + 60_000)
    RequestSignature.read(text)
    with pytest.raises(MalformedRecordError):
        RequestSignature.read(spoil(text))


def _link(target: str = "/nodes/one", expires: int = NOW + 60_000) -> str:
    return sign_link(NODE, ledger_id=LEDGER, target=target, expires_unix_ms=expires).partition("?")[2]


def test_a_link_opens_its_page_in_its_time() -> None:
    parts = _link().split("&")
    for query in ("&".join(parts), "&".join(reversed(parts)), "&".join([*parts, "page=2"])):
        signature = LinkSignature.read(query)
        assert signature is not None
        assert signature.key == NODE.public_key
        signature.require(ledger_id=LEDGER, target="/nodes/one", now_unix_ms=NOW)
    with pytest.raises(SignatureError):
        signature.require(ledger_id=LEDGER, target="/nodes/two", now_unix_ms=NOW)
    with pytest.raises(SignatureError):
        signature.require(ledger_id=b"M" * 32, target="/nodes/one", now_unix_ms=NOW)
    with pytest.raises(ExpiredError):
        signature.require(ledger_id=LEDGER, target="/nodes/one", now_unix_ms=NOW + 60_000)
    with pytest.raises(ExpiredError):
        signature.require(ledger_id=LEDGER, target="/nodes/one", now_unix_ms=NOW + 59_999 - LINK_AHEAD_MS_MAX)


def test_a_query_without_a_signature_has_none() -> None:
    assert LinkSignature.read("") is None
    assert LinkSignature.read("page=2&keys=1") is None


def test_a_link_with_a_part_missing_or_twice_is_none() -> None:
    parts = _link().split("&")
    for spoilt in (parts[:2], parts[1:], [*parts, parts[0]], [*parts, "key="], ["key=00", *parts[1:]]):
        with pytest.raises(MalformedRecordError):
            LinkSignature.read("&".join(spoilt))

"""Ed25519 keys: what is accepted, and the weak keys that are not."""

import json
from pathlib import Path

import pytest

from creditledger.errors import KeyFormatError, SignatureError
from creditledger.transparency.keys import (
    Ed25519Signer,
    require_ed25519_public_key,
    verify_ed25519,
)
from published_vectors import Tally

P = 2**255 - 19


def test_signature_of_the_first_rfc_8032_example() -> None:
    signer = Ed25519Signer(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert signer.public_key.hex() == ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    assert signer.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a")


def test_signature_of_another_message_is_refused() -> None:
    signer = Ed25519Signer(bytes(32))
    signature = signer.sign(b"one")
    verify_ed25519(public_key=signer.public_key, message=b"one", signature=signature)
    with pytest.raises(SignatureError):
        verify_ed25519(public_key=signer.public_key, message=b"two", signature=signature)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_signature_of_another_length_is_refused(length: int) -> None:
    signer = Ed25519Signer(bytes(32))
    with pytest.raises(SignatureError):
        verify_ed25519(public_key=signer.public_key, message=b"", signature=bytes(length))


def test_adding_the_group_order_to_s_is_refused() -> None:
    """K2: S below the group order, so a signature has one form. Source: RFC 8032 §5.1.7."""
    signer = Ed25519Signer(b"\x07" * 32)
    signature = signer.sign(b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    shifted = (int.from_bytes(signature[32:], "little") + order).to_bytes(32, "little")
    with pytest.raises(SignatureError):
        verify_ed25519(public_key=signer.public_key, message=b"m", signature=signature[:32] + shifted)


def test_text_form_shows_no_seed() -> None:
    seed = bytes(range(32))
    assert seed.hex() not in repr(Ed25519Signer(seed))
    assert "redacted" in repr(Ed25519Signer(seed))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_seed_and_public_key_of_another_length_are_refused(length: int) -> None:
    with pytest.raises(KeyFormatError):
        Ed25519Signer(bytes(length))
    with pytest.raises(KeyFormatError):
        require_ed25519_public_key(b"\x09" * length)


def test_an_ordinary_key_is_returned_as_it_is() -> None:
    key = Ed25519Signer(bytes(32)).public_key
    assert require_ed25519_public_key(key) == key


@pytest.mark.parametrize("sign", [0, 1 << 255])
@pytest.mark.parametrize(
    "y",
    [
        0,
        1,
        P - 1,
        P,
        P + 1,
        0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
        P - 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    ],
)
def test_every_encoding_of_a_low_order_point_is_refused(y: int, sign: int) -> None:
    """For such a key anybody can make a signature that fits."""
    raw = (y | sign).to_bytes(32, "little")
    with pytest.raises(KeyFormatError):
        require_ed25519_public_key(raw)
    with pytest.raises(SignatureError):
        verify_ed25519(public_key=raw, message=b"", signature=b"\x01" + bytes(63))


@pytest.mark.parametrize("y", range(P, 2**255))
def test_y_not_below_the_prime_is_refused(y: int) -> None:
    with pytest.raises(KeyFormatError, match="not canonical"):
        require_ed25519_public_key(y.to_bytes(32, "little"))


def test_y_without_a_point_is_refused() -> None:
    with pytest.raises(KeyFormatError, match="not on the curve"):
        require_ed25519_public_key((2).to_bytes(32, "little"))


def test_wycheproof_ed25519(vectors: Path, ran: Tally) -> None:
    cases = json.loads((vectors / "wycheproof/ed25519_test.json").read_text())
    seen = 0
    for group in cases["testGroups"]:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            arguments = {
                "public_key": key,
                "message": bytes.fromhex(case["msg"]),
                "signature": bytes.fromhex(case["sig"]),
            }
            if case["result"] == "valid":
                verify_ed25519(**arguments)
            else:
                with pytest.raises(SignatureError):
                    verify_ed25519(**arguments)
            seen += 1
    ran("wycheproof ed25519", seen, "as published")


CCTV_REFUSED = {"low_order_A", "non_canonical_A", "non_canonical_R", "low_order_residue"}


def test_cctv_ed25519_by_the_written_policy(vectors: Path, ran: Tally) -> None:
    """K1: of the edge cases exactly those are accepted that specs/log.md §1 does not refuse."""
    cases = json.loads((vectors / "c2sp-cctv-ed25519/ed25519vectors.json").read_text())
    accepted = 0
    for case in cases:
        arguments = {
            "public_key": bytes.fromhex(case["key"]),
            "message": case["msg"].encode(),
            "signature": bytes.fromhex(case["sig"]),
        }
        if CCTV_REFUSED.isdisjoint(case["flags"] or ()):
            verify_ed25519(**arguments)
            accepted += 1
        else:
            with pytest.raises(SignatureError):
                verify_ed25519(**arguments)
    assert accepted == 86
    ran("c2sp-cctv ed25519", len(cases), f"{accepted} accepted: specs/log.md §1")

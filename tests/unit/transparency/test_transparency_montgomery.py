"""An Ed25519 key as an X25519 key, beside what libsodium makes of it."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import (
    crypto_scalarmult_base,
    crypto_sign_ed25519_pk_to_curve25519,
    crypto_sign_ed25519_sk_to_curve25519,
    crypto_sign_seed_keypair,
)

from creditledger.errors import KeyFormatError
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.montgomery import x25519_public_key, x25519_secret

VECTORS = Path(__file__).parents[2] / "vectors" / "validation" / "x25519-of-ed25519.json"
P = 2**255 - 19


@pytest.mark.parametrize("case", json.loads(VECTORS.read_text())["cases"], ids=lambda case: case["seed"][:8])
def test_vector(case: dict[str, str]) -> None:
    seed = bytes.fromhex(case["seed"])
    assert Ed25519Signer(seed).public_key.hex() == case["ed25519"]
    assert x25519_public_key(bytes.fromhex(case["ed25519"])).hex() == case["x25519"]
    assert x25519_secret(seed).hex() == case["secret"]


@given(st.binary(min_size=32, max_size=32))
def test_both_halves_are_libsodiums_and_belong_together(seed: bytes) -> None:
    public, secret = crypto_sign_seed_keypair(seed)
    assert x25519_public_key(public) == crypto_sign_ed25519_pk_to_curve25519(public)
    assert x25519_secret(seed) == crypto_sign_ed25519_sk_to_curve25519(secret)
    assert crypto_scalarmult_base(x25519_secret(seed)) == x25519_public_key(public)


@pytest.mark.parametrize("y", [0, 1, P - 1, P, P + 1])
def test_keys_of_low_order_and_foreign_forms_are_refused(y: int) -> None:
    """y = 1 has no u at all; the others everybody could open what is sealed to."""
    with pytest.raises(KeyFormatError):
        x25519_public_key(y.to_bytes(32, "little"))
    x25519_public_key(Ed25519Signer(bytes(32)).public_key)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(KeyFormatError):
        x25519_secret(bytes(length))
    with pytest.raises(KeyFormatError):
        x25519_public_key(bytes([9]) * length)

"""The X25519 key that an Ed25519 key also is, so that something can be sealed to whoever signs.

The two curves are one in other coordinates: u = (1 + y) / (1 - y).

Source: specs/validation.md §10, RFC 7748 §4.1."""

import hashlib
from typing import Final

from creditledger.errors import KeyFormatError
from creditledger.transparency.keys import SEED_SIZE, require_ed25519_public_key

_P: Final = 2**255 - 19
_SIGN_BIT: Final = 1 << 255


def x25519_public_key(ed25519: bytes) -> bytes:
    """The X25519 public key, 32 bytes, of the holder of the Ed25519 public key ``ed25519``, 32 bytes.

    Raises KeyFormatError for what `require_ed25519_public_key` refuses."""
    y = int.from_bytes(require_ed25519_public_key(ed25519), "little") & (_SIGN_BIT - 1)
    # y is neither 1 nor -1 here: those points have low order.
    u = (1 + y) * pow(1 - y, -1, _P) % _P
    return u.to_bytes(32, "little")


def x25519_secret(seed: bytes) -> bytes:
    """The X25519 private key, 32 bytes, that goes with the Ed25519 key made from ``seed``, 32 bytes.

    It is the clamped scalar that also signs (RFC 8032 §5.1.5). Raises KeyFormatError."""
    if len(seed) != SEED_SIZE:
        raise KeyFormatError("Ed25519 seed has the wrong length", expected="32 bytes")
    scalar = bytearray(hashlib.sha512(seed).digest()[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 127 | 64
    return bytes(scalar)

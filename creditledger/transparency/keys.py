"""Ed25519 keys: signing, and checking with the weak public keys refused.

Source: specs/log.md §1."""

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from creditledger.errors import KeyFormatError, SignatureError

PUBLIC_KEY_SIZE: Final = 32
SEED_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_SIGN_BIT: Final = 1 << 255
_ORDER_8_Y: Final = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
# The eight points whose order divides 8 have these five y coordinates, whatever the sign of x.
_LOW_ORDER_Y: Final = frozenset({0, 1, _P - 1, _ORDER_8_Y, _P - _ORDER_8_Y})


class Ed25519Signer:
    """A private key, made from its 32-byte seed. Its text form never shows the seed."""

    __slots__ = ("_key", "public_key")

    public_key: bytes
    """32 bytes, as on the wire."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_SIZE:
            raise KeyFormatError(
                "Ed25519 seed has the wrong length", expected="32 bytes", found=f"{len(seed)} bytes"
            )
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature of ``message``: the same each time (RFC 8032)."""
        return self._key.sign(message)

    def __repr__(self) -> str:
        return f"Ed25519Signer(public_key={self.public_key.hex()}, seed=<redacted>)"


def require_ed25519_public_key(raw: bytes) -> bytes:
    """``raw`` if it is a public key that only its holder can sign for.

    Raises KeyFormatError for another length than 32 bytes, y not below 2^255-19, a y that no
    point of the curve has, and the points of order 1, 2, 4 and 8, for which anyone can sign.
    Source: specs/log.md §1."""
    _parsed_public_key(bytes(raw))
    _require_point(bytes(raw))
    return raw


def verify_ed25519(*, public_key: bytes, message: bytes, signature: bytes) -> None:
    """Check that ``signature`` (64 bytes) is of ``message`` by ``public_key`` (32 bytes).

    Raises SignatureError, also for a key that `require_ed25519_public_key` refuses.
    Source: specs/log.md §1, RFC 8032 §5.1.7."""
    try:
        _parsed_public_key(bytes(public_key)).verify(signature, message)
    except KeyFormatError as error:
        raise SignatureError(
            f"signature by an unusable key: {error}", expected=error.expected, found=error.found
        ) from error
    except InvalidSignature as error:
        raise SignatureError(
            "Ed25519 signature does not verify",
            expected=f"a signature by {public_key.hex()}",
            found=signature[:16].hex(),
        ) from error


@lru_cache(maxsize=4096)
def _parsed_public_key(raw: bytes) -> Ed25519PublicKey:
    if len(raw) != PUBLIC_KEY_SIZE:
        raise KeyFormatError(
            "Ed25519 public key has the wrong length",
            expected="32 bytes",
            found=f"{len(raw)} bytes",
        )
    y = int.from_bytes(raw, "little") & (_SIGN_BIT - 1)
    if y >= _P:
        raise KeyFormatError(
            "Ed25519 public key is not canonical", expected="y below 2^255-19", found=raw.hex()
        )
    if y in _LOW_ORDER_Y:
        raise KeyFormatError(
            "Ed25519 public key has low order", expected="a point of large order", found=raw.hex()
        )
    # Of a y that no point has, no signature verifies: only who keeps a key need ask (`_require_point`).
    return Ed25519PublicKey.from_public_bytes(raw)


@lru_cache(maxsize=4096)
def _require_point(raw: bytes) -> None:
    """x^2 = (y^2 - 1) / (d y^2 + 1) has a root: Euler's criterion on u v."""
    y = int.from_bytes(raw, "little") & (_SIGN_BIT - 1)
    u, v = y * y - 1, _D * y * y + 1
    if pow(u * v, (_P - 1) // 2, _P) != 1:
        raise KeyFormatError(
            "Ed25519 public key is not on the curve", expected="a curve point", found=raw.hex()
        )

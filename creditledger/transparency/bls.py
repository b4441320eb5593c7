"""BLS12-381 signatures with proof of possession: keys of 48 bytes, signatures of 96.

The ciphersuite is BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_. A backend does the curve; what no
backend may be trusted to refuse is refused here. Source: specs/rounds.md §2."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import import_module
from typing import Any, Final, Protocol

from creditledger.errors import KeyFormatError, SignatureError

SECRET_SIZE: Final = 32
REMEMBERED: Final = 4_096
"""Checks that held and are not made again, of each sort."""
PUBLIC_KEY_SIZE: Final = 48
SIGNATURE_SIZE: Final = 96
GROUP_ORDER: Final = 0x73EDA753299D7D483339D80809A1D80553BDA402FFFE5BFEFFFFFFFF00000001

_SIGNATURE_DOMAIN: Final = b"BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
_POSSESSION_DOMAIN: Final = b"BLS_POP_BLS12381G2_XMD:SHA-256_SSWU_RO_POP_"
_COMPRESSED: Final = 0x80
_INFINITY: Final = 0x40


class BlsBackend(Protocol):
    """The curve arithmetic. Inputs have the right lengths; ``secret`` is 32 bytes, big-endian.

    The checks answer False, and raise nothing, for bytes that are no point of the subgroup. Equal
    backends answer alike, and are hashable: what they found to hold is remembered per backend."""

    def __hash__(self) -> int: ...

    def public_key(self, secret: bytes) -> bytes: ...

    def is_valid_key(self, public_key: bytes) -> bool: ...

    def sign(self, secret: bytes, message: bytes) -> bytes: ...

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool: ...

    def aggregate(self, signatures: Sequence[bytes]) -> bytes:
        """Raises ValueError for bytes that are no point. One outside the subgroup is refused here, or
        leaves an aggregate to `fast_aggregate_verify`, which refuses every sum outside it."""

    def fast_aggregate_verify(
        self, public_keys: Sequence[bytes], message: bytes, signature: bytes
    ) -> bool: ...

    def prove_possession(self, secret: bytes) -> bytes: ...

    def verify_possession(self, public_key: bytes, proof: bytes) -> bool: ...


@dataclass(frozen=True, slots=True)
class PyEccBackend:
    """The reference: pure Python, about 0.3 s a check."""

    def public_key(self, secret: bytes) -> bytes:
        return bytes(_suite().SkToPk(int.from_bytes(secret, "big")))

    def is_valid_key(self, public_key: bytes) -> bool:
        return bool(_suite().KeyValidate(public_key))

    def sign(self, secret: bytes, message: bytes) -> bytes:
        return bytes(_suite().Sign(int.from_bytes(secret, "big"), message))

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return bool(_suite().Verify(public_key, message, signature))

    def aggregate(self, signatures: Sequence[bytes]) -> bytes:
        refusal = import_module("eth_utils").ValidationError
        try:
            return bytes(_suite().Aggregate(list(signatures)))
        except (refusal, AssertionError) as error:
            raise ValueError(str(error)) from error

    def fast_aggregate_verify(self, public_keys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        return bool(_suite().FastAggregateVerify(list(public_keys), message, signature))

    def prove_possession(self, secret: bytes) -> bytes:
        return bytes(_suite().PopProve(int.from_bytes(secret, "big")))

    def verify_possession(self, public_key: bytes, proof: bytes) -> bool:
        return bool(_suite().PopVerify(public_key, proof))


def _suite() -> Any:
    """py_ecc's ciphersuite, imported when first used: it takes a third of a second to load."""
    return import_module("py_ecc.bls").G2ProofOfPossession


@dataclass(frozen=True, slots=True)
class ArkworksBackend:
    """Native code, about 2 ms a check. Its raw curve takes infinity: this refuses it."""

    def public_key(self, secret: bytes) -> bytes:
        return bytes((_native().G1Point() * _scalar(secret)).to_compressed_bytes())

    def is_valid_key(self, public_key: bytes) -> bool:
        try:
            _key_point(public_key)
        except ValueError:
            return False
        return True

    def sign(self, secret: bytes, message: bytes) -> bytes:
        return _sign_under(_SIGNATURE_DOMAIN, secret, message)

    def verify(self, public_key: bytes, message: bytes, signature: bytes) -> bool:
        return _pairs_under(_SIGNATURE_DOMAIN, [public_key], message, signature)

    def aggregate(self, signatures: Sequence[bytes]) -> bytes:
        if not signatures:
            raise ValueError("no signature to aggregate")
        points = [_point(_native().G2Point, signature) for signature in signatures]
        return bytes(sum(points[1:], start=points[0]).to_compressed_bytes())

    def fast_aggregate_verify(self, public_keys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
        return _pairs_under(_SIGNATURE_DOMAIN, public_keys, message, signature)

    def prove_possession(self, secret: bytes) -> bytes:
        return _sign_under(_POSSESSION_DOMAIN, secret, self.public_key(secret))

    def verify_possession(self, public_key: bytes, proof: bytes) -> bool:
        return _pairs_under(_POSSESSION_DOMAIN, [public_key], public_key, proof)


def _native() -> Any:
    return import_module("py_arkworks_bls12381")


def _scalar(secret: bytes) -> Any:
    scalar = _native().Scalar.from_be_bytes(secret)
    if scalar.is_zero():
        raise ValueError("the secret is zero")
    return scalar


def _point(group: Any, raw: bytes) -> Any:
    """The point of ``group``, G1Point or G2Point, that ``raw`` spells. Raises ValueError for bytes
    off the curve or the subgroup, in another spelling than the point's own, and for infinity."""
    point = group.from_compressed_bytes(raw)
    if point == group.identity() or point.to_compressed_bytes() != raw:
        raise ValueError("the point is infinity, or not in its own spelling")
    return point


@lru_cache(maxsize=REMEMBERED)
def _key_point(public_key: bytes) -> Any:
    # lru_cache keeps results, not exceptions: only keys that are valid are remembered.
    return _point(_native().G1Point, public_key)


def _sign_under(domain: bytes, secret: bytes, message: bytes) -> bytes:
    hashed = _native().G2Point.hash_to_curve(message, domain)
    return bytes((hashed * _scalar(secret)).to_compressed_bytes())


def _pairs_under(domain: bytes, public_keys: Sequence[bytes], message: bytes, signature: bytes) -> bool:
    """Whether e(sum of the keys, H(message)) = e(G1, signature), no key, sum or signature being
    infinity. Source: draft-irtf-cfrg-bls-signature §2.7 and §3.3.4."""
    native = _native()
    try:
        keys = [_key_point(public_key) for public_key in public_keys]
        signed = _point(native.G2Point, signature)
    except ValueError:
        return False
    if not keys:
        return False
    total = sum(keys[1:], start=keys[0])
    if total == native.G1Point.identity():
        return False
    hashed = native.G2Point.hash_to_curve(message, domain)
    return bool(native.GT.pairing_check([total, -native.G1Point()], [hashed, signed]))


@lru_cache(maxsize=1)
def default_backend() -> BlsBackend:
    """The native backend where it can be imported, in a version that hashes to the curve; else the
    reference."""
    try:
        usable = hasattr(_native().G2Point, "hash_to_curve")
    except (ImportError, AttributeError):
        usable = False
    return ArkworksBackend() if usable else PyEccBackend()


def key_from_seed(seed: bytes) -> bytes:
    """The 32-byte secret that the ciphersuite's KeyGen derives from ``seed`` (32 bytes or more).

    Raises KeyFormatError. Source: draft-irtf-cfrg-bls-signature §2.3."""
    if len(seed) < SECRET_SIZE:
        raise KeyFormatError("BLS seed is too short", expected="32 bytes or more", found=f"{len(seed)} bytes")
    salt, secret = b"BLS-SIG-KEYGEN-SALT-", 0
    while secret == 0:
        salt = sha256(salt).digest()
        extracted = hmac.digest(salt, seed + b"\0", "sha256")
        first = hmac.digest(extracted, b"\0\x30\x01", "sha256")
        second = hmac.digest(extracted, first + b"\0\x30\x02", "sha256")
        secret = int.from_bytes((first + second)[:48], "big") % GROUP_ORDER
    return secret.to_bytes(SECRET_SIZE, "big")


class BlsSigner:
    """A validator's secret: 32 bytes, big-endian, 1 to r-1. Its text form never shows it."""

    __slots__ = ("_backend", "_secret", "public_key")

    public_key: bytes
    """48 bytes, compressed."""

    def __init__(self, secret: bytes, *, backend: BlsBackend | None = None) -> None:
        if len(secret) != SECRET_SIZE or not 0 < int.from_bytes(secret, "big") < GROUP_ORDER:
            raise KeyFormatError(
                "BLS secret is out of range",
                expected="32 bytes, from 1 to r-1",
                found=f"{len(secret)} bytes",
            )
        self._backend = backend or default_backend()
        self._secret = secret
        self.public_key = self._backend.public_key(secret)

    def proof_of_possession(self) -> bytes:
        """96 bytes: the signature of the public key under the proof's own domain."""
        return self._backend.prove_possession(self._secret)

    def sign(self, message: bytes) -> bytes:
        """The 96-byte signature of ``message``: the only one there is, so it is also a seed."""
        return self._backend.sign(self._secret, message)

    def __repr__(self) -> str:
        return f"BlsSigner(public_key={self.public_key.hex()}, secret=<redacted>)"


def require_bls_public_key(raw: bytes, *, backend: BlsBackend | None = None) -> bytes:
    """``raw`` if it is a compressed point of the subgroup, and not infinity.

    Raises KeyFormatError. Source: specs/rounds.md §2."""
    if _is_finite(raw, PUBLIC_KEY_SIZE) and _is_valid_key(backend or default_backend(), bytes(raw)):
        return raw
    raise KeyFormatError(
        "not a BLS public key",
        expected="48 bytes: a compressed point of the subgroup, not infinity",
        found=f"{len(raw)} bytes {raw[:16].hex()}",
    )


def verify_bls(
    *, public_key: bytes, message: bytes, signature: bytes, backend: BlsBackend | None = None
) -> None:
    """Check one signature. What held is remembered, so that parties in one process pay for it once.

    Raises SignatureError, also for a key or signature at infinity."""
    chosen = backend or default_backend()
    _require_usable_key(public_key, chosen)
    _require_signature(signature)
    _verify(chosen, bytes(public_key), bytes(message), bytes(signature))


@lru_cache(maxsize=REMEMBERED)
def _verify(backend: BlsBackend, public_key: bytes, message: bytes, signature: bytes) -> None:
    # lru_cache keeps results, not exceptions: only signatures that held are remembered.
    if not backend.verify(public_key, message, signature):
        raise SignatureError(
            "BLS signature does not verify",
            expected=f"a signature by {public_key.hex()}",
            found=signature[:16].hex(),
        )


def aggregate_bls(signatures: Sequence[bytes], *, backend: BlsBackend | None = None) -> bytes:
    """The sum of one or more signatures, each once. Raises SignatureError, also for infinity."""
    _require_distinct(signatures, what="signature")
    for signature in signatures:
        _require_signature(signature)
    try:
        aggregate = (backend or default_backend()).aggregate(signatures)
    except ValueError as error:
        raise SignatureError("a BLS signature is no point", found=str(error)) from error
    _require_signature(aggregate)
    return aggregate


def verify_bls_aggregate(
    *,
    public_keys: Sequence[bytes],
    message: bytes,
    signature: bytes,
    backend: BlsBackend | None = None,
) -> None:
    """Check that each of ``public_keys`` signed ``message``, ``signature`` being the sum.

    Sound only for keys whose possession was proven: see `verify_possession`. Raises SignatureError,
    also for no key, a repeated one, and infinity."""
    chosen = backend or default_backend()
    _require_distinct(public_keys, what="public key")
    for public_key in public_keys:
        _require_usable_key(public_key, chosen)
    _require_signature(signature)
    _verify_aggregate(chosen, tuple(public_keys), bytes(message), bytes(signature))


@lru_cache(maxsize=REMEMBERED)
def _verify_aggregate(
    backend: BlsBackend, public_keys: tuple[bytes, ...], message: bytes, signature: bytes
) -> None:
    if not backend.fast_aggregate_verify(public_keys, message, signature):
        raise SignatureError(
            "BLS aggregate does not verify",
            expected=f"the sum of {len(public_keys)} signatures",
            found=signature[:16].hex(),
        )


def verify_possession(*, public_key: bytes, proof: bytes, backend: BlsBackend | None = None) -> None:
    """Check that whoever made ``public_key`` holds its secret. A proof that held is remembered.

    Raises SignatureError. Source: specs/rounds.md §2."""
    chosen = backend or default_backend()
    _require_usable_key(public_key, chosen)
    _require_signature(proof)
    _verify_possession(chosen, bytes(public_key), bytes(proof))


@lru_cache(maxsize=REMEMBERED)
def _verify_possession(backend: BlsBackend, public_key: bytes, proof: bytes) -> None:
    if not backend.verify_possession(public_key, proof):
        raise SignatureError(
            "BLS proof of possession does not hold",
            expected=f"a proof by {public_key.hex()}",
            found=proof[:16].hex(),
        )


@lru_cache(maxsize=REMEMBERED)
def _is_valid_key(backend: BlsBackend, public_key: bytes) -> bool:
    return backend.is_valid_key(public_key)


def _require_usable_key(public_key: bytes, backend: BlsBackend) -> None:
    try:
        require_bls_public_key(public_key, backend=backend)
    except KeyFormatError as error:
        raise SignatureError(str(error), expected=error.expected, found=error.found) from error


def _require_signature(signature: bytes) -> None:
    if not _is_finite(signature, SIGNATURE_SIZE):
        raise SignatureError(
            "not a BLS signature",
            expected="96 bytes: a compressed point, not infinity",
            found=f"{len(signature)} bytes {signature[:16].hex()}",
        )


def _is_finite(point: bytes, size: int) -> bool:
    """Of the right length, compressed, and not marked as infinity."""
    return len(point) == size and point[0] & (_COMPRESSED | _INFINITY) == _COMPRESSED


def _require_distinct(values: Sequence[bytes], *, what: str) -> None:
    if not values or len(set(values)) != len(values):
        raise SignatureError(
            f"a BLS aggregate takes each {what} once",
            expected="one or more, all different",
            found=f"{len(values)}, {len(set(values))} different",
        )

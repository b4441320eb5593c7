"""Validators' keys, real or faked by hashing, and a verifier for the faked ones."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from creditledger.credits.context import TransparencyVerifier
from creditledger.errors import CertificateError, SignatureError
from creditledger.transparency.bls import BlsSigner, key_from_seed
from creditledger.transparency.certificate import Committee, decode_bitmap


def fake_digest(*parts: object) -> bytes:
    """32 bytes that stand for anything: roots, models, samplers."""
    return hashlib.sha256(repr(parts).encode()).digest()


class Certifier(Protocol):
    """What a validator's key does; `BlsSigner` is the real one."""

    public_key: bytes

    def sign(self, message: bytes) -> bytes: ...

    def proof_of_possession(self) -> bytes: ...


class FakeBlsSigner:
    """Signs by hashing: anybody could, but a million times faster."""

    def __init__(self, seed: bytes) -> None:
        self.public_key = (hashlib.sha512(b"fake bls" + seed).digest())[:48]

    def sign(self, message: bytes) -> bytes:
        return fake_bls_signature(self.public_key, message)

    def proof_of_possession(self) -> bytes:
        return fake_bls_signature(self.public_key, b"possession")


def fake_bls_signature(public_key: bytes, message: bytes) -> bytes:
    """96 bytes."""
    return hashlib.shake_128(b"fake signature" + public_key + message).digest(96)


class FakeBlsVerifier(TransparencyVerifier):
    """Real Ed25519; BLS as `FakeBlsSigner` does it."""

    def bls(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        if fake_bls_signature(public_key, message) != signature:
            raise SignatureError("fake BLS signature does not verify")

    def certificate(self, committee: Committee, statement: bytes, bitmap: bytes, aggregate: bytes) -> None:
        signers = decode_bitmap(bitmap, size=len(committee.members))
        if len(signers) < committee.quorum:
            raise CertificateError("too few members signed")
        signatures = [fake_bls_signature(committee.members[i].bls_key, statement) for i in signers]
        if fake_aggregate(signatures) != aggregate:
            raise CertificateError("fake aggregate does not verify")


def fake_aggregate(signatures: Sequence[bytes]) -> bytes:
    """96 bytes."""
    return hashlib.shake_128(b"fake aggregate" + b"".join(signatures)).digest(96)


@lru_cache(maxsize=64)
def real_validator(index: int) -> BlsSigner:
    """The fixed BLS key of validator ``index``."""
    return BlsSigner(key_from_seed(fake_digest("bls", index)))


def validator(index: int, *, is_real: bool) -> Certifier:
    """Validator ``index``, with a real or a fake key."""
    return real_validator(index) if is_real else FakeBlsSigner(fake_digest("bls", index))

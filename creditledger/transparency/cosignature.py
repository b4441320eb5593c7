"""Cosignatures: a witness signs the largest consistent tree it saw, and when.

Source: specs/log.md §8, after C2SP tlog-cosignature."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from creditledger.errors import KeyFormatError, MalformedRecordError, SignatureError
from creditledger.transparency.checkpoint import parse_checkpoint
from creditledger.transparency.keys import SIGNATURE_SIZE, Ed25519Signer, verify_ed25519
from creditledger.transparency.note import (
    TYPE_COSIGNATURE,
    TYPE_COSIGNATURE_ML_DSA_44,
    TYPE_ED25519,
    Ed25519NoteVerifier,
    NoteSignature,
    NoteVerifier,
    VerifierKey,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

TIMESTAMP_MAX: Final = 2**63 - 1
ML_DSA_44_SIGNATURE_SIZE: Final = 2_420
ML_DSA_44_SEED_SIZE: Final = 32
_TIMESTAMP_SIZE: Final = 8


def cosignature_message(text: bytes, *, timestamp: int) -> bytes:
    """What an Ed25519 cosigner signs: ``text`` is the checkpoint's, ``timestamp`` Unix seconds."""
    return b"cosignature/v1\ntime %d\n%s" % (timestamp, text)


def ml_dsa_message(text: bytes, *, name: str, timestamp: int) -> bytes:
    """What an ML-DSA-44 cosigner called ``name`` signs of a checkpoint ``text``.

    Raises MalformedRecordError if ``text`` is not a checkpoint. Source: specs/log.md §8."""
    checkpoint = parse_checkpoint(text)
    return b"".join(
        (
            b"subtree/v1\n\0",
            _counted(name.encode()),
            timestamp.to_bytes(8, "big"),
            _counted(checkpoint.origin.encode()),
            (0).to_bytes(8, "big"),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )


def cosignature_timestamp(body: bytes) -> int:
    """Unix seconds that a cosignature's ``body`` (after the key id) speaks of."""
    return int.from_bytes(body[:_TIMESTAMP_SIZE], "big")


@dataclass(frozen=True, slots=True)
class CosignatureVerifier:
    """Type 0x04: Ed25519 over time and checkpoint."""

    vkey: VerifierKey

    def verify(self, text: bytes, body: bytes) -> None:
        timestamp = _require_body(body, SIGNATURE_SIZE)
        verify_ed25519(
            public_key=self.vkey.public_key,
            message=cosignature_message(text, timestamp=timestamp),
            signature=body[_TIMESTAMP_SIZE:],
        )


@dataclass(frozen=True, slots=True)
class MlDsaCosignatureVerifier:
    """Type 0x06: ML-DSA-44 over cosigner name, time, origin, size and root."""

    vkey: VerifierKey

    def verify(self, text: bytes, body: bytes) -> None:
        from cryptography.exceptions import InvalidSignature

        timestamp = _require_body(body, ML_DSA_44_SIGNATURE_SIZE)
        try:
            message = ml_dsa_message(text, name=self.vkey.name, timestamp=timestamp)
            _ml_dsa_key(self.vkey.public_key).verify(body[_TIMESTAMP_SIZE:], message)
        except MalformedRecordError as error:
            raise SignatureError("ML-DSA-44 cosigns checkpoints only", found=str(error)) from error
        except InvalidSignature as error:
            raise SignatureError(
                "ML-DSA-44 cosignature does not verify",
                expected=f"a signature by {self.vkey.name}",
                found=body[:24].hex(),
            ) from error


def note_verifier(vkey: VerifierKey) -> NoteVerifier:
    """The verifier that goes with the key's type."""
    if vkey.key_type == TYPE_ED25519:
        return Ed25519NoteVerifier(vkey)
    if vkey.key_type == TYPE_COSIGNATURE:
        return CosignatureVerifier(vkey)
    return MlDsaCosignatureVerifier(vkey)


class CosignatureSigner:
    """A witness's Ed25519 key (type 0x04) under the witness's name."""

    __slots__ = ("_signer", "vkey")

    vkey: VerifierKey

    def __init__(self, name: str, signer: Ed25519Signer) -> None:
        self._signer = signer
        self.vkey = VerifierKey(name=name, key_type=TYPE_COSIGNATURE, public_key=signer.public_key)

    def cosign(self, text: bytes, *, timestamp: int) -> NoteSignature:
        """The cosignature of a checkpoint ``text`` at ``timestamp`` (Unix seconds, 1..2^63-1)."""
        _require_timestamp(timestamp)
        signature = self._signer.sign(cosignature_message(text, timestamp=timestamp))
        return _cosignature(self.vkey, timestamp, signature)


class MlDsaCosignatureSigner:
    """An ML-DSA-44 key (type 0x06), made from its 32-byte seed. Its text form never shows it."""

    __slots__ = ("_key", "vkey")

    vkey: VerifierKey

    def __init__(self, name: str, seed: bytes) -> None:
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

        if len(seed) != ML_DSA_44_SEED_SIZE:
            raise KeyFormatError(
                "ML-DSA-44 seed has the wrong length",
                expected="32 bytes",
                found=f"{len(seed)} bytes",
            )
        self._key = MLDSA44PrivateKey.from_seed_bytes(seed)
        self.vkey = VerifierKey(
            name=name,
            key_type=TYPE_COSIGNATURE_ML_DSA_44,
            public_key=self._key.public_key().public_bytes_raw(),
        )

    def cosign(self, text: bytes, *, timestamp: int) -> NoteSignature:
        """As `CosignatureSigner.cosign`; a second signature differs (FIPS 204, hedged)."""
        _require_timestamp(timestamp)
        message = ml_dsa_message(text, name=self.vkey.name, timestamp=timestamp)
        return _cosignature(self.vkey, timestamp, self._key.sign(message))

    def __repr__(self) -> str:
        return f"MlDsaCosignatureSigner(name={self.vkey.name!r}, seed=<redacted>)"


@lru_cache(maxsize=64)
def _ml_dsa_key(raw: bytes) -> "MLDSA44PublicKey":
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

    return MLDSA44PublicKey.from_public_bytes(raw)


def _cosignature(vkey: VerifierKey, timestamp: int, signature: bytes) -> NoteSignature:
    body = timestamp.to_bytes(_TIMESTAMP_SIZE, "big") + signature
    return NoteSignature(name=vkey.name, key_id=vkey.key_id, body=body)


def _require_body(body: bytes, signature_size: int) -> int:
    """The timestamp of a body of the right length."""
    if len(body) != _TIMESTAMP_SIZE + signature_size:
        raise SignatureError(
            "cosignature has the wrong length",
            expected=f"{_TIMESTAMP_SIZE + signature_size} bytes",
            found=f"{len(body)} bytes",
        )
    timestamp = cosignature_timestamp(body)
    if not 1 <= timestamp <= TIMESTAMP_MAX:
        raise SignatureError("cosignature time is out of range", expected="1 to 2^63-1", found=str(timestamp))
    return timestamp


def _require_timestamp(timestamp: int) -> None:
    if not 1 <= timestamp <= TIMESTAMP_MAX:
        raise MalformedRecordError(
            "cosignature time is out of range", expected="1 to 2^63-1", found=str(timestamp)[:40]
        )


def _counted(value: bytes) -> bytes:
    if len(value) > 255:
        raise MalformedRecordError(
            "name is too long", expected="at most 255 bytes", found=f"{len(value)} bytes"
        )
    return bytes([len(value)]) + value

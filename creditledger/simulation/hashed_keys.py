"""Keys and signatures made by hashing: worth nothing outside a simulation, and a thousand times faster.

The fold is told by its `SignatureVerifier` what holds; here a signature holds if it is the hash of key and
message. Source: specs/simulation.md §4."""

from collections.abc import Sequence
from hashlib import sha256, shake_128

from creditledger.errors import CertificateError, SignatureError
from creditledger.transparency.certificate import Committee, decode_bitmap


def member_key(index: int) -> bytes:
    """The 48 bytes that stand for a validator's BLS key."""
    return shake_128(b"simulated member" + index.to_bytes(4, "big")).digest(48)


def possession(index: int) -> bytes:
    """The 96 bytes that stand for its proof of possession."""
    return signature_of(member_key(index), b"possession", 96)


def account_seed(seed: int, name: str) -> bytes:
    """32 bytes from which an account's key is made."""
    return sha256(b"simulated account" + seed.to_bytes(32, "big") + name.encode()).digest()


def signature_of(public_key: bytes, message: bytes, length: int = 64) -> bytes:
    """What the holder of ``public_key`` would sign."""
    return shake_128(public_key + message).digest(length)


def aggregate_of(signatures: Sequence[bytes]) -> bytes:
    """96 bytes for many signatures of 96."""
    return shake_128(b"aggregate" + b"".join(signatures)).digest(96)


class HashedSignatures:
    """The `SignatureVerifier` of signatures made here."""

    def ed25519(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Raises SignatureError."""
        _require(signature == signature_of(public_key, message))

    def bls(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Raises SignatureError."""
        _require(signature == signature_of(public_key, message, 96))

    def certificate(self, committee: Committee, statement: bytes, bitmap: bytes, aggregate: bytes) -> None:
        """Raises CertificateError."""
        signers = decode_bitmap(bitmap, size=len(committee.members))
        signatures = [signature_of(committee.members[member].bls_key, statement, 96) for member in signers]
        if len(signers) < committee.quorum or aggregate_of(signatures) != aggregate:
            raise CertificateError("no quorum signed", expected=f"{committee.quorum} members")


def _require(holds: bool) -> None:
    if not holds:
        raise SignatureError("simulated signature does not verify")

"""What a fold is told from outside: where it stands, and how signatures are checked.

Source: specs/credits.md §1."""

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from typing import Final, Protocol

from msgspec import Struct

from creditledger.records.parameters import Parameters
from creditledger.transparency.bls import BlsBackend, verify_bls
from creditledger.transparency.certificate import Committee, CommitteeMember, verify_certificate
from creditledger.transparency.keys import verify_ed25519

REMEMBERED_MAX: Final = 16_384
"""Signatures; they are forgotten all at once."""


class SignatureVerifier(Protocol):
    """Checks signatures: returns when one holds, else raises."""

    def ed25519(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Raises SignatureError."""

    def bls(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Raises SignatureError."""

    def certificate(self, committee: Committee, statement: bytes, bitmap: bytes, aggregate: bytes) -> None:
        """A quorum of ``committee`` signed ``statement``. Raises CertificateError."""


class FoldContext(Struct, frozen=True, kw_only=True):
    """Where the entry to be folded stands."""

    ledger_id: bytes
    """32 bytes."""
    index: int
    """The entry's place in the log, from 0: as many entries stand before it."""
    log_root: Callable[[], bytes]
    """The RFC 6962 root over those; asked only for rounds."""
    verifier: SignatureVerifier


class TransparencyVerifier:
    """The real `SignatureVerifier`. What held is remembered, so that whoever looks before the fold does, on
    another thread, saves the fold the work. Safe to use from several threads."""

    __slots__ = ("_backend", "_held", "_signatures")

    def __init__(self, *, backend: BlsBackend | None = None) -> None:
        self._backend = backend
        self._held: dict[bytes, None] = {}
        self._signatures: dict[bytes, None] = {}

    def has_held(self, signature: bytes) -> bool:
        """Whether this Ed25519 signature is remembered to hold, for some key and message."""
        return signature in self._signatures

    def ed25519(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        name = _name(public_key, message, signature)
        if name in self._held:
            return
        verify_ed25519(public_key=public_key, message=message, signature=signature)
        self._remember(name, signature)

    def take_word(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Remember a signature as one that holds, because another process of the same operator says so."""
        self._remember(_name(public_key, message, signature), signature)

    def _remember(self, name: bytes, signature: bytes) -> None:
        # Each of these is one step to other threads; at worst a few are forgotten too soon.
        if len(self._held) >= REMEMBERED_MAX:
            self._held.clear()
            self._signatures.clear()
        self._held[name] = None
        self._signatures[signature] = None

    def bls(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        verify_bls(public_key=public_key, message=message, signature=signature, backend=self._backend)

    def certificate(self, committee: Committee, statement: bytes, bitmap: bytes, aggregate: bytes) -> None:
        verify_certificate(
            committee=committee,
            statement=statement,
            bitmap=bitmap,
            aggregate=aggregate,
            backend=self._backend,
        )


def _name(public_key: bytes, message: bytes, signature: bytes) -> bytes:
    lengths = bytes((len(public_key) & 0xFF, len(signature) & 0xFF))
    return sha256(lengths + public_key + signature + message).digest()


def committee_of(parameters: Parameters) -> Committee:
    """The committee that these parameters name, in their order."""
    return _committee(
        tuple((member.bls_key, member.proof_of_possession) for member in parameters.committee),
        parameters.quorum,
    )


@lru_cache(maxsize=64)
def _committee(members: tuple[tuple[bytes, bytes], ...], quorum: int) -> Committee:
    return Committee(
        members=tuple(CommitteeMember(bls_key=key, proof_of_possession=proof) for key, proof in members),
        quorum=quorum,
    )

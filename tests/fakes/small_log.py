"""A log of a few leaves that signs whatever head it is asked for: honest or forked."""

import hashlib
from dataclasses import dataclass, field, replace

from creditledger.transparency.checkpoint import Checkpoint, sign_checkpoint
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import consistency_proof, leaf_hash, root_from_leaf_hashes
from creditledger.transparency.note import Ed25519NoteSigner, VerifierKey
from creditledger.transparency.witness import AddCheckpoint

LEAVES = 24


def leaves(tag: str, count: int = LEAVES) -> tuple[bytes, ...]:
    """Leaf hashes that differ from those of every other tag."""
    return tuple(leaf_hash(f"{tag} {number}".encode()) for number in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallLog:
    """One history under one key."""

    origin: str = "log.example/small"
    key: str = "first"
    leaves: tuple[bytes, ...] = field(default_factory=lambda: leaves("honest"))

    @property
    def signer(self) -> Ed25519NoteSigner:
        return Ed25519NoteSigner(self.origin, Ed25519Signer(hashlib.sha256(self.key.encode()).digest()))

    @property
    def vkey(self) -> VerifierKey:
        return self.signer.vkey

    @property
    def digest(self) -> str:
        """What the log is called in a witness's URL."""
        return hashlib.sha256(self.origin.encode()).hexdigest()

    def forked(self, size: int, tag: str = "forked") -> "SmallLog":
        """The same key and leaves up to ``size``, others from there on."""
        return replace(self, leaves=self.leaves[:size] + leaves(tag, LEAVES - size))

    def head(self, size: int) -> Checkpoint:
        return Checkpoint(origin=self.origin, size=size, root=root_from_leaf_hashes(self.leaves[:size]))

    def note(self, size: int) -> bytes:
        return sign_checkpoint(self.head(size), [self.signer])

    def request(self, old: int, new: int) -> AddCheckpoint:
        proof = tuple(consistency_proof(list(self.leaves), old, new))
        return AddCheckpoint(old_size=old, proof=proof, note=self.note(new))

    def body(self, old: int, new: int) -> bytes:
        return self.request(old, new).encode()

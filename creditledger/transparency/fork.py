"""Evidence that a log signed two histories: two checkpoints that no one tree can have.

Source: specs/log.md §13."""

import base64
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from creditledger.errors import (
    ConsistencyProofError,
    MalformedBundleError,
    MalformedRecordError,
    SignatureError,
    VerificationError,
)
from creditledger.transparency.checkpoint import (
    Checkpoint,
    parse_checkpoint,
    parse_checkpoint_note,
    parse_decimal,
)
from creditledger.transparency.cosignature import note_verifier
from creditledger.transparency.merkle import (
    HASH_SIZE,
    NodeReader,
    prove_consistency,
    tree_root,
    verify_consistency,
)
from creditledger.transparency.note import NOTE_SIZE_MAX, decode_base64, open_note
from creditledger.transparency.trust_policy import TrustPolicy

PROOF_HASHES_MAX: Final = 63
FORK_SIZE_MAX: Final = 2 * NOTE_SIZE_MAX + 10_000
HEADER: Final = b"creditledger/fork@v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkEvidence:
    """What an evidence file says, nothing of it verified. Source: specs/log.md §13."""

    first: bytes
    """The signed note of the smaller tree, or of either if both are of one size."""
    second: bytes
    """The signed note of the other."""
    prefix: bytes
    """32 bytes: the root of the second tree's first entries, as many as the first tree has."""
    proof: tuple[bytes, ...]
    """The consistency proof from that root to the second tree's."""

    def __post_init__(self) -> None:
        if len(self.proof) > PROOF_HASHES_MAX:
            raise _malformed(f"at most {PROOF_HASHES_MAX} hashes", str(len(self.proof)))
        if any(len(value) != HASH_SIZE for value in (self.prefix, *self.proof)):
            raise _malformed(f"hashes of {HASH_SIZE} bytes", "another length")
        if max(len(self.first), len(self.second)) > NOTE_SIZE_MAX or not (self.first and self.second):
            raise _malformed(f"two notes of at most {NOTE_SIZE_MAX} bytes", "another length")

    def encode(self) -> bytes:
        """The file's bytes."""
        head = [HEADER, b"first %d" % len(self.first), b"prefix " + base64.b64encode(self.prefix)]
        head += map(base64.b64encode, self.proof)
        return b"\n".join(head) + b"\n\n" + self.first + self.second


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Two checkpoints of one log that contradict each other."""

    first: Checkpoint
    second: Checkpoint


def parse_fork(encoded: bytes) -> ForkEvidence:
    """The exact inverse of `ForkEvidence.encode`. Raises MalformedRecordError."""
    if len(encoded) > FORK_SIZE_MAX:
        raise _malformed(f"at most {FORK_SIZE_MAX} bytes", f"{len(encoded)} bytes")
    head, separator, notes = encoded.partition(b"\n\n")
    lines = head.split(b"\n", PROOF_HASHES_MAX + 4)
    if not separator or lines[0] != HEADER or not 3 <= len(lines) <= PROOF_HASHES_MAX + 3:
        raise _malformed(f"{HEADER.decode()}, lines, an empty line, two notes", ascii(head[:40]))
    length = parse_decimal(_after(b"first ", lines[1]))
    return ForkEvidence(
        first=notes[:length] if length <= len(notes) else b"",
        second=notes[length:],
        prefix=decode_base64(_after(b"prefix ", lines[2])),
        proof=tuple(map(decode_base64, lines[3:])),
    )


def make_fork(seen: bytes, shown: bytes, read: NodeReader) -> ForkEvidence:
    """Evidence that ``shown`` contradicts ``seen``, two notes of one log, the first not the larger.

    ``read``: nodes of the tree that ``shown`` names. Raises ConsistencyProofError if they agree."""
    old, new = parse_checkpoint_note(seen), parse_checkpoint_note(shown)
    if not 1 <= old.size <= new.size:
        raise ConsistencyProofError(
            "no tree to compare with", expected=f"1 to {new.size} entries", found=str(old.size)
        )
    prefix = tree_root(read, size=old.size)
    if prefix == old.root:
        raise ConsistencyProofError("the checkpoints are of one history", expected="two histories")
    proof = tuple(prove_consistency(read, first=old.size, second=new.size))
    return ForkEvidence(first=seen, second=shown, prefix=prefix, proof=proof)


def verify_fork(encoded: bytes, policy: TrustPolicy) -> Fork:
    """Check that a log of ``policy`` signed two checkpoints that no one tree can have.

    Witnesses are not asked for: the log's own two signatures convict it. Opens no file and no socket.
    Raises VerificationError: MalformedBundleError for bytes that are no evidence, SignatureError,
    ConsistencyProofError. Source: specs/log.md §13."""
    try:
        evidence = parse_fork(encoded)
        first, second = (_signed(note, policy) for note in (evidence.first, evidence.second))
    except MalformedRecordError as error:
        raise MalformedBundleError(str(error), expected=error.expected, found=error.found) from error
    if first.origin != second.origin:
        raise VerificationError("the checkpoints are of two logs", expected=first.origin, found=second.origin)
    if first.size == 0 or evidence.prefix == first.root:
        raise VerificationError("the checkpoints do not contradict each other", expected="two histories")
    verify_consistency(
        first=first.size,
        second=second.size,
        first_root=evidence.prefix,
        second_root=second.root,
        proof=evidence.proof,
    )
    return Fork(first=first, second=second)


def _signed(note: bytes, policy: TrustPolicy) -> Checkpoint:
    text, signatures = open_note(note, [note_verifier(vkey) for vkey in policy.vkeys])
    checkpoint = parse_checkpoint(text)
    logs = {log.vkey for log in policy.logs if log.vkey.name == checkpoint.origin}
    if logs.isdisjoint(signature.vkey for signature in signatures):
        raise SignatureError(
            "checkpoint is not signed by a log of the policy under its own origin",
            expected=_names(log.vkey.name for log in policy.logs),
            found=checkpoint.origin,
        )
    return checkpoint


def _names(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names)))


def _after(word: bytes, line: bytes) -> bytes:
    if not line.startswith(word):
        raise _malformed(f"a line {word.decode()}...", ascii(line[:40]))
    return line.removeprefix(word)


def _malformed(expected: str, found: str) -> MalformedRecordError:
    return MalformedRecordError("not evidence of a fork", expected=expected, found=found)

"""Evidence that a log signed two histories: two checkpoints that no one tree can have.

Source: specs/log.md §13."""

import base64
from dataclasses import dataclass
from typing import Final

from creditledger.errors import (
    ConsistencyProofError,
    MalformedBundleError,
    MalformedRecordError,
    VerificationError,
)
from creditledger.transparency.checkpoint import (
    Checkpoint,
    parse_checkpoint,
    parse_checkpoint_note,
    parse_decimal,
)
from creditledger.transparency.merkle import (
    HASH_SIZE,
    NodeReader,
    prove_consistency,
    tree_root,
    verify_consistency,
)
from creditledger.transparency.note import (
    NOTE_SIZE_MAX,
    Ed25519NoteVerifier,
    Note,
    decode_base64,
    open_note,
    parse_note,
)
from creditledger.transparency.trust_policy import TrustPolicy

PROOF_HASHES_MAX: Final = 63
FORK_SIZE_MAX: Final = 2 * NOTE_SIZE_MAX + 10_000
HEADER: Final = b"creditledger/fork@v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkEvidence:
    """What an evidence file says, nothing of it verified. Source: specs/log.md §13."""

    first: bytes
    """The note of the smaller tree, or of either if both are of one size; signed by its log alone."""
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


def make_fork(
    first: bytes, second: bytes, policy: TrustPolicy, read: NodeReader | None = None
) -> ForkEvidence:
    """Evidence from two notes of one log, the first not of the larger tree, verified before it is given.

    ``read``: nodes of the tree that ``second`` names; not needed for equal sizes. Raises as
    `verify_fork`, ConsistencyProofError if the two agree, MalformedRecordError for what is no note."""
    one, other = parse_checkpoint_note(first), parse_checkpoint_note(second)
    if not 1 <= one.size <= other.size or (read is None and one.size < other.size):
        raise ConsistencyProofError(
            "no tree to compare with", expected=f"1 to {other.size} entries", found=str(one.size)
        )
    prefix = other.root if read is None else tree_root(read, size=one.size)
    if prefix == one.root:
        raise ConsistencyProofError("the checkpoints are of one history", expected="two histories")
    proof = () if read is None else prove_consistency(read, first=one.size, second=other.size)
    evidence = ForkEvidence(
        first=_by_its_log(first, policy),
        second=_by_its_log(second, policy),
        prefix=prefix,
        proof=tuple(proof),
    )
    verify_fork(evidence.encode(), policy)
    return evidence


def verify_fork(encoded: bytes, policy: TrustPolicy) -> Fork:
    """Check that a log of ``policy`` signed two checkpoints that no one tree can have.

    Witnesses are not asked for: the log's own two signatures convict it, each by a key that signs for
    that size. Opens no file and no socket. Raises VerificationError: MalformedBundleError for bytes that
    are no evidence, SignatureError, ConsistencyProofError. Source: specs/log.md §13."""
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
    """What a note of the file says, every line of which is by its log and verifies."""
    if _by_its_log(note, policy) != note:
        # A line that nobody checks could be any other, and the file would still convict.
        raise _malformed("notes with the log's own lines alone, sorted", "another line or order")
    text, _ = open_note(note, [Ed25519NoteVerifier(log.vkey) for log in policy.logs])
    return parse_checkpoint(text)


def _by_its_log(note: bytes, policy: TrustPolicy) -> bytes:
    """The note with the lines that count for the log of its origin, sorted. None verified yet.

    Raises MalformedRecordError, SignatureError where there is no such line."""
    parsed = parse_note(note)
    named = {(line.name, line.key_id) for line in parsed.signatures}
    given = {log.vkey for log in policy.logs if (log.vkey.name, log.vkey.key_id) in named}
    logs = policy.logs_that_signed(parse_checkpoint(parsed.text), given)
    counting = {(log.vkey.name, log.vkey.key_id) for log in logs}
    lines = {line for line in parsed.signatures if (line.name, line.key_id) in counting}
    return Note(text=parsed.text, signatures=tuple(sorted(lines, key=lambda line: line.line))).encode()


def _after(word: bytes, line: bytes) -> bytes:
    if not line.startswith(word):
        raise _malformed(f"a line {word.decode()}...", ascii(line[:40]))
    return line.removeprefix(word)


def _malformed(expected: str, found: str) -> MalformedRecordError:
    return MalformedRecordError("not evidence of a fork", expected=expected, found=found)

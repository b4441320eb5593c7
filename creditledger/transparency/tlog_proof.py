"""A proof in text that an entry is in the log, which other people's programs read too.

Source: specs/log.md §11, after C2SP tlog-proof."""

import base64
from dataclasses import dataclass
from typing import Final

from creditledger.errors import MalformedBundleError, MalformedRecordError
from creditledger.transparency.checkpoint import Checkpoint, parse_decimal
from creditledger.transparency.merkle import HASH_SIZE, TREE_SIZE_MAX, leaf_hash, verify_inclusion
from creditledger.transparency.note import NOTE_SIZE_MAX, decode_base64
from creditledger.transparency.trust_policy import TrustPolicy

EXTRA_SIZE_MAX: Final = 65_535
PROOF_HASHES_MAX: Final = 63
"""Enough for a tree of 2^63-1 entries."""
TLOG_PROOF_SIZE_MAX: Final = NOTE_SIZE_MAX + 100_000
"""A note, an extra and a path of their largest sizes."""

HEADER: Final = b"c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlogProof:
    """What a ``.tlog-proof`` file says, nothing of it verified. Source: specs/log.md §11."""

    index: int
    """Where the entry stands, 0..2^63-1."""
    hashes: tuple[bytes, ...]
    """Siblings of 32 bytes, from the leaf up."""
    checkpoint: bytes
    """The signed note, byte by byte; only `verify_tlog_proof` reads it."""
    extra: bytes = b""
    """What nobody signed and no verifier may rely on; empty for no such line."""

    def __post_init__(self) -> None:
        if not 0 <= self.index <= TREE_SIZE_MAX:
            raise _malformed("an index from 0 to 2^63-1", str(self.index)[:40])
        if len(self.hashes) > PROOF_HASHES_MAX:
            raise _malformed(f"at most {PROOF_HASHES_MAX} hashes", str(len(self.hashes)))
        if any(len(value) != HASH_SIZE for value in self.hashes):
            raise _malformed(f"hashes of {HASH_SIZE} bytes", "another length")
        if len(self.extra) > EXTRA_SIZE_MAX:
            raise _malformed(f"an extra of at most {EXTRA_SIZE_MAX} bytes", f"{len(self.extra)} bytes")
        if not self.checkpoint.endswith(b"\n") or len(self.checkpoint) > NOTE_SIZE_MAX:
            raise _malformed(
                f"a checkpoint of at most {NOTE_SIZE_MAX} bytes that ends with LF",
                f"{len(self.checkpoint)} bytes",
            )

    def encode(self) -> bytes:
        """The file's bytes."""
        lines = [HEADER]
        if self.extra:
            lines.append(b"extra " + base64.b64encode(self.extra))
        lines.append(b"index %d" % self.index)
        lines += map(base64.b64encode, self.hashes)
        return b"\n".join(lines) + b"\n\n" + self.checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEntry:
    """What a verified proof proves of an entry."""

    index: int
    checkpoint: Checkpoint
    """The tree that the entry is in."""
    cosigned_unix_ms: int | None
    """Since when a quorum has cosigned that tree; None under a policy without a quorum."""


def parse_tlog_proof(encoded: bytes) -> TlogProof:
    """The exact inverse of `TlogProof.encode`. Raises MalformedRecordError.

    The checkpoint begins after the first empty line: its own text may hold others."""
    if len(encoded) > TLOG_PROOF_SIZE_MAX:
        raise _malformed(f"at most {TLOG_PROOF_SIZE_MAX} bytes", f"{len(encoded)} bytes")
    head, separator, checkpoint = encoded.partition(b"\n\n")
    header, *lines = head.split(b"\n", PROOF_HASHES_MAX + 4)
    if not separator or header != HEADER:
        raise _malformed(f"{HEADER.decode()}, lines, an empty line, a checkpoint", ascii(header[:40]))
    extra = _read_extra(lines)
    if not lines or not lines[0].startswith(b"index "):
        raise _malformed("index <decimal>", ascii(lines[0][:40]) if lines else "nothing")
    if len(lines) - 1 > PROOF_HASHES_MAX:
        raise _malformed(f"at most {PROOF_HASHES_MAX} hashes", "more")
    return TlogProof(
        index=parse_decimal(lines[0].removeprefix(b"index ")),
        hashes=tuple(map(decode_base64, lines[1:])),
        checkpoint=checkpoint,
        extra=extra,
    )


def verify_tlog_proof(
    encoded: bytes, *, entry: bytes, policy: TrustPolicy, now_unix_ms: int | None = None
) -> LoggedEntry:
    """Check that ``entry`` is in a tree that ``policy`` accepts. Opens no file and no socket.

    ``entry`` is the reader's own bytes. Raises as `verify_logged_leaf`."""
    return verify_logged_leaf(encoded, leaf=leaf_hash(entry), policy=policy, now_unix_ms=now_unix_ms)


def verify_logged_leaf(
    encoded: bytes, *, leaf: bytes, policy: TrustPolicy, now_unix_ms: int | None = None
) -> LoggedEntry:
    """As `verify_tlog_proof`, for the entry with the leaf hash ``leaf`` (32 bytes).

    It is the reader's own: never taken from the proof, whose extra is not looked at. Raises
    VerificationError: MalformedBundleError for bytes that are no proof, SignatureError, PolicyError
    (quorum, age), InclusionProofError. Source: specs/log.md §11."""
    try:
        proof = parse_tlog_proof(encoded)
        verified = policy.verify_checkpoint(proof.checkpoint, now_unix_ms=now_unix_ms)
    except MalformedRecordError as error:
        raise MalformedBundleError(str(error), expected=error.expected, found=error.found) from error
    checkpoint = verified.checkpoint
    verify_inclusion(
        leaf=leaf,
        index=proof.index,
        size=checkpoint.size,
        proof=proof.hashes,
        root=checkpoint.root,
    )
    return LoggedEntry(index=proof.index, checkpoint=checkpoint, cosigned_unix_ms=verified.cosigned_unix_ms)


def _read_extra(lines: list[bytes]) -> bytes:
    """Take the extra's line off the front, if there is one."""
    if not lines or not lines[0].startswith(b"extra "):
        return b""
    extra = decode_base64(lines.pop(0).removeprefix(b"extra "))
    if not extra:
        raise _malformed("no extra line where there is no extra", "an empty one")
    return extra


def _malformed(expected: str, found: str) -> MalformedRecordError:
    return MalformedRecordError("not a tlog-proof", expected=expected, found=found)

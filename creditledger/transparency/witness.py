"""A witness: for each log, cosign only what continues what was cosigned before.

Source: specs/log.md §9, after C2SP tlog-witness."""

import base64
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Final, Protocol

from creditledger.errors import (
    ConflictError,
    ConsistencyProofError,
    MalformedRecordError,
    SignatureError,
)
from creditledger.transparency.checkpoint import Checkpoint, parse_checkpoint, parse_decimal
from creditledger.transparency.cosignature import (
    CosignatureSigner,
    MlDsaCosignatureSigner,
    note_verifier,
)
from creditledger.transparency.merkle import EMPTY_ROOT, HASH_SIZE, verify_consistency
from creditledger.transparency.note import (
    NOTE_SIZE_MAX,
    Note,
    NoteSignature,
    VerifiedSignature,
    VerifierKey,
    decode_base64,
    open_note,
)

PROOF_SIZE_MAX: Final = 63


class StaleSizeError(ConflictError):
    """The caller's old size is not the one last cosigned."""

    def __init__(self, *, stored_size: int, old_size: int) -> None:
        super().__init__(
            "old size is not the size last cosigned",
            expected=str(stored_size),
            found=str(old_size),
        )
        self.stored_size = stored_size


class WitnessState(Protocol):
    """The last cosigned checkpoint of each log; must not be restored from a backup."""

    def get(self, origin: str, /) -> Checkpoint | None:
        """What was last put for ``origin``, or None."""

    def put(self, origin: str, /, *, expected: Checkpoint | None, new: Checkpoint, note: bytes) -> None:
        """Swap atomically; on return ``new`` survives power loss. ``new`` may be ``expected`` itself.

        ``note``: ``new`` with the lines of log and witness, for whoever shows it to others.
        Raises ConflictError if the state is not ``expected``: somebody was faster."""


class MemoryWitnessState:
    """A `WitnessState` in a dict, for one thread."""

    __slots__ = ("latest",)

    def __init__(self) -> None:
        self.latest: dict[str, Checkpoint] = {}

    def get(self, origin: str, /) -> Checkpoint | None:
        return self.latest.get(origin)

    def put(self, origin: str, /, *, expected: Checkpoint | None, new: Checkpoint, note: bytes) -> None:
        if self.latest.get(origin) != expected:
            raise ConflictError("witness state was changed by somebody else", found=origin)
        self.latest[origin] = new


class Witness:
    """The rules of one witness over an injected state."""

    __slots__ = ("_signers", "_state")

    def __init__(
        self,
        signer: CosignatureSigner | MlDsaCosignatureSigner,
        state: WitnessState,
        *,
        second: MlDsaCosignatureSigner | None = None,
    ) -> None:
        """``second``: another key of the same witness, which signs what ``signer`` signs."""
        self._signers = (signer,) if second is None else (signer, second)
        self._state = state

    @property
    def vkey(self) -> VerifierKey:
        """The first key's."""
        return self._signers[0].vkey

    def add_checkpoint(
        self,
        old_size: int,
        proof: Sequence[bytes],
        note: bytes,
        *,
        log_vkeys: Sequence[VerifierKey],
        now_unix_s: int,
        origin: str | None = None,
    ) -> bytes:
        """The cosignature lines (each with its LF) for the checkpoint in ``note``, one per key.

        ``proof``: 32-byte hashes from ``old_size`` to the checkpoint's size. ``log_vkeys`` are the
        keys this witness trusts for the log, of which one must have signed; a key's name is the
        log's origin unless ``origin`` says another. Repeating the last checkpoint is a success.
        Refuses with SignatureError, MalformedRecordError (not a checkpoint, or ``old_size`` above
        its size), StaleSizeError (with the stored size), ConsistencyProofError, or ConflictError
        when somebody was faster, leaving the state as it was. Source: specs/log.md §9."""
        text, by_log = open_note(note, [note_verifier(vkey) for vkey in log_vkeys])
        checkpoint = parse_checkpoint(text)
        _require_origin(checkpoint, {line.vkey.name for line in by_log} if origin is None else {origin})
        stored = self._state.get(checkpoint.origin)
        _require_continuation(old_size, proof, checkpoint, stored)
        lines = tuple(signer.cosign(text, timestamp=now_unix_s) for signer in self._signers)
        kept = Note(text=text, signatures=(*_once_per_key(by_log), *lines)).encode()
        # State before answer: a lost answer is asked for again, a lost state signs a second history.
        self._state.put(checkpoint.origin, expected=stored, new=checkpoint, note=kept)
        return b"".join(signature.line for signature in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class AddCheckpoint:
    """The body of a witness's add-checkpoint request. Source: specs/log.md §9."""

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """``old <n>``, the proof in base64, an empty line, the note."""
        hashes = b"".join(base64.b64encode(value) + b"\n" for value in self.proof)
        return b"old %d\n%s\n%s" % (self.old_size, hashes, self.note)


def parse_add_checkpoint(body: bytes) -> AddCheckpoint:
    """The exact inverse of `AddCheckpoint.encode`. Raises MalformedRecordError."""
    head, separator, note = body.partition(b"\n\n")
    if len(body) > NOTE_SIZE_MAX or not separator:
        raise _malformed("old size, proof, empty line, note", f"{len(body)} bytes")
    lines = head.split(b"\n")
    if not lines[0].startswith(b"old ") or len(lines) - 1 > PROOF_SIZE_MAX:
        raise _malformed(f"old <size> and at most {PROOF_SIZE_MAX} hashes", ascii(head[:40]))
    proof = tuple(map(decode_base64, lines[1:]))
    if any(len(value) != HASH_SIZE for value in proof):
        raise _malformed("hashes of 32 bytes", "another length")
    return AddCheckpoint(old_size=parse_decimal(lines[0][4:]), proof=proof, note=note)


def _once_per_key(signatures: Sequence[VerifiedSignature]) -> list[NoteSignature]:
    """The lines that were verified, each key's first."""
    first = {signature.vkey: signature.body for signature in reversed(signatures)}
    return [NoteSignature(name=vkey.name, key_id=vkey.key_id, body=body) for vkey, body in first.items()]


def _require_origin(checkpoint: Checkpoint, origins: Set[str]) -> None:
    if checkpoint.origin not in origins:
        raise SignatureError(
            "checkpoint is signed by the key of another log",
            expected=", ".join(sorted(origins)),
            found=checkpoint.origin,
        )


def _require_continuation(
    old_size: int, proof: Sequence[bytes], new: Checkpoint, stored: Checkpoint | None
) -> None:
    if not 0 <= old_size <= new.size:
        raise _malformed(f"an old size from 0 to {new.size}", str(old_size)[:40])
    stored_size, stored_root = (stored.size, stored.root) if stored else (0, EMPTY_ROOT)
    if old_size != stored_size:
        raise StaleSizeError(stored_size=stored_size, old_size=old_size)
    if len(proof) > PROOF_SIZE_MAX:
        raise ConsistencyProofError(
            "proof is too long", expected=f"at most {PROOF_SIZE_MAX} hashes", found=f"{len(proof)}"
        )
    verify_consistency(
        first=old_size,
        second=new.size,
        first_root=stored_root,
        second_root=new.root,
        proof=proof,
    )


def _malformed(expected: str, found: str) -> MalformedRecordError:
    return MalformedRecordError("not an add-checkpoint request", expected=expected, found=found)

"""The head file: the last acknowledged state of the log, kept outside the store.

It is durable before anything is acknowledged, so a store restored from a backup, or one that lost a
committed transaction, is told from the true one. Source: specs/ledger.md §4."""

from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from creditledger.errors import CreditLedgerError, IntegrityError, RollbackError, StorageError
from creditledger.ledger.directory import (
    disk_errors,
    read_file,
    replace_file,
    sync_directory,
    sync_file,
    write_over,
)
from creditledger.ledger.stored_log import StoredLog
from creditledger.transparency.checkpoint import (
    Checkpoint,
    parse_checkpoint,
    parse_checkpoint_note,
)
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.note import (
    TYPE_ED25519,
    Ed25519NoteSigner,
    Ed25519NoteVerifier,
    VerifierKey,
    open_note,
)

if TYPE_CHECKING:
    from creditledger.ledger.operator_keys import OperatorAt

PLACE_BYTES: Final = 4_096
"""Of one place in the file: a multiple of a disk's sector and of a page."""
PLACES: Final = 2
_SUM_BYTES: Final = 32


def log_key(origin: str, operator: bytes) -> VerifierKey:
    """The key that signs the log's checkpoints: the operator's, under the log's origin."""
    return VerifierKey(name=origin, key_type=TYPE_ED25519, public_key=operator)


class HeadFile:
    """The signed head of one log in one file with two places: a new head is written over the older of the two
    and flushed once, and until then the other stands."""

    __slots__ = ("_next_place", "_path", "_signer", "_verifier")

    def __init__(self, path: Path, *, origin: str, operator: bytes) -> None:
        self._path = path
        self._verifier = Ed25519NoteVerifier(log_key(origin, operator))
        self._signer: Ed25519NoteSigner | None = None
        self._next_place: int | None = None
        """Where the next head goes; None: not known yet."""

    def read(self, operator_at: "OperatorAt | None" = None) -> Checkpoint:
        """The newest head as signed by the operator's key for its size, by default the key given at first.

        Raises IntegrityError if there is none, StorageError if the disk does not give it."""
        heads: dict[int, Checkpoint] = {}
        for place, note in self._notes().items():
            heads[place] = self._opened(note, operator_at)
        newest = max(heads, key=lambda place: heads[place].size)
        self._next_place = (newest + 1) % PLACES
        return heads[newest]

    def _notes(self) -> dict[int, bytes]:
        """What the places hold that were written to their end."""
        try:
            content = read_file(self._path, what="head", most=PLACES * PLACE_BYTES)
        except StorageError as error:
            if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise IntegrityError(
                "the head file is not there", expected=str(self._path)[-100:], found=error.found
            ) from error
        notes: dict[int, bytes] = {}
        for place in range(PLACES):
            block = content[place * PLACE_BYTES :][:PLACE_BYTES]
            if sha256(block[:-_SUM_BYTES]).digest() == block[-_SUM_BYTES:]:
                notes[place] = block[:-_SUM_BYTES].rstrip(b"\0")
        if not notes:
            raise IntegrityError(
                "the head file is damaged", expected="a whole head", found=content[:40].hex()
            )
        return notes

    def _opened(self, note: bytes, operator_at: "OperatorAt | None") -> Checkpoint:
        try:
            text, _ = open_note(note, [self._verifier_of(note, operator_at)])
            head = parse_checkpoint(text)
        except CreditLedgerError as error:
            raise IntegrityError(
                f"the head file is not the operator's: {error}", expected=error.expected, found=error.found
            ) from error
        if head.origin != self._verifier.vkey.name:
            raise IntegrityError(
                "the head file is of another log", expected=self._verifier.vkey.name, found=head.origin
            )
        return head

    def _verifier_of(self, note: bytes, operator_at: "OperatorAt | None") -> Ed25519NoteVerifier:
        if operator_at is None:
            return self._verifier
        size = parse_checkpoint_note(note).size
        return Ed25519NoteVerifier(log_key(self._verifier.vkey.name, operator_at(size)))

    def sync(self) -> None:
        """Make the file and its name durable: who wrote it may have been stopped before that.

        Raises StorageError."""
        with disk_errors(self._path):
            if self._path.exists():
                sync_file(self._path)
            sync_directory(self._path.parent)

    def create(self, head: Checkpoint, operator: Ed25519Signer) -> None:
        """Make the file, with ``head`` in it: on return it survives power loss. Raises StorageError."""
        replace_file(self._path, _block(head, self._note_signer(head, operator)))

    def replace(self, head: Checkpoint, operator: Ed25519Signer) -> None:
        """Put ``head`` over the older of the two, after `read`: on return it survives power loss.

        Raises StorageError; the newer of the two then stands."""
        if self._next_place is None:
            raise StorageError("the head file was not read", expected="a head that was read before")
        block = _block(head, self._note_signer(head, operator))
        write_over(self._path, block, offset=self._next_place * PLACE_BYTES)
        self._next_place = (self._next_place + 1) % PLACES

    def _note_signer(self, head: Checkpoint, operator: Ed25519Signer) -> Ed25519NoteSigner:
        """As the one before, for nearly all heads."""
        key = log_key(head.origin, operator.public_key)
        if self._signer is None or self._signer.vkey != key:
            self._signer = Ed25519NoteSigner(head.origin, operator)
        return self._signer


def _block(head: Checkpoint, signer: Ed25519NoteSigner) -> bytes:
    """What a place holds: the note, zeros, and a checksum over both, which a torn write does not have."""
    # As `sign_checkpoint`, without reading it back: this is done for each commit.
    note = head.text + b"\n" + signer.sign(head.text).line
    room = PLACE_BYTES - _SUM_BYTES
    if len(note) > room:
        raise StorageError("the head does not fit its place", expected=f"{room} bytes", found=str(len(note)))
    content = note.ljust(room, b"\0")
    return content + sha256(content).digest()


def require_not_rolled_back(log: StoredLog, head: Checkpoint, *, what: str = "head") -> None:
    """Check that the store holds at least what ``head``, called ``what``, says. Raises RollbackError.

    It may hold more: a crash after the commit and before the head. That was never acknowledged,
    yet it is sound, and stays."""
    if log.size < head.size:
        raise RollbackError(
            f"the store is older than its {what}: was a backup restored?",
            expected=f"at least {head.size} entries",
            found=f"{log.size}",
        )
    root = log.root_at(head.size)
    if root != head.root:
        raise RollbackError(
            f"the store has another history up to entry {head.size}",
            expected=head.root.hex(),
            found=root.hex(),
        )

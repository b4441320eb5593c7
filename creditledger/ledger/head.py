"""The head file: the last acknowledged state of the log, kept outside the store.

It is durable before anything is acknowledged, so a store restored from a backup, or one that lost a
committed transaction, is told from the true one. Source: specs/ledger.md §4."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from creditledger.errors import CreditLedgerError, IntegrityError, RollbackError, StorageError
from creditledger.ledger.directory import disk_errors, read_file, replace_file, sync_directory
from creditledger.ledger.stored_log import StoredLog
from creditledger.transparency.checkpoint import (
    Checkpoint,
    parse_checkpoint,
    parse_checkpoint_note,
    sign_checkpoint,
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

HEAD_BYTES_MAX: Final = 4_096


def log_key(origin: str, operator: bytes) -> VerifierKey:
    """The key that signs the log's checkpoints: the operator's, under the log's origin."""
    return VerifierKey(name=origin, key_type=TYPE_ED25519, public_key=operator)


class HeadFile:
    """The signed head of one log in one file."""

    __slots__ = ("_path", "_verifier")

    def __init__(self, path: Path, *, origin: str, operator: bytes) -> None:
        self._path = path
        self._verifier = Ed25519NoteVerifier(log_key(origin, operator))

    def read(self, operator_at: "OperatorAt | None" = None) -> Checkpoint:
        """The head as signed by the operator's key for its size, by default the key given to begin with.

        Raises IntegrityError if it is missing or not so, StorageError if the disk does not give it."""
        try:
            note = read_file(self._path, what="head", most=HEAD_BYTES_MAX)
        except StorageError as error:
            if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
                raise
            raise IntegrityError(
                "the head file is not there", expected=str(self._path)[-100:], found=error.found
            ) from error
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
        """Make the file's name durable: who replaced it may have been stopped before that.

        Raises StorageError."""
        with disk_errors(self._path):
            sync_directory(self._path.parent)

    def replace(self, head: Checkpoint, operator: Ed25519Signer) -> None:
        """Make ``head`` the file's content: on return it survives power loss. Raises StorageError."""
        signer = Ed25519NoteSigner(head.origin, operator)
        replace_file(self._path, sign_checkpoint(head, [signer]))


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

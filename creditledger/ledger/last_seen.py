"""The last checkpoint of a log that a reader accepted, kept so that a fork cannot pass unseen.

Source: specs/ledger.md §12."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from creditledger.errors import CreditLedgerError, IntegrityError
from creditledger.ledger.directory import WriterLock, disk_errors, is_there, read_file, replace_file
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.note import NOTE_SIZE_MAX
from creditledger.transparency.trust_policy import TrustPolicy


class LastSeen:
    """One log's file in a folder of the reader's own, and its lock."""

    __slots__ = ("path",)

    path: Path
    """Where the note lies: named by ledger id, else by the log's keys."""

    def __init__(self, folder: Path, policy: TrustPolicy) -> None:
        """``folder``: made, with its parents, by `locked`. ``policy``: says which log it is."""
        self.path = folder / _log_name(policy)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Fetch, compare and keep in here: else two readers each accept another successor of one checkpoint.

        Raises BusyError while another reader does, StorageError."""
        with disk_errors(self.path.parent):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = WriterLock(
            self.path.with_name(f"{self.path.name}.lock"),
            taken="another reader compares this log's checkpoint now",
        )
        try:
            yield
        finally:
            lock.close()

    def note(self) -> bytes | None:
        """The note that was kept last; None the first time. Raises IntegrityError, StorageError."""
        if not is_there(self.path):
            return None
        note = read_file(self.path, what="last checkpoint seen", most=NOTE_SIZE_MAX)
        try:
            parse_checkpoint_note(note)
        except CreditLedgerError as error:
            raise IntegrityError(
                "the last checkpoint seen cannot be read", found=f"{str(self.path)[-100:]}: {error}"
            ) from error
        return note

    def keep(self, note: bytes) -> None:
        """Keep ``note`` durably, inside `locked`. Raises StorageError."""
        replace_file(self.path, note)

    def put_back(self, before: bytes | None, *, instead_of: bytes) -> None:
        """Undo `keep` for a note that turned out to be nobody's, unless another has followed it.

        Raises BusyError, IntegrityError, StorageError."""
        with self.locked():
            if self.note() != instead_of:
                return
            if before is not None:
                self.keep(before)
                return
            with disk_errors(self.path):
                self.path.unlink()


def _log_name(policy: TrustPolicy) -> str:
    if policy.ledger_id is not None:
        return policy.ledger_id.hex()
    keys = "\n".join(sorted(str(log.vkey) for log in policy.logs))
    return hashlib.sha256(keys.encode()).hexdigest()

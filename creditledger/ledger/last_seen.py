"""The last checkpoint of each log that a reader accepted, kept so that a fork cannot pass unseen.

Source: specs/ledger.md §12."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from creditledger.errors import CreditLedgerError, IntegrityError, StorageError
from creditledger.ledger.directory import disk_errors, is_there, read_file, replace_file
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.note import NOTE_SIZE_MAX
from creditledger.transparency.trust_policy import TrustPolicy


class LastSeen:
    """One file per log in a folder of the reader's own. Safe beside other processes."""

    __slots__ = ("_folder",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, policy: TrustPolicy) -> Path:
        """The file of the log that ``policy`` trusts: named by ledger id, else by the log's keys."""
        if policy.ledger_id is not None:
            return self._folder / policy.ledger_id.hex()
        keys = "\n".join(sorted(str(log.vkey) for log in policy.logs))
        return self._folder / hashlib.sha256(keys.encode()).hexdigest()

    def note(self, policy: TrustPolicy) -> bytes | None:
        """The note that was kept last; None the first time. Raises IntegrityError, StorageError."""
        path = self.path(policy)
        if not is_there(path):
            return None
        note = read_file(path, what="last checkpoint seen", most=NOTE_SIZE_MAX)
        try:
            parse_checkpoint_note(note)
        except CreditLedgerError as error:
            raise IntegrityError(
                "the last checkpoint seen cannot be read", found=f"{str(path)[-100:]}: {error}"
            ) from error
        return note

    def keep(self, policy: TrustPolicy, note: bytes) -> None:
        """Keep ``note`` durably, unless a larger tree was kept meanwhile. Raises StorageError."""
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        with self._turn():
            kept = self.note(policy)
            if kept is None or parse_checkpoint_note(kept).size <= parse_checkpoint_note(note).size:
                replace_file(self.path(policy), note)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        with disk_errors(self._folder):
            lock = (self._folder / "lock").open("ab")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise StorageError(f"cannot lock {self._folder}: {error.strerror}") from error
            yield

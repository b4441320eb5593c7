"""What a network witness has cosigned, in a store that outlives it. Source: specs/log.md §9."""

from hashlib import sha256
from pathlib import Path
from typing import Final

from creditledger.errors import IntegrityError, MalformedRecordError
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.transparency.checkpoint import Checkpoint, parse_checkpoint_note
from creditledger.transparency.merkle import EMPTY_ROOT
from creditledger.transparency.witness import StaleSizeError

_LOG: Final = b"log/"


def origin_digest(origin: str) -> bytes:
    """The 32 bytes that name a log in the store, and in hex in a URL."""
    return sha256(origin.encode()).digest()


class LmdbWitnessState:
    """A `WitnessState` over LMDB, for many threads: per log the note that was cosigned last.

    It MUST NOT be restored from a backup: a witness that forgets signs a second history."""

    __slots__ = ("_store",)

    def __init__(self, path: Path) -> None:
        """Open what `create` made. Raises StorageError, BusyError."""
        self._store = LmdbStore(path)

    @staticmethod
    def create(path: Path) -> None:
        """Make an empty state at ``path``, which must not exist. Raises StorageError."""
        LmdbStore.create(path).close()

    def get(self, origin: str, /) -> Checkpoint | None:
        """See `WitnessState.get`. Raises IntegrityError, StorageError."""
        return _checkpoint(self.note(origin_digest(origin)), origin)

    def put(self, origin: str, /, *, expected: Checkpoint | None, new: Checkpoint, note: bytes) -> None:
        """See `WitnessState.put`. Raises StaleSizeError with the size that somebody faster has put."""
        key = _LOG + origin_digest(origin)
        with self._store.write() as view:
            stored = _checkpoint(view.get(key), origin)
            if _head(stored) != _head(expected):
                raise StaleSizeError(stored_size=_head(stored)[0], old_size=_head(expected)[0])
            if parse_checkpoint_note(note) != new:
                raise IntegrityError("a note says another checkpoint", expected=str(new.size), found=origin)
            view.put(key, note)

    def note(self, digest: bytes) -> bytes | None:
        """The note last kept for the log named by `origin_digest`. Raises IntegrityError, StorageError."""
        with self._store.read() as view:
            return view.get(_LOG + digest)

    def close(self) -> None:
        """Let go of the files; a second call does nothing."""
        self._store.close()


def _checkpoint(note: bytes | None, origin: str) -> Checkpoint | None:
    if note is None:
        return None
    try:
        checkpoint = parse_checkpoint_note(note)
    except MalformedRecordError as error:
        raise IntegrityError("a kept note cannot be read", found=str(error)) from error
    if checkpoint.origin != origin:
        raise IntegrityError("a kept note is another log's", expected=origin, found=checkpoint.origin)
    return checkpoint


def _head(checkpoint: Checkpoint | None) -> tuple[int, bytes]:
    """Size and root; a log that was never cosigned is an empty one."""
    return (0, EMPTY_ROOT) if checkpoint is None else (checkpoint.size, checkpoint.root)

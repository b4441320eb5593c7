"""A reader's own copy of somebody's log and of the state that it gives, kept on disk and brought up to date.

It is a ledger's directory without keys: nothing in it was believed. Source: specs/service.md §7."""

import shutil
from pathlib import Path
from typing import Final

from creditledger import __version__
from creditledger.credits.fold import SignatureVerifier
from creditledger.credits.pool import tip_of
from creditledger.credits.state import State, StateView
from creditledger.errors import ForkError, IntegrityError
from creditledger.ledger.clock import Clock
from creditledger.ledger.directory import LedgerDirectory, disk_errors, new_directory, replace_file
from creditledger.ledger.last_seen import LastSeen
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.publish import CHECKPOINT
from creditledger.ledger.replica import Folded, Replica
from creditledger.ledger.source import LogSource
from creditledger.ledger.stored_log import StoredLog, state_of
from creditledger.records.record import Record
from creditledger.transparency.checkpoint import Checkpoint
from creditledger.transparency.trust_policy import TrustPolicy

ENTRIES_AT_ONCE: Final = 1_024
"""So many become durable together: what was folded is not folded again."""
COPY_OF: Final = "copy-of"
"""The file in which stands where a copy is from; no other ledger's directory has one."""
_NOTE: Final = b"c"
_VERSION: Final = b"v"


class LogCopy:
    """The copy in one directory. Several processes may bring it up to date; they take turns."""

    def __init__(
        self,
        directory: LedgerDirectory,
        store: LmdbStore,
        source: LogSource,
        policy: TrustPolicy,
        *,
        memory: LastSeen,
        clock: Clock,
        verifier: SignatureVerifier,
    ) -> None:
        """``store``: open for writing. ``memory``: the last checkpoint that any reader here accepted."""
        self._directory = directory
        self._store = store
        self._source = source
        self._policy = policy
        self._memory = memory
        self._clock = clock
        self.verifier = verifier

    @staticmethod
    def create(path: Path, *, url: str, policy: bytes) -> None:
        """Make an empty copy of what is at ``url``, to be read under ``policy``. Raises StorageError."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with new_directory(path, mode=0o700) as building:
            directory = LedgerDirectory(building)
            directory.public.mkdir()
            LmdbStore.create(directory.store).close()
            replace_file(directory.policy, policy)
            replace_file(building / COPY_OF, url.encode())

    @staticmethod
    def begin_anew(path: Path) -> None:
        """Forget what the copy at ``path`` came to, and nothing else that lies there. Raises StorageError."""
        directory = LedgerDirectory(path)
        with disk_errors(directory.store):
            shutil.rmtree(directory.store, ignore_errors=True)
            LmdbStore.create(directory.store).close()

    def follow(self) -> Checkpoint:
        """Fold what is new and keep it; up to which checkpoint. Raises what `Replica.follow` raises,
        StorageError, and IntegrityError for a copy that cannot be gone on with. A fork's evidence is kept.

        Whatever does not hold leaves the copy at the last entry that did, or some before it."""
        while True:
            try:
                with self._store.write() as view:
                    replica, checkpoint = self._fold(view)
            except ForkError as error:
                raise self._with_evidence(error) from error
            if replica.size >= checkpoint.size:
                replace_file(self._directory.public / CHECKPOINT, replica.note)
                return checkpoint

    def _with_evidence(self, error: ForkError) -> ForkError:
        file = self._directory.path / f"fork-{'-'.join(map(str, error.sizes))}"
        replace_file(file, error.evidence)
        return ForkError(
            str(error),
            evidence=error.evidence,
            sizes=error.sizes,
            file=str(file),
            expected=error.expected,
            found=error.found,
        )

    def _fold(self, view: StateView) -> tuple[Replica, Checkpoint]:
        log = StoredLog(view)

        def keep(encoded: bytes, record: Record, bodies: tuple[bytes, ...]) -> None:
            log.append(encoded)
            log.put_bodies(record, bodies)

        replica = Replica(
            self._source,
            self._policy,
            state=state_of(view),
            memory=self._memory,
            verifier=self.verifier,
            folded=_folded(view, log),
            keep=keep,
        )
        checkpoint = replica.follow(self._clock(), up_to=log.size + ENTRIES_AT_ONCE)
        log.seal()
        view.put(_NOTE, replica.note)
        view.put(_VERSION, __version__.encode())
        return replica, checkpoint


def _folded(view: StateView, log: StoredLog) -> Folded | None:
    """What the copy has come to; None at its beginning."""
    note = view.get(_NOTE)
    if note is None:
        return None
    if view.get(_VERSION) != __version__.encode():
        raise IntegrityError("the copy was made by another version", expected=__version__)
    log.require_sound_edge()
    return Folded(
        ledger_id=log.genesis().ledger_id,
        size=log.size,
        time_unix_ms=tip_of(State(state_of(view))).time_unix_ms,
        note=note,
    )

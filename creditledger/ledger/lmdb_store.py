"""The store on disk: LMDB in its default, synchronous mode only. Source: specs/ledger.md §3."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from creditledger.credits.state import Overlay, StateView
from creditledger.errors import BusyError, CreditLedgerError, IntegrityError, StorageError
from creditledger.ledger.directory import disk_errors, new_directory, sync_directory
from creditledger.ledger.known_rows import KnownRows
from creditledger.ledger.lmdb_rows import CommittedRows, checksum, new_known_rows
from creditledger.ledger.store import require_key

MAP_SIZE: Final = 256 * 1024 * 1024
MAP_SIZE_MAX: Final = 1 << 46
READERS_MAX: Final = 1_024
GROW_WAIT_SECONDS: Final = 10.0
"""How long growing the map waits for this process's readers to end."""
READER_CHECK_COMMITS: Final = 32
"""After so many commits the places of readers that died are cleared: each keeps old pages from reuse."""
_LMDB_MAJOR: Final = 0
_PAGE_MIN: Final = 4_096

_Result = TypeVar("_Result")

_forks = 0
"""How often this process is a fork of the one that imported this: asked far more often than a process id."""


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


class LmdbStore:
    """A `Store` in one directory. Not for network file systems; one process writes."""

    def __init__(self, path: Path, *, read_only: bool = False, map_size: int = MAP_SIZE) -> None:
        """Open what `create` made. ``map_size``: bytes to begin with; it doubles when full.

        Raises StorageError if there is no store, BusyError if this process has it open already."""
        _require_begun(path)
        self._path = path
        self._read_only = read_only
        self._pid, self._forks = os.getpid(), _forks
        self._failure = ""
        self._cause: BaseException | None = None
        self._readers = 0
        self._commits = 0
        self._known, self._known_moment = new_known_rows(), 0
        """What this writer knows of the rows before transaction ``_known_moment``."""
        self._gate = threading.Condition()
        self._turn = threading.Lock()
        self._environment: Any = _open_environment(path, read_only=read_only, map_size=map_size)

    @classmethod
    def create(cls, path: Path, *, map_size: int = MAP_SIZE) -> "LmdbStore":
        """Make an empty store at ``path``, which must not exist, and open it.

        Built beside it and renamed: a crash leaves a whole store or none. Raises StorageError."""
        with new_directory(path) as building:
            _open_environment(building, read_only=False, map_size=map_size, create=True).close()
        return cls(path, map_size=map_size)

    @contextmanager
    def read(self) -> Iterator[StateView]:
        """See `Store.read`."""
        transaction = self._begin_read()
        try:
            yield CommittedRows(transaction, self._guard)
        finally:
            transaction.abort()
            with self._gate:
                self._readers -= 1
                self._gate.notify_all()

    @contextmanager
    def write(self) -> Iterator[StateView]:
        """See `Store.write`. The changes wait in memory: a full map grows and they are put again."""
        if self._read_only:
            raise StorageError("store is open for reading", expected="a store open for writing")
        # Growing the map takes a moment without any transaction: the next writer waits for it too.
        with self._turn:
            transaction = self._begin(write=True)
            try:
                moment = transaction.id()
                changes = Overlay(CommittedRows(transaction, self._guard, self._known_before(moment)))
                yield changes
            except BaseException:
                transaction.abort()
                raise
            self._commit(transaction, moment, changes.changes)
            if changes.changes:
                for key, value in changes.changes.items():
                    self._known.note(key, value)
                self._known_moment = moment + 1
            self._commits += 1
            if self._commits % READER_CHECK_COMMITS == 0:
                self._guard(lambda: self._environment.reader_check())

    def close(self) -> None:
        """See `Store.close`. In a forked child the parent's files are left alone."""
        if self._environment is not None and os.getpid() == self._pid:
            self._environment.close()
        self._environment = None

    def reopen(self) -> None:
        """Open the files anew after a failure, as a new process would. Waits for the readers of this process.

        Raises as opening does; the store then stays failed."""
        with self._turn, self._gate:
            self._await_readers()
            map_size = MAP_SIZE if self._environment is None else int(self._environment.info()["map_size"])
            self.close()
            self._environment = _open_environment(self._path, read_only=self._read_only, map_size=map_size)
            self._failure, self._cause, self._known_moment = "", None, 0

    @property
    def map_size(self) -> int:
        """Bytes that the store may take before its map must grow."""
        return int(self._guard(lambda: self._environment.info()["map_size"]))

    def _begin_read(self) -> Any:
        with self._gate:
            transaction = self._begin(write=False)
            self._readers += 1
        return transaction

    def _begin(self, *, write: bool) -> Any:
        """Begin a transaction; where another process has grown the map, take its size over first."""
        import lmdb

        def begin() -> Any:
            try:
                return self._environment.begin(write=write)
            except lmdb.MapResizedError:
                with self._gate:
                    self._await_readers()
                    self._environment.set_mapsize(0)
                    return self._environment.begin(write=write)

        return self._guard(begin)

    def _known_before(self, moment: int) -> KnownRows:
        """What is known of the rows, if nobody else wrote since: transactions are numbered."""
        if moment != self._known_moment:
            self._known, self._known_moment = new_known_rows(), moment
        return self._known

    def _await_readers(self) -> None:
        """A map that changes takes the open transactions of this process with it. The gate is held."""
        if not self._gate.wait_for(lambda: self._readers == 0, timeout=GROW_WAIT_SECONDS):
            raise BusyError("the store has grown and its readers do not end", found=f"{self._readers} open")

    def _commit(self, transaction: Any, moment: int, changes: dict[bytes, bytes | None]) -> None:
        if not changes:
            transaction.abort()
            return
        while not self._is_committed(transaction, changes):
            self._grow()
            transaction = self._begin(write=True)
            if transaction.id() != moment:
                transaction.abort()
                raise self._poison("another process wrote between two attempts")

    def _is_committed(self, transaction: Any, changes: dict[bytes, bytes | None]) -> bool:
        """True with all changes on the disk; False if the map is full and the old state stands.

        Whether any other failed commit reached the disk, nobody knows: poisoned, no retry."""
        import lmdb

        try:
            for key, value in changes.items():
                if value is None:
                    transaction.delete(require_key(key))
                else:
                    transaction.put(require_key(key), value + checksum(key, value))
            transaction.commit()
        except lmdb.MapFullError:
            transaction.abort()
            return False
        except lmdb.Error as error:
            transaction.abort()
            raise self._poison(str(error), error) from error
        except BaseException:
            transaction.abort()
            raise
        return True

    def _grow(self) -> None:
        """Double the map. No transaction of this process may be open meanwhile."""
        with self._gate:
            self._await_readers()
            size = 2 * self.map_size
            if size > MAP_SIZE_MAX:
                raise StorageError("the store is full", expected=f"at most {MAP_SIZE_MAX} bytes")
            self._guard(lambda: self._environment.set_mapsize(size))
            self._guard(lambda: self._environment.reader_check())

    def _guard(self, action: Callable[..., _Result], *arguments: Any) -> _Result:
        """The result of ``action`` of ``arguments``, called many times an entry.

        LMDB's errors poison the store and come out as StorageError, pages that contradict themselves as
        IntegrityError."""
        if self._failure or self._environment is None or self._forks != _forks:
            raise self._unusable()
        try:
            return action(*arguments)
        except CreditLedgerError:
            raise
        except Exception as error:
            found = self._failed(error)
            if found is error:
                raise
            raise found from error

    def _unusable(self) -> StorageError:
        if self._failure:
            error = StorageError(f"store failed before: {self._failure}", expected="a store opened anew")
            error.__cause__ = self._cause
            return error
        if self._environment is None:
            return StorageError("store is closed", expected="an open store")
        found = f"process {os.getpid()}"
        return StorageError(
            "store was opened by another process", expected=f"process {self._pid}", found=found
        )

    def _failed(self, error: Exception) -> Exception:
        """What to raise for an error of an action; all but the store's own are handed back."""
        import lmdb

        if isinstance(error, lmdb.ReadersFullError):
            return BusyError("store has too many readers", expected=f"at most {READERS_MAX}")
        if isinstance(error, lmdb.CorruptedError | lmdb.PageNotFoundError | lmdb.InvalidError):
            self._poison(str(error), error)
            return _damaged(str(error), self._path)
        if isinstance(error, lmdb.Error | OSError):
            return self._poison(str(error), error)
        return error

    def _poison(self, failure: str, cause: BaseException | None = None) -> StorageError:
        self._failure, self._cause = failure[:200], cause
        return StorageError(f"store failed: {failure}", expected="a store opened anew", found=str(self._path))


def _require_begun(path: Path) -> None:
    """There is a store, and its two meta pages at least: LMDB would start an emptied one afresh."""
    data = path / "data.mdb"
    with disk_errors(data):
        if not data.is_file():
            raise StorageError("there is no store", expected="data.mdb", found=str(path)[-100:])
        size = data.stat().st_size
    if size < 2 * _PAGE_MIN:
        raise IntegrityError(
            "store is cut short", expected=f"at least {2 * _PAGE_MIN} bytes", found=str(size)
        )


def _require_whole(path: Path, environment: Any) -> None:
    """Every page that the store speaks of is in its file: reading beyond it would kill the process."""
    pages = environment.info()["last_pgno"] + 1
    expected = pages * environment.stat()["psize"]
    with disk_errors(path):
        found = (path / "data.mdb").stat().st_size
    if found < expected:
        raise IntegrityError("store is cut short", expected=f"{expected} bytes", found=str(found))


def _open_environment(path: Path, *, read_only: bool, map_size: int, create: bool = False) -> Any:
    import lmdb

    # New files keep the 0.9 format whatever LMDB_DEFAULT_LIB_VERSION says.
    pinned: dict[str, Any] = (
        {"lib_version": _LMDB_MAJOR} if int(lmdb.__version__.partition(".")[0]) >= 3 else {}
    )
    try:
        environment = lmdb.open(
            str(path),
            map_size=map_size,
            readonly=read_only,
            create=create,
            sync=True,
            metasync=True,
            writemap=False,
            map_async=False,
            max_readers=READERS_MAX,
            max_spare_txns=0,
            mode=0o600,
            **pinned,
        )
    except lmdb.Error as error:
        if "already open" in str(error):
            raise BusyError("this process has the store open already", found=str(path)[-100:]) from error
        if isinstance(error, lmdb.CorruptedError | lmdb.InvalidError | lmdb.VersionMismatchError):
            raise _damaged(str(error), path) from error
        raise StorageError(f"store cannot be opened: {error}", found=str(path)[-100:]) from error
    try:
        _require_whole(path, environment)
        if not read_only:
            environment.reader_check()
            # A writer that was killed may have left a commit in the page cache only: nothing is built
            # on it, and nothing repeated as acknowledged, before it is on the disk.
            environment.sync(True)
        if create:
            with disk_errors(path):
                sync_directory(path)
    except lmdb.Error as error:
        environment.close()
        raise StorageError(f"store cannot be opened: {error}", found=str(path)[-100:]) from error
    except BaseException:
        environment.close()
        raise
    return environment


def _damaged(failure: str, path: Path) -> IntegrityError:
    return IntegrityError(f"the store is damaged: {failure}", found=str(path)[-100:])

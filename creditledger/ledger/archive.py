"""A whole ledger in one file, for another machine: written out, and read in. Source: specs/postgres.md §6.

The directory's files, private keys among them, then all rows, then a hash over it all."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Final

from creditledger.errors import ConflictError, IntegrityError, MalformedRecordError
from creditledger.ledger.directory import (
    BUILDING,
    LedgerDirectory,
    WriterLock,
    disk_errors,
    is_there,
    new_directory,
    sync_directory,
    sync_file,
)
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.store import KEY_BYTES_MAX
from creditledger.ledger.store_move import move_store
from creditledger.ledger.store_place import database_of
from creditledger.ledger.stored_log import StoredLog
from creditledger.ledger.whole_rows import copy_rows, digest_of_rows, require_same, writing_store

FORMAT: Final = b"creditledger archive 1\n"
CHUNK_BYTES: Final = 1024 * 1024
VALUE_BYTES_MAX: Final = 8 * 1024 * 1024
NAME_BYTES_MAX: Final = 1_024
MODE: Final = 0o755
"""Nobody but its owner may ever write what is carried."""
_DIGEST_SIZE: Final = 32
_NOT_CARRIED: Final = ("store", "lock", BUILDING)
"""Names in the directory that begin so belong to this machine."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What was written out, or read in."""

    size: int
    """Entries."""
    root: bytes
    """32 bytes."""
    rows: int


def write_archive(
    path: Path, write: Callable[[bytes], object], *, on_rows: Progress = lambda done, rows: None
) -> Carried:
    """Hand the archive of the ledger in ``path`` to ``write``, piece by piece; nobody writes it meanwhile.

    ``on_rows`` is told now and then how many rows are written, and of how many. Raises BusyError where
    somebody writes the ledger, StorageError, IntegrityError."""
    directory = LedgerDirectory(path)
    lock = WriterLock(directory.lock)
    out = _Writer(write)
    try:
        with writing_store(directory.store) as store, store.read() as view:
            log = StoredLog(view)
            log.require_sound_edge()
            digest, rows = digest_of_rows(view)
            out.put(FORMAT + digest + rows.to_bytes(8, "big"))
            for place in _places(path):
                out.put_place(place, place.relative_to(path).as_posix())
            out.put((0).to_bytes(2, "big"))
            for number, (key, value) in enumerate(view.scan(b"")):
                out.put(_framed(key, 2) + _framed(value, 4))
                if number % 4_096 == 0:
                    on_rows(number, rows)
            out.end()
            on_rows(rows, rows)
            return Carried(size=log.size, root=log.root, rows=rows)
    finally:
        lock.close()


def read_archive(
    file: IO[bytes], path: Path, url: str | None = None, *, on_rows: Progress = lambda done, rows: None
) -> Carried:
    """Make the ledger at ``path`` that `write_archive` wrote, its rows in the database at ``url`` or in its
    own directory. Stopped at any moment it leaves nothing, or a whole ledger: the same again then ends it.

    Raises MalformedRecordError for a file that is no archive, IntegrityError for a damaged one or one without
    a sound ledger in it, ConflictError where another ledger is, StorageError, BusyError."""
    if file.read(len(FORMAT)) != FORMAT:
        raise MalformedRecordError("not an archive of a ledger", expected=FORMAT.decode().strip())
    archive = _Reader(file)
    if url is not None:
        from creditledger.ledger.postgres_session import DatabaseUrl

        DatabaseUrl.parse(url)
    digest, rows = archive.take(_DIGEST_SIZE), int.from_bytes(archive.take(8), "big")
    if not is_there(path / "store"):
        with new_directory(path) as building:
            archive.take_files(building)
            _fill(building / "store", archive, rows, lambda done: on_rows(done, rows))
            archive.require_end()
            _require_sound(building, digest)
    carried = _require_sound(path, digest)
    if url is not None and database_of(path / "store") is None:
        move_store(path, url, on_rows=on_rows)
    return carried


def _fill(path: Path, archive: "_Reader", rows: int, on_rows: Callable[[int], None]) -> None:
    store = LmdbStore.create(path)
    try:
        copy_rows(archive.take_rows(rows), store, on_rows)
    finally:
        store.close()


def _require_sound(path: Path, digest: bytes) -> Carried:
    """The ledger at ``path`` has these rows, a tree and sums that agree, and the head that was signed for it.

    Raises IntegrityError, ConflictError."""
    store = LedgerDirectory(path).store
    with writing_store(store) as opened, opened.read() as view:
        found, rows = digest_of_rows(view)
        if found != digest:
            raise ConflictError(
                "another ledger lies there, or this one went on", expected=digest.hex(), found=found.hex()
            )
        require_same(opened, digest)
        log = StoredLog(view)
    with Ledger.open(path, read_only=True) as ledger:  # head, policy and what was published fit the rows
        ledger.checkpoint()
    return Carried(size=log.size, root=log.root, rows=rows)


def _places(path: Path) -> Iterator[Path]:
    """The directory's folders and files but those of this machine, a folder before what is in it."""
    for place, folders, names in os.walk(path):
        is_top = Path(place) == path
        folders[:] = sorted(name for name in folders if not (is_top and name.startswith(_NOT_CARRIED)))
        yield from (Path(place) / name for name in folders)
        for name in sorted(names):
            if not name.startswith(_NOT_CARRIED if is_top else BUILDING):
                yield Path(place) / name


def _framed(content: bytes, width: int) -> bytes:
    return len(content).to_bytes(width, "big") + content


class _Writer:
    """Hashes what it writes, and writes much at once."""

    __slots__ = ("_hash", "_held", "_write")

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write = write
        self._hash = sha256()
        self._held = bytearray()

    def put(self, content: bytes) -> None:
        self._hash.update(content)
        self._held += content
        if len(self._held) >= CHUNK_BYTES:
            self._write(bytes(self._held))
            self._held.clear()

    def put_place(self, path: Path, name: str) -> None:
        """A folder, whose name then ends so, or a file."""
        with disk_errors(path):
            mode, is_folder = path.stat().st_mode, path.is_dir()
            if is_folder:
                self._put_head(f"{name}/", mode, 0)
            else:
                with path.open("rb") as file:
                    self._put_file(file, name, mode)

    def _put_head(self, name: str, mode: int, size: int) -> None:
        self.put(_framed(name.encode(), 2) + (mode & MODE).to_bytes(2, "big") + size.to_bytes(8, "big"))

    def _put_file(self, file: IO[bytes], name: str, mode: int) -> None:
        rest = os.fstat(file.fileno()).st_size
        self._put_head(name, mode, rest)
        while rest and (content := file.read(min(rest, CHUNK_BYTES))):
            self.put(content)
            rest -= len(content)
        if rest:
            raise IntegrityError("a file was cut short while it was read", found=name[-100:])

    def end(self) -> None:
        self._write(bytes(self._held) + self._hash.digest())


class _Reader:
    """Hashes what it reads behind `FORMAT`. A file that ends too soon is damaged."""

    __slots__ = ("_file", "_hash")

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._hash = sha256(FORMAT)

    def take(self, size: int) -> bytes:
        content = self._file.read(size)
        if len(content) != size:
            raise IntegrityError(
                "the archive ends too soon", expected=f"{size} bytes", found=str(len(content))
            )
        self._hash.update(content)
        return content

    def take_framed(self, width: int, *, most: int, what: str) -> bytes:
        size = int.from_bytes(self.take(width), "big")
        if size > most:
            raise MalformedRecordError(
                f"{what} is too long", expected=f"at most {most} bytes", found=str(size)
            )
        return self.take(size)

    def take_files(self, folder: Path) -> None:
        """Put all folders and files into ``folder``, durably: names that they may have, and none twice."""
        folders = [folder]
        while name := self.take_framed(2, most=NAME_BYTES_MAX, what="a name"):
            path = folder / _sound_name(name.removesuffix(b"/"))
            mode, size = int.from_bytes(self.take(2), "big") & MODE, int.from_bytes(self.take(8), "big")
            with disk_errors(path):
                if name.endswith(b"/"):
                    path.mkdir(mode=mode)
                    folders.append(path)
                else:
                    self._take_file(path, mode, size)
        for each in folders:
            sync_directory(each)

    def _take_file(self, path: Path, mode: int, rest: int) -> None:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            while rest:
                rest -= file.write(self.take(min(rest, CHUNK_BYTES)))
        sync_file(path)

    def take_rows(self, rows: int) -> Iterator[tuple[bytes, bytes]]:
        """So many rows, ascending."""
        before = b""
        for _ in range(rows):
            key = self.take_framed(2, most=KEY_BYTES_MAX, what="a row's key")
            if key <= before:
                raise MalformedRecordError(
                    "rows are out of order", expected=f"above {before.hex()}", found=key.hex()
                )
            before = key
            yield key, self.take_framed(4, most=VALUE_BYTES_MAX, what="a row")

    def require_end(self) -> None:
        """The hash over everything, and nothing behind it."""
        expected = self._hash.digest()
        found = self._file.read(_DIGEST_SIZE + 1)
        if found != expected:
            raise IntegrityError(
                "the archive is damaged", expected=expected.hex(), found=found[:_DIGEST_SIZE].hex()
            )


def _sound_name(name: bytes) -> PurePosixPath:
    """A path below a ledger's directory, of what is carried. Raises MalformedRecordError."""
    try:
        path = PurePosixPath(name.decode())
    except UnicodeDecodeError as error:
        raise MalformedRecordError("a name is not text", found=name[:60].hex()) from error
    parts = path.parts
    if path.as_posix().encode() != name or path.is_absolute() or ".." in parts or "\0" in path.as_posix():
        raise MalformedRecordError("a name leads elsewhere", found=ascii(path.as_posix()[:100]))
    if parts[0].startswith(_NOT_CARRIED):
        raise MalformedRecordError("a name is not carried", found=ascii(path.as_posix()[:100]))
    return path

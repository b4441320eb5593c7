"""Where a ledger's files lie, and how a file becomes durable. Source: specs/ledger.md §1."""

import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from creditledger.errors import BusyError, IntegrityError, StorageError

BUILDING: Final = ".building-"
"""Names that begin so are left over from a crash and may be deleted."""
FILE_BYTES_MAX: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LedgerDirectory:
    """The names inside a ledger's directory."""

    path: Path

    @property
    def store(self) -> Path:
        """The LMDB environment."""
        return self.path / "store"

    @property
    def head(self) -> Path:
        """The signed head that no acknowledgement comes before."""
        return self.path / "head"

    @property
    def lock(self) -> Path:
        """Locked by the one writer."""
        return self.path / "lock"

    @property
    def policy(self) -> Path:
        """The trust policy for readers."""
        return self.path / "policy"

    @property
    def public(self) -> Path:
        """The static log tree: anything may serve it."""
        return self.path / "public"

    @property
    def keys(self) -> Path:
        """Private key files, mode 0600, if they are kept here."""
        return self.path / "keys"

    @property
    def sealed(self) -> Path:
        """Sealed sketches, one file per SHA-256, erased after the window."""
        return self.path / "sealed"

    @property
    def evidence(self) -> Path:
        """What validators were shown, one file per input root."""
        return self.path / "evidence"

    @property
    def canaries(self) -> Path:
        """What the operator knows of its canaries until it opens them."""
        return self.path / "canaries"

    @property
    def service(self) -> Path:
        """Whom the service lets in: tokens by their hashes, invitations, who asked to join."""
        return self.path / "service"

    @property
    def service_settings(self) -> Path:
        """How the service lets in whom; absent for the defaults."""
        return self.path / "service.toml"

    @property
    def witness(self) -> Path:
        """What the local witness has seen."""
        return self.path / "witness"


def require_free(path: Path) -> None:
    """``path`` may become a directory: nothing is there, or an empty one. Raises StorageError."""
    with disk_errors(path):
        taken = path.is_symlink() or (path.exists() and (not path.is_dir() or any(path.iterdir())))
    if taken:
        raise StorageError("path is taken", expected="no file or an empty directory", found=str(path)[-100:])


@contextmanager
def new_directory(path: Path, *, mode: int = 0o755) -> Iterator[Path]:
    """A directory to fill, which then becomes ``path``, whole or not at all.

    Raises StorageError if ``path`` exists (an empty directory does not count) or the disk fails."""
    require_free(path)
    building = path.parent / f"{BUILDING}{path.name}-{os.urandom(4).hex()}"
    with disk_errors(path):
        building.mkdir(mode=mode)
        try:
            yield building
            sync_directory(building)
            # rename replaces an empty directory, and fails on one that somebody filled meanwhile.
            os.rename(building, path)
            sync_directory(path.parent)
        except BaseException:
            shutil.rmtree(building, ignore_errors=True)
            raise


def replace_file(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Make ``content`` the file at ``path``: on return it survives power loss, torn never.

    Raises StorageError; the old file then stands."""
    building = path.parent / f"{BUILDING}{path.name}-{os.urandom(4).hex()}"
    with disk_errors(path):
        try:
            write_new(building, content, mode=mode)
            os.replace(building, path)
        except BaseException:
            building.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)


flush: Final[Callable[[int], None]] = getattr(os, "fdatasync", os.fsync)
"""Makes a descriptor's content durable, and of its metadata what reading that needs."""


def write_over(path: Path, content: bytes, *, offset: int) -> None:
    """Put ``content`` into a file that is there, from ``offset`` on: on return it survives power loss.

    Raises StorageError; what is there may then be anything."""
    with disk_errors(path):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            written = os.pwrite(descriptor, content, offset)
            if written != len(content):
                raise OSError(errno.ENOSPC, "a block was not written whole")
            flush(descriptor)
        finally:
            os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make a file's content durable, whoever wrote it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_there(path: Path) -> bool:
    """Whether anything is at ``path``. Raises StorageError when the disk does not say."""
    with disk_errors(path):
        return path.exists()


def write_new(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a file that does not exist yet and sync it; its directory entry is the caller's to sync."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb", closefd=True) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_once(path: Path, content: bytes, *, mode: int = 0o644) -> bool:
    """Make ``content`` the file at ``path`` for ever; whether it was not there before.

    The same content again is a success, other content an IntegrityError. The caller syncs the
    directory. Raises StorageError."""
    with disk_errors(path):
        if path.exists():
            if path.read_bytes() != content:
                raise IntegrityError("a write-once file has other content", found=str(path)[-150:])
            return False
        building = path.parent / f"{BUILDING}{path.name}-{os.urandom(4).hex()}"
        try:
            write_new(building, content, mode=mode)
            os.rename(building, path)
        except BaseException:
            building.unlink(missing_ok=True)
            raise
        return True


def read_file(path: Path, *, what: str, most: int = FILE_BYTES_MAX) -> bytes:
    """The content of ``path``, at most ``most`` bytes. Raises StorageError."""
    with disk_errors(path), path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise StorageError(f"{what} is too long", expected=f"at most {most} bytes", found=str(path)[-100:])
    return content


def sync_directory(path: Path) -> None:
    """Make the names in ``path`` durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into StorageError."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{error.strerror or error}: {path}"[-300:], found=type(error).__name__) from error


class WriterLock:
    """The exclusive right to write a ledger, held until closed or until the process dies."""

    __slots__ = ("_descriptor",)

    def __init__(self, path: Path, *, taken: str = "another writer has this ledger open") -> None:
        """Raises BusyError, which says ``taken``, if another has it."""
        with disk_errors(path):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise BusyError(taken, found=str(path)[-100:]) from error

    def close(self) -> None:
        """Let the next writer in; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

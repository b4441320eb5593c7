"""A file that a verb writes: its place is taken before anything is logged. Source: specs/cli.md §2."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from creditledger.errors import StorageError


@contextmanager
def output_file(path: Path, *, mode: int = 0o644, replaces: bool = True) -> Iterator[Callable[[bytes], None]]:
    """Hands out what writes ``path``; on an error in between, nothing is left there.

    So a disk that cannot be written refuses before a record is signed and not after. The content is
    durable and whole or not there. ``replaces``: whether a file may be there already. Raises StorageError."""
    if not replaces and path.exists():
        raise StorageError("file exists", expected="a new path", found=str(path)[-100:])
    building = path.with_name(f".{path.name}-{os.urandom(4).hex()}")
    try:
        descriptor = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    try:
        with open(descriptor, "wb") as file:
            yield lambda content: _write(file.fileno(), content)
        os.replace(building, path) if replaces else os.link(building, path)
        _sync_directory(path.parent)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        building.unlink(missing_ok=True)


def _write(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

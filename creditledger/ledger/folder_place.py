"""A published tree in a folder, for any web server to serve. Source: specs/ledger.md §16."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from creditledger.errors import IntegrityError, StorageError
from creditledger.ledger.directory import disk_errors, read_file, replace_file, sync_directory, write_once
from creditledger.ledger.tree_place import Found


class FolderPlace:
    """A `TreePlace` in a folder of this machine, which is made if it is not there."""

    __slots__ = ("_folder",)

    def __init__(self, folder: Path) -> None:
        """Raises StorageError."""
        self._folder = folder
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def find(self, path: str, *, most: int) -> Found | None:
        try:
            content = read_file(self._folder / path, what="published file", most=most)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        return Found(content=content, tag=sha256(content).hexdigest())

    def create(self, path: str, content: bytes) -> bool:
        target = self._folder / path
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
        try:
            is_new = write_once(target, content)
        except IntegrityError:
            return False
        with disk_errors(target):
            for folder in (target.parent, *target.parent.parents):
                if folder == self._folder or self._folder in folder.parents:
                    sync_directory(folder)
        return is_new

    def replace(self, path: str, content: bytes, *, found: Found | None) -> bool:
        with self._turn():
            now = self.find(path, most=len(content) + 2**20)
            if (now and now.tag) != (found and found.tag):
                return False
            replace_file(self._folder / path, content)
            return True

    def remove_below(self, prefix: str) -> None:
        shutil.rmtree(self._folder / prefix, ignore_errors=True)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One publisher at a time looks and then writes."""
        with disk_errors(self._folder):
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

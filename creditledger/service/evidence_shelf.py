"""Evidence that came over the network, on disk: written once, durable, and no more than its bringer's share.

Source: specs/service.md §6.1."""

import os
import re
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import file_digest, sha256
from io import BufferedReader
from pathlib import Path
from typing import Final

from creditledger.errors import (
    BusyError,
    ConflictError,
    RateLimitError,
    StorageError,
    VerificationError,
)
from creditledger.ledger.directory import BUILDING, disk_errors, sync_directory
from creditledger.ledger.disk_space import no_room

ARRIVALS_MAX: Final = 64
ARRIVALS_EACH_MAX: Final = 4
RETRY_SECONDS: Final = 3_600
COUNT_SECONDS: Final = 60.0
"""What a full shelf holds is counted anew at most so often: others erase."""
_BROUGHT: Final = re.compile(r"[0-9a-f]{64}-by-([0-9a-f]{64})(\.[a-z]+)?")
_LEFT_OVER: Final = re.compile(rf"{re.escape(BUILDING)}[0-9a-f]{{32}}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """How much may lie on a shelf."""

    bytes_each: int = 8 << 30
    """Of one account, or one committee member."""
    files_each: int = 65_536
    bytes_all: int = 256 << 30
    free_bytes: int = 256 << 20
    """What stays free on the disk: the log needs room too."""


QUOTA: Final = Quota()


class EvidenceShelf:
    """One folder of sealed files. For many threads of the one process that writes there; others erase."""

    def __init__(
        self,
        folder: Path,
        *,
        quota: Quota = QUOTA,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``folder`` need not be there yet."""
        self._folder = folder
        self._quota = quota
        self._monotonic = monotonic
        self._turn = threading.Lock()
        self._used: dict[bytes, _Used] | None = None
        self._counted_s = 0.0
        self._arriving: dict[str, tuple[bytes, int]] = {}

    def find(self, *names: str) -> tuple[BufferedReader, int] | None:
        """The first of these files that is there, open, and its size. Raises StorageError."""
        for name in names:
            with disk_errors(self._folder), suppress(FileNotFoundError):
                file = (self._folder / name).open("rb")
                return file, os.fstat(file.fileno()).st_size
        return None

    def holds(self, name: str, *, digest: bytes) -> bool:
        """Whether the file with this SHA-256 is there already. Raises ConflictError for another."""
        found = self.find(name)
        if found is None:
            return False
        with found[0] as file, disk_errors(self._folder):
            there = file_digest(file, "sha256").digest()
        if there != digest:
            raise ConflictError("evidence is written once", expected=there.hex(), found=digest.hex())
        return True

    @contextmanager
    def arrival(self, name: str, *, size: int, digest: bytes, by: bytes) -> Iterator["Arrival"]:
        """Takes a new file of ``size`` bytes with this SHA-256, brought by an account or member.

        Raises RateLimitError beyond its share, BusyError where it or everybody brings too much at once,
        StorageError where there is no room."""
        self._reserve(name, size, by)
        is_kept = False
        try:
            arrival = Arrival(self._folder, name, digest=digest)
            try:
                yield arrival
            finally:
                arrival.drop()
                is_kept = arrival.is_kept
        finally:
            with self._turn:
                del self._arriving[name]
                if is_kept and self._used is not None:
                    self._used[by].add(size)

    def _reserve(self, name: str, size: int, by: bytes) -> None:
        with self._turn:
            own = sum(who == by for who, _ in self._arriving.values())
            if name in self._arriving or own >= ARRIVALS_EACH_MAX or len(self._arriving) >= ARRIVALS_MAX:
                raise BusyError("too much evidence at once", expected=f"at most {ARRIVALS_EACH_MAX} each")
            with disk_errors(self._folder):
                self._folder.mkdir(exist_ok=True)
                try:
                    self._require_room(size, by)
                except (RateLimitError, StorageError):
                    # Somebody may have erased some since it was counted.
                    if self._monotonic() < self._counted_s + COUNT_SECONDS:
                        raise
                    self._used = None
                    self._require_room(size, by)
            self._arriving[name] = (by, size)

    def _require_room(self, size: int, by: bytes) -> None:
        quota, used = self._quota, self._counted()
        coming = [coming for who, coming in self._arriving.values() if who == by]
        files, taken = used[by].files + len(coming), used[by].bytes + sum(coming)
        if files >= quota.files_each or taken + size > quota.bytes_each:
            raise RateLimitError(
                "the share of evidence is used up",
                expected=f"at most {quota.files_each} files, {quota.bytes_each} bytes",
                found=f"{files} files, {taken} bytes, {size} more",
                retry_after_s=RETRY_SECONDS,
            )
        coming_all = sum(coming for _, coming in self._arriving.values())
        taken = sum(each.bytes for each in used.values()) + coming_all
        disk = os.statvfs(self._folder)
        free = disk.f_bavail * disk.f_frsize - coming_all
        if taken + size > quota.bytes_all or free - size < quota.free_bytes:
            raise no_room(StorageError(f"{size} bytes more of evidence: {taken} there, {free} free"))

    def _counted(self) -> dict[bytes, "_Used"]:
        if self._used is None:
            self._used = defaultdict(_Used)
            self._counted_s = self._monotonic()
            with os.scandir(self._folder) as found:
                for entry in found:
                    if _LEFT_OVER.fullmatch(entry.name) and not self._arriving:
                        os.unlink(entry.path)
                        continue
                    with suppress(FileNotFoundError):
                        self._used[_bringer(entry.name)].add(entry.stat().st_size)
        return self._used


@dataclass(slots=True)
class _Used:
    files: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        self.files += 1
        self.bytes += size


class Arrival:
    """A file while it comes: beside its place, until it is whole."""

    def __init__(self, folder: Path, name: str, *, digest: bytes) -> None:
        """Raises StorageError."""
        self._path = folder / name
        self._digest = digest
        self._building = folder / f"{BUILDING}{secrets.token_hex(16)}"
        self._running = sha256()
        self.is_kept = False
        with disk_errors(self._path):
            self._descriptor = os.open(self._building, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def add(self, piece: bytes) -> None:
        """What comes next. Raises StorageError."""
        self._running.update(piece)
        rest = memoryview(piece)
        with disk_errors(self._path):
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]

    def keep(self) -> None:
        """All has come: on return it survives power loss.

        Raises VerificationError for other bytes than their digest says, ConflictError where somebody was
        quicker, StorageError."""
        if self._running.digest() != self._digest:
            raise VerificationError(
                "not the bytes announced", expected=self._digest.hex(), found=self._running.hexdigest()
            )
        with disk_errors(self._path):
            os.fsync(self._descriptor)
            try:
                os.link(self._building, self._path)
            except FileExistsError as error:
                raise ConflictError("evidence is written once", found=self._path.name[:150]) from error
            self._building.unlink()
            sync_directory(self._path.parent)
        self.is_kept = True

    def drop(self) -> None:
        """Let go of what was not kept."""
        with suppress(OSError):
            os.close(self._descriptor)
        with suppress(OSError):
            self._building.unlink(missing_ok=True)


def _bringer(name: str) -> bytes:
    found = _BROUGHT.fullmatch(name)
    return bytes.fromhex(found[1]) if found else b""

"""Which orders a node has begun: each once, whatever happens to the process. Source: specs/service.md §8."""

from collections.abc import Callable
from pathlib import Path

from creditledger.errors import ConflictError
from creditledger.ledger.directory import disk_errors, sync_directory, write_new


class OrdersTaken:
    """A directory with an empty file a job, named by its digest and when it expires."""

    def __init__(self, directory: Path, *, clock: Callable[[], int]) -> None:
        """Forgets the jobs that have expired. Raises StorageError."""
        self._directory = directory
        with disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            for path in directory.iterdir():
                if path.suffix[1:].isdigit() and int(path.suffix[1:]) <= clock():
                    path.unlink(missing_ok=True)

    def add(self, job: bytes, *, expires_unix_ms: int) -> None:
        """Durable on return. Raises ConflictError for a job that was taken before, StorageError."""
        path = self._path(job, expires_unix_ms)
        with disk_errors(path):
            try:
                write_new(path, b"")
            except FileExistsError:
                raise ConflictError("the order was taken before", found=job.hex()) from None
            sync_directory(self._directory)

    def forget(self, job: bytes, *, expires_unix_ms: int) -> None:
        """No work was done on it after all: it may be taken again. Raises StorageError."""
        path = self._path(job, expires_unix_ms)
        with disk_errors(path):
            path.unlink(missing_ok=True)

    def _path(self, job: bytes, expires_unix_ms: int) -> Path:
        return self._directory / f"{job.hex()}.{expires_unix_ms}"

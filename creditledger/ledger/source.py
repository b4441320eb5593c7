"""Where a reader gets a published log from. Source: specs/ledger.md §6."""

from pathlib import Path
from typing import Final, Protocol

from creditledger.errors import StorageError, VerificationError
from creditledger.ledger.directory import read_file
from creditledger.ledger.publish import CHECKPOINT, body_path
from creditledger.ledger.stored_log import body_names, decode_bodies
from creditledger.records.record import Record
from creditledger.transparency.note import NOTE_SIZE_MAX
from creditledger.transparency.tile import Tile

FILE_BYTES_MAX: Final = 17 * 1024 * 1024
"""No file of a log is longer: 256 entries of 65,535 bytes with their lengths."""


class LogSource(Protocol):
    """The files of a public log, none of them believed.

    Every method raises VerificationError for a file that is not there, and StorageError or BusyError
    when it cannot be told."""

    def checkpoint(self) -> bytes:
        """The newest checkpoint note."""

    def tile(self, tile: Tile) -> bytes:
        """A tile of hashes or a bundle of entries, exactly this one."""

    def bodies(self, name: bytes) -> bytes:
        """The canonical array of bodies that a record names by this digest."""


class DirectorySource:
    """A `LogSource` over a ledger's ``public`` directory, or a mirror's copy of it."""

    __slots__ = ("_public",)

    def __init__(self, public: Path) -> None:
        self._public = public

    def checkpoint(self) -> bytes:
        return self._read(CHECKPOINT, most=NOTE_SIZE_MAX)

    def tile(self, tile: Tile) -> bytes:
        return self._read(tile.path)

    def bodies(self, name: bytes) -> bytes:
        return self._read(body_path(name))

    def _read(self, path: str, *, most: int = FILE_BYTES_MAX) -> bytes:
        target = self._public / path
        try:
            return read_file(target, what="published file", most=most)
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise VerificationError("the log lacks a file", expected=path, found="nothing") from error
            raise


def published_bodies(source: LogSource, record: Record) -> tuple[bytes, ...]:
    """The bodies that ``record`` names, as ``source`` has them. Raises VerificationError if one is missing
    that must be there, MalformedRecordError, StorageError."""
    bodies: list[bytes] = []
    for name, is_needed in body_names(record):
        try:
            bodies.extend(decode_bodies(source.bodies(name)))
        except VerificationError:
            if is_needed:
                raise
    return tuple(bodies)

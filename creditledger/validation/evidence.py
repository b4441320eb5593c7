"""Where a validator gets what a check needs; nothing of it is believed before it is opened.

Source: specs/validation.md §4."""

from hashlib import sha256
from pathlib import Path
from typing import Protocol

from creditledger.errors import MalformedRecordError, StorageError
from creditledger.ledger.directory import LedgerDirectory, read_file
from creditledger.ledger.publish import body_path
from creditledger.ledger.stored_log import decode_bodies
from creditledger.minting.handover import HANDOVER_BYTES_MAX, HANDOVER_SUFFIX
from creditledger.minting.kept_inputs import SEALED_INPUTS_BYTES_MAX


class EvidenceSource(Protocol):
    """Finds evidence by name. None is an answer: it is not to be had. Each may raise StorageError or
    BusyError when that cannot be told."""

    def sealed_sketches(self, digest: bytes) -> bytes | None:
        """The sealed sketches with this SHA-256."""

    def inputs(self, input_root: bytes) -> bytes | None:
        """The sealed inputs of the window with this input root, by whoever kept them."""

    def handover(self, input_root: bytes) -> bytes | None:
        """The signed handover that came with the inputs under this root."""

    def profile(self, digest: bytes) -> bytes | None:
        """The calibration profile with this SHA-256."""


class DirectoryEvidence:
    """An `EvidenceSource` over a ledger's directory."""

    def __init__(self, path: Path) -> None:
        self._directory = LedgerDirectory(path)

    def sealed_sketches(self, digest: bytes) -> bytes | None:
        found = _read(self._directory.sealed / digest.hex())
        return found if found is not None and sha256(found).digest() == digest else None

    def inputs(self, input_root: bytes) -> bytes | None:
        return _read(self._directory.evidence / input_root.hex(), most=SEALED_INPUTS_BYTES_MAX)

    def handover(self, input_root: bytes) -> bytes | None:
        name = input_root.hex() + HANDOVER_SUFFIX
        return _read(self._directory.evidence / name, most=HANDOVER_BYTES_MAX)

    def profile(self, digest: bytes) -> bytes | None:
        published = _read(self._directory.public / body_path(digest))
        try:
            bodies = () if published is None else decode_bodies(published)
        except MalformedRecordError:
            return None
        return next((body for body in bodies if sha256(body).digest() == digest), None)


def _read(path: Path, *, most: int = 16 * 1024 * 1024) -> bytes | None:
    try:
        return read_file(path, what="evidence", most=most)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise

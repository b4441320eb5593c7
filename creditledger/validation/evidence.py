"""Where a validator gets what a check needs; nothing of it is believed before it is opened.

Source: specs/validation.md §4."""

import re
from hashlib import sha256
from pathlib import Path
from typing import Final, Protocol

from creditledger.errors import MalformedRecordError, StorageError
from creditledger.ledger.directory import (
    LedgerDirectory,
    disk_errors,
    read_file,
    sync_directory,
    write_once,
)
from creditledger.ledger.publish import body_path
from creditledger.ledger.stored_log import decode_bodies
from creditledger.minting.handover import HANDOVER_BYTES_MAX, HANDOVER_SUFFIX
from creditledger.minting.kept_inputs import SEALED_INPUTS_BYTES_MAX
from creditledger.validation.evidence_bundle import SEALED_EVIDENCE_BYTES_MAX

REFUTATION_SUFFIX: Final = ".refutation"


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


class EvidenceSink(Protocol):
    """Takes what a refutation rests on, for the accused and the committee to find."""

    def ship(self, name: str, sealed: bytes) -> None:
        """Publish a sealed evidence bundle under `refutation_name`, durably; the same again is a success.

        Raises IntegrityError for other content under that name, StorageError, BusyError."""


def refutation_name(receipt: bytes, *, round_number: int, member: int) -> str:
    """What a sealed evidence bundle is called beside the log. Source: specs/validation.md §10."""
    return f"{receipt.hex()}-{round_number}-{member}{REFUTATION_SUFFIX}"


class DirectoryEvidence:
    """An `EvidenceSource` and an `EvidenceSink` over a ledger's directory."""

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

    def ship(self, name: str, sealed: bytes) -> None:
        folder = self._directory.evidence
        with disk_errors(folder):
            folder.mkdir(exist_ok=True)
            write_once(folder / name, sealed)
            sync_directory(folder)

    def refutations(self, receipt: bytes) -> list[tuple[int, int]]:
        """Round and member of each sealed evidence bundle about ``receipt``, ascending.

        Raises StorageError."""
        named = re.compile(rf"{receipt.hex()}-([0-9]{{1,19}})-([0-9]{{1,4}}){re.escape(REFUTATION_SUFFIX)}")
        folder = self._directory.evidence
        with disk_errors(folder):
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted((int(found[1]), int(found[2])) for found in map(named.fullmatch, names) if found)

    def refutation(self, receipt: bytes, *, round_number: int, member: int) -> bytes | None:
        """One of them, sealed. Raises StorageError."""
        name = refutation_name(receipt, round_number=round_number, member=member)
        return _read(self._directory.evidence / name, most=SEALED_EVIDENCE_BYTES_MAX)


def _read(path: Path, *, most: int = 16 * 1024 * 1024) -> bytes | None:
    try:
        return read_file(path, what="evidence", most=most)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise

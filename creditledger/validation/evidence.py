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
    is_there,
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

    def inputs(self, input_root: bytes, *, holder: bytes) -> bytes | None:
        """The sealed inputs of the window with this input root: what the account ``holder`` brought before
        what nobody's name is on. Another's cannot stand in their place."""

    def has_inputs(self, input_root: bytes, *, holder: bytes) -> bool:
        """Whether `inputs` would find any."""

    def handover(self, input_root: bytes, *, holder: bytes) -> bytes | None:
        """The signed handover that came with the inputs under this root, by ``holder`` as `inputs`."""

    def profile(self, digest: bytes) -> bytes | None:
        """The calibration profile with this SHA-256."""


class EvidenceSink(Protocol):
    """Takes what a refutation rests on, for the accused and the committee to find."""

    def ship(self, name: str, sealed: bytes) -> None:
        """Publish a sealed evidence bundle under `refutation_name`, durably; the same again is a success.

        Raises IntegrityError for other content under that name, StorageError, BusyError."""


def brought_name(input_root: bytes, account: bytes, *, suffix: str = "") -> str:
    """What inputs, or with `HANDOVER_SUFFIX` the handover, are called that an account brought to a pool:
    whoever else knows the root takes no name of theirs. Source: specs/validation.md §4."""
    return f"{input_root.hex()}-by-{account.hex()}{suffix}"


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

    def inputs(self, input_root: bytes, *, holder: bytes) -> bytes | None:
        return self._held(input_root, holder, most=SEALED_INPUTS_BYTES_MAX)

    def has_inputs(self, input_root: bytes, *, holder: bytes) -> bool:
        names = brought_name(input_root, holder), input_root.hex()
        return any(is_there(self._directory.evidence / name) for name in names)

    def handover(self, input_root: bytes, *, holder: bytes) -> bytes | None:
        return self._held(input_root, holder, most=HANDOVER_BYTES_MAX, suffix=HANDOVER_SUFFIX)

    def _held(self, input_root: bytes, holder: bytes, *, most: int, suffix: str = "") -> bytes | None:
        brought = brought_name(input_root, holder, suffix=suffix)
        found = _read(self._directory.evidence / brought, most=most)
        if found is None:
            found = _read(self._directory.evidence / (input_root.hex() + suffix), most=most)
        return found

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

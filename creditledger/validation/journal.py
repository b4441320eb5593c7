"""What a validator has bound itself to, written down before it signs. Source: specs/validation.md §7."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Final, TypeVar

from creditledger.errors import IntegrityError, MalformedRecordError, RoleError
from creditledger.ledger.directory import (
    WriterLock,
    disk_errors,
    is_there,
    read_file,
    replace_file,
    sync_directory,
    write_once,
)
from creditledger.quantities import AMOUNT_MAX, Digest, RoundNumber, Salt, TreeSize, octets
from creditledger.records import canonical
from creditledger.records.canonical import FRAME_BYTES_MAX
from creditledger.records.record import Fields
from creditledger.records.verdict import Verdict
from creditledger.validation.evidence_bundle import SEALED_EVIDENCE_BYTES_MAX

_CHECKSUM_BYTES: Final = 32
_OWNER: Final = "owner"
_ATTESTED: Final = "attested-"
_VERDICTS: Final = "verdicts-"
_DIGITS: Final = 20
_MICRO: Final = 1_000_000

F = TypeVar("F", bound=Fields)


class AttestedRound(Fields):
    """A round this validator signed, or is about to."""

    number: RoundNumber
    digest: Digest
    log_size: TreeSize
    """The index at which the round stands in the log."""


class JournaledVerdict(Fields):
    """A verdict with what its evidence digest hides."""

    verdict: Verdict
    salt: Salt
    statistics: Annotated[bytes, octets(0, 4096)]

    def measured(self) -> "MeasuredCheck | None":
        """The statistics, None where nothing was measured. Raises MalformedRecordError."""
        values = canonical.decode(self.statistics, most=4096)
        if not isinstance(values, list) or not all(type(value) is int for value in values):
            raise MalformedRecordError("not the statistics of a check")
        if len(values) < len(fields(MeasuredCheck)):
            return None
        floats = [math.inf if value == AMOUNT_MAX else value / _MICRO for value in values]
        names = [field.name for field in fields(MeasuredCheck)]
        return MeasuredCheck(**dict(zip(names, floats, strict=False)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCheck:
    """What a check measured: float, no units; infinite where only the yardstick's distance is 0."""

    ratio: float
    tail: float
    resolution: float
    threshold: float


class RoundVerdicts(Fields):
    """All verdicts of one round, ascending by receipt digest, and the salt of their commitment."""

    number: RoundNumber
    salt: Salt
    verdicts: tuple[JournaledVerdict, ...]


class Journal:
    """A directory with one write-once file per promise; each ends with its own SHA-256.

    Whatever is in it is never changed: who finds another promise in its place must not sign.
    One process at a time. Raises BusyError, StorageError, IntegrityError."""

    def __init__(self, path: Path, *, ledger_id: bytes, public_key: bytes) -> None:
        """Open or make the journal of one validator key in one ledger."""
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._lock = WriterLock(path / "lock")
        try:
            self._write(_OWNER, canonical.encode([ledger_id, public_key]))
        except BaseException:
            self._lock.close()
            raise

    def note_attested(self, attested: AttestedRound) -> None:
        """Bind to one round of this number, durably; the same again is a success.

        Raises IntegrityError for any other: a validator never signs two."""
        self._write(_name(_ATTESTED, attested.number), canonical.encode(attested.to_values()))

    def attested(self, number: int) -> AttestedRound | None:
        """The round of this number that was bound to."""
        return self._read(AttestedRound, _name(_ATTESTED, number))

    def latest_attested(self) -> AttestedRound | None:
        """The one with the highest number."""
        with disk_errors(self._path):
            names = sorted(path.name for path in self._path.iterdir() if path.name.startswith(_ATTESTED))
        return self._read(AttestedRound, names[-1]) if names else None

    def note_verdicts(self, verdicts: RoundVerdicts) -> None:
        """Bind to the verdicts of a round, durably. Raises IntegrityError if there are others."""
        encoded = canonical.encode(verdicts.to_values(), most=FRAME_BYTES_MAX)
        self._write(_name(_VERDICTS, verdicts.number), encoded)

    def verdicts(self, number: int) -> RoundVerdicts | None:
        """The verdicts of a round that were bound to."""
        return self._read(RoundVerdicts, _name(_VERDICTS, number))

    def keep_refutation(self, name: str, sealed: bytes) -> None:
        """Keep sealed evidence until its verdict is shown, durably. Unlike a promise it may be replaced."""
        replace_file(self._path / name, sealed, mode=0o600)

    def refutation(self, name: str) -> bytes:
        """What was kept. Raises StorageError if nothing is."""
        return read_file(self._path / name, what="sealed evidence", most=SEALED_EVIDENCE_BYTES_MAX)

    def forget_refutation(self, name: str) -> None:
        """Erase what was kept; nothing there is no error. Raises StorageError."""
        with disk_errors(self._path):
            (self._path / name).unlink(missing_ok=True)

    def has_refutation(self, name: str) -> bool:
        """Whether anything is kept under ``name``."""
        return is_there(self._path / name)

    def close(self) -> None:
        """Let another process have it."""
        self._lock.close()

    def _write(self, name: str, content: bytes) -> None:
        write_once(self._path / name, content + sha256(content).digest(), mode=0o600)
        with disk_errors(self._path):
            sync_directory(self._path)

    def _read(self, kind: type[F], name: str) -> F | None:
        path = self._path / name
        return _read_whole(kind, path) if path.exists() else None


def read_verdicts(path: Path, *, ledger_id: bytes) -> Iterator[RoundVerdicts]:
    """All verdicts in the journal at ``path``, ascending by round; beside its validator, without its lock.

    Raises RoleError for a journal of another ledger, StorageError, IntegrityError."""
    owner = _content(path / _OWNER)
    values = canonical.decode(owner, most=FRAME_BYTES_MAX)
    if not isinstance(values, list) or values[:1] != [ledger_id]:
        raise RoleError("the journal belongs to another ledger", expected=ledger_id.hex())
    with disk_errors(path):
        names = sorted(file.name for file in path.iterdir() if file.name.startswith(_VERDICTS))
    for name in names:
        yield _read_whole(RoundVerdicts, path / name)


def _read_whole(kind: type[F], path: Path) -> F:
    try:
        return kind.from_values(canonical.decode(_content(path), most=FRAME_BYTES_MAX))
    except MalformedRecordError as error:
        raise IntegrityError("a journal file cannot be read", found=str(path)[-150:]) from error


def _content(path: Path) -> bytes:
    """A file's bytes but the checksum at its end."""
    file = read_file(path, what="journal")
    content, checksum = file[:-_CHECKSUM_BYTES], file[-_CHECKSUM_BYTES:]
    if sha256(content).digest() != checksum:
        raise IntegrityError("a journal file is damaged", found=str(path)[-150:])
    return content


def _name(prefix: str, number: int) -> str:
    return f"{prefix}{number:0{_DIGITS}d}"

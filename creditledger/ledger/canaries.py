"""The operator's canaries: planted before a round, opened after its verdicts.

Source: specs/validation.md §9."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import ConflictError, OpeningError, RefusedError, UnknownIdError
from creditledger.ledger.directory import disk_errors, read_file, sync_directory, write_once
from creditledger.ledger.writer import Acknowledgement
from creditledger.records.entry import Submission
from creditledger.records.record import Record
from creditledger.records.verdict import Canary, CanaryCommit, canary_commitment

_SALT_BYTES: Final = 32


class OperatorsLog(Protocol):
    """What a `Ledger` open for writing does."""

    def append(self, submission: Submission, /) -> Acknowledgement:
        """Log it. Raises RefusedError and its kinds."""

    def sign(self, record: Record, /) -> Submission:
        """Signed by the operator."""


class Canaries:
    """A directory with one file per canary, named by its receipt: the salt that opens the commitment."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def plant(
        self, log: OperatorsLog, receipt: bytes, *, random_bytes: Callable[[int], bytes]
    ) -> Acknowledgement:
        """Keep a fresh salt durably, then log the commitment to this receipt.

        Raises ConflictError for a receipt that was planted before, StorageError."""
        target = self._path / receipt.hex()
        with disk_errors(self._path):
            self._path.mkdir(exist_ok=True, mode=0o700)
        if target.exists():
            raise ConflictError("receipt was planted before", found=receipt.hex())
        salt = random_bytes(_SALT_BYTES)
        write_once(target, salt, mode=0o600)
        with disk_errors(self._path):
            sync_directory(self._path)
        return log.append(log.sign(CanaryCommit(commitment=canary_commitment(receipt=receipt, salt=salt))))

    def plant_nothing(self, log: OperatorsLog, *, random_bytes: Callable[[int], bytes]) -> Acknowledgement:
        """Log a commitment that nothing opens: nobody can tell it from the others."""
        return log.append(log.sign(CanaryCommit(commitment=random_bytes(_SALT_BYTES))))

    def open_judged(self, log: OperatorsLog, state: StateView) -> list[Acknowledgement]:
        """Open every canary whose verdicts are in, and forget those that never can be."""
        opened = []
        for receipt, salt in self._kept():
            known = reading.receipt_state(state, receipt)
            if known is None or known.round == 0 or not known.is_judged:
                continue
            # Refused where it was paid already, or committed to too late for its round: no canary any more.
            with suppress(RefusedError, OpeningError):
                opened.append(log.append(log.sign(Canary(receipt=receipt, round=known.round, salt=salt))))
            with disk_errors(self._path):
                (self._path / receipt.hex()).unlink()
        return opened

    def _kept(self) -> list[tuple[bytes, bytes]]:
        with disk_errors(self._path):
            names = sorted(path.name for path in self._path.iterdir()) if self._path.is_dir() else []
        return [
            (bytes.fromhex(name), read_file(self._path / name, what="a canary's salt", most=_SALT_BYTES))
            for name in names
            if len(name) == 2 * _SALT_BYTES
        ]


def require_logged(state: StateView, receipt: bytes) -> None:
    """The receipt is in the log and in no round yet. Raises UnknownIdError, RefusedError."""
    known = reading.receipt_state(state, receipt)
    if known is None:
        raise UnknownIdError("no such receipt", found=receipt.hex())
    if known.round:
        raise RefusedError(
            "receipt is in a round: it may be drawn already",
            expected="a commitment before its round",
            found=f"round {known.round}",
        )

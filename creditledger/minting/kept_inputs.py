"""The inputs a node keeps, sealed, until nobody may ask for them any more.

Source: specs/minting.md §6."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from creditledger.activations.delivered import Rows
from creditledger.activations.sealing import AuditKey, OpenedInputs
from creditledger.errors import StorageError
from creditledger.ledger.directory import disk_errors, read_file, replace_file
from creditledger.minting.handover import HANDOVER_BYTES_MAX, HANDOVER_SUFFIX, KeysOf, verify_handover
from creditledger.minting.sealed_evidence import open_inputs, seal_inputs
from creditledger.records.receipt import Handover

KEPT_BYTES_MAX: Final = 8 << 30
SEALED_INPUTS_BYTES_MAX: Final = 40 * 1024 * 1024


class KeptInputs:
    """A directory with one sealed file per window, named by its input root in hex.

    When the files would take more than ``bytes_max``, the oldest go first: their window is the
    nearest to its end."""

    def __init__(
        self,
        directory: Path,
        *,
        ledger_id: bytes,
        random_bytes: Callable[[int], bytes],
        bytes_max: int = KEPT_BYTES_MAX,
    ) -> None:
        """Raises StorageError if the directory cannot be made."""
        self._directory = directory
        self._ledger_id = ledger_id
        self._random_bytes = random_bytes
        self._most = bytes_max
        with disk_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            self._sizes = self._listed()

    def keep(
        self,
        rows: Rows,
        *,
        boundary_key: bytes,
        first_position: int,
        input_root: bytes,
        recipients: Sequence[bytes],
    ) -> None:
        """Seal ``rows`` to ``recipients`` and keep them durably. Raises StorageError."""
        sealed = seal_inputs(
            rows,
            recipients,
            boundary_key=boundary_key,
            first_position=first_position,
            ledger_id=self._ledger_id,
            input_root=input_root,
            random_bytes=self._random_bytes,
        )
        self._make_room(len(sealed))
        replace_file(self._directory / input_root.hex(), sealed)
        self._sizes[input_root.hex()] = len(sealed)

    def keep_handover(self, encoded: bytes, *, keys_of: KeysOf | None = None) -> Handover:
        """Keep the signed handover that came with inputs, under their root.

        ``keys_of``: what a sender may have signed with; by default its first key.

        Raises MalformedRecordError or SignatureError for one that its sender did not sign,
        StorageError."""
        keys = {} if keys_of is None else {"keys_of": keys_of}
        handover = verify_handover(encoded, ledger_id=self._ledger_id, **keys)
        replace_file(self._directory / (handover.root.hex() + HANDOVER_SUFFIX), encoded)
        return handover

    def sealed(self, input_root: bytes) -> bytes | None:
        """The sealed inputs kept under ``input_root``, if they are. Raises StorageError."""
        return _read(self._directory / input_root.hex(), most=SEALED_INPUTS_BYTES_MAX)

    def handover(self, input_root: bytes) -> bytes | None:
        """The signed handover that came with them, if one did. Raises StorageError."""
        return _read(self._directory / (input_root.hex() + HANDOVER_SUFFIX), most=HANDOVER_BYTES_MAX)

    def open_inputs(self, input_root: bytes, key: AuditKey) -> OpenedInputs:
        """What was kept under ``input_root``. Raises StorageError if nothing is, OpeningError."""
        sealed = read_file(
            self._directory / input_root.hex(), what="sealed inputs", most=SEALED_INPUTS_BYTES_MAX
        )
        return open_inputs(sealed, key, ledger_id=self._ledger_id, input_root=input_root)

    def forget(self, input_root: bytes) -> None:
        """Erase what is kept under ``input_root``; nothing there is no error. Raises StorageError."""
        self._erase(input_root.hex())

    def forget_before(self, unix_ms: int) -> int:
        """Erase everything kept before ``unix_ms``, and say how many windows that were."""
        with disk_errors(self._directory):
            old = [
                name
                for name in list(self._sizes)
                if (self._directory / name).stat().st_mtime_ns < unix_ms * 1_000_000
            ]
        for name in old:
            self._erase(name)
        return len(old)

    def _make_room(self, size: int) -> None:
        while self._sizes and sum(self._sizes.values()) + size > self._most:
            self._erase(next(iter(self._sizes)))

    def _erase(self, name: str) -> None:
        with disk_errors(self._directory):
            (self._directory / name).unlink(missing_ok=True)
            (self._directory / (name + HANDOVER_SUFFIX)).unlink(missing_ok=True)
        self._sizes.pop(name, None)

    def _listed(self) -> dict[str, int]:
        """Size by name, oldest first."""
        files = [path for path in self._directory.iterdir() if _is_root(path.name)]
        stats = sorted(((path.stat(), path.name) for path in files), key=lambda item: item[0].st_mtime_ns)
        return {name: stat.st_size for stat, name in stats}


def _read(path: Path, *, most: int) -> bytes | None:
    try:
        return read_file(path, what="kept evidence", most=most)
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise


def _is_root(name: str) -> bool:
    return len(name) == 64 and all(letter in "0123456789abcdef" for letter in name)

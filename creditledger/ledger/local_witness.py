"""A witness kept beside the log it watches, and what the publisher asks of any witness.

Source: specs/ledger.md §6."""

from pathlib import Path
from typing import Final, Protocol

from creditledger.errors import ConflictError, IntegrityError, MalformedRecordError
from creditledger.ledger.directory import is_there, read_file, replace_file
from creditledger.records import canonical
from creditledger.transparency.checkpoint import Checkpoint
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.note import VerifierKey
from creditledger.transparency.witness import AddCheckpoint, Witness

LOCAL_WITNESS: Final = "local"


class Cosigner(Protocol):
    """A witness as the publisher sees it, near or far."""

    def size(self, origin: str) -> int:
        """The size it last cosigned for ``origin``; 0 if none. Raises BusyError if it is away."""

    def cosign(self, request: AddCheckpoint, *, log_key: VerifierKey, now_unix_ms: int) -> bytes:
        """Its signature line with LF. Raises VerificationError, ConflictError or BusyError."""


class WitnessFile:
    """A `WitnessState` in one file of canonical bytes: ``[[origin, size, root]...]``."""

    __slots__ = ("_path",)

    def __init__(self, path: Path) -> None:
        self._path = path

    def get(self, origin: str, /) -> Checkpoint | None:
        return self._read().get(origin)

    def put(self, origin: str, /, *, expected: Checkpoint | None, new: Checkpoint, note: bytes = b"") -> None:
        latest = self._read()
        if latest.get(origin) != expected:
            raise ConflictError("witness state was changed by somebody else", found=origin)
        if new == expected:
            return
        latest[origin] = new
        rows: list[canonical.Value] = [
            [name.encode(), seen.size, seen.root] for name, seen in sorted(latest.items())
        ]
        replace_file(self._path, canonical.encode(rows))

    def _read(self) -> dict[str, Checkpoint]:
        if not is_there(self._path):
            return {}
        try:
            rows = canonical.decode(read_file(self._path, what="witness state"))
            return dict(_parse_row(row) for row in rows)  # type: ignore[union-attr]
        except (MalformedRecordError, TypeError, ValueError) as error:
            raise IntegrityError("the witness state cannot be read", found=str(error)) from error


class LocalWitness:
    """A `Cosigner` in this process, whose state is in the ledger's directory.

    It catches a log that contradicts its own past here; other people trust witnesses of their own."""

    __slots__ = ("_state", "_witness")

    def __init__(self, path: Path, signer: Ed25519Signer) -> None:
        self._state = WitnessFile(path)
        self._witness = Witness(CosignatureSigner(LOCAL_WITNESS, signer), self._state)

    @property
    def vkey(self) -> VerifierKey:
        """The key to name in a policy."""
        return self._witness.vkey

    def size(self, origin: str) -> int:
        seen = self._state.get(origin)
        return 0 if seen is None else seen.size

    def cosign(self, request: AddCheckpoint, *, log_key: VerifierKey, now_unix_ms: int) -> bytes:
        return self._witness.add_checkpoint(
            request.old_size,
            request.proof,
            request.note,
            log_vkeys=[log_key],
            now_unix_s=now_unix_ms // 1_000,
        )


def _parse_row(row: canonical.Value) -> tuple[str, Checkpoint]:
    name, size, root = row  # type: ignore[misc]
    if not isinstance(name, bytes) or not isinstance(size, int) or not isinstance(root, bytes):
        raise ValueError("not a row of origin, size and root")
    origin = name.decode()
    return origin, Checkpoint(origin=origin, size=size, root=root)

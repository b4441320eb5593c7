"""A witness kept beside the log it watches. Source: specs/ledger.md §6."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from creditledger.errors import ConflictError, IntegrityError, MalformedRecordError
from creditledger.ledger.clock import Clock
from creditledger.ledger.directory import is_there, read_file, replace_file
from creditledger.records import canonical
from creditledger.transparency.checkpoint import Checkpoint
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.note import VerifierKey
from creditledger.transparency.witness import AddCheckpoint, Witness

LOCAL_WITNESS: Final = "local"


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
    """A `Cosigner` in this process, whose state is in the ledger's directory. Safe under threads.

    It catches a log that contradicts its own past here; other people trust witnesses of their own."""

    __slots__ = ("_clock", "_log_vkeys", "_turn", "_witness")

    def __init__(
        self, path: Path, signer: Ed25519Signer, *, log_vkeys: Sequence[VerifierKey], clock: Clock
    ) -> None:
        """``path``: its state. ``log_vkeys``: the log's keys. ``clock``: its own, not the writer's."""
        self._log_vkeys = tuple(log_vkeys)
        self._clock = clock
        self._turn = threading.Lock()
        self._witness = Witness(CosignatureSigner(LOCAL_WITNESS, signer), WitnessFile(path))

    @property
    def name(self) -> str:
        """What policies call it."""
        return LOCAL_WITNESS

    @property
    def vkey(self) -> VerifierKey:
        """The key to name in a policy."""
        return self._witness.vkey

    def trust(self, log_vkey: VerifierKey) -> None:
        """Take one more key for the log's: its operator hands over to it."""
        with self._turn:
            self._log_vkeys = tuple(dict.fromkeys((*self._log_vkeys, log_vkey)))

    def cosign(self, request: AddCheckpoint) -> bytes:
        """Its line: see `Witness.add_checkpoint`."""
        with self._turn:
            return self._witness.add_checkpoint(
                request.old_size,
                request.proof,
                request.note,
                log_vkeys=self._log_vkeys,
                now_unix_s=self._clock() // 1_000,
            )


def _parse_row(row: canonical.Value) -> tuple[str, Checkpoint]:
    name, size, root = row  # type: ignore[misc]
    if not isinstance(name, bytes) or not isinstance(size, int) or not isinstance(root, bytes):
        raise ValueError("not a row of origin, size and root")
    origin = name.decode()
    return origin, Checkpoint(origin=origin, size=size, root=root)

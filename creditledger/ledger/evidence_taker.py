"""Where a node's evidence goes that others are to find. Source: specs/minting.md §10."""

from typing import Protocol


class EvidenceTaker(Protocol):
    """Keeps what nodes put there, durably before each call returns; the same again is a success.

    Raises ConflictError where something else has that name already, BusyError and StorageError where it
    cannot be told what became of it, and whatever else the place answers."""

    def put_inputs(self, root: bytes, sealed: bytes) -> None:
        """The sealed inputs of the window with this input root."""

    def put_handover(self, root: bytes, encoded: bytes) -> None:
        """The signed handover that came with the inputs under ``root``."""

    def close(self) -> None:
        """Let go of it."""

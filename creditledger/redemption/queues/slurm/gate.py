"""The markers that Slurm's prolog asks for: one file for each paid attempt, good for one start.

Reconciler and prolog decide by moving the same file: whoever moves it first has decided, for ever.
Source: specs/redemption.md §10."""

import os
from pathlib import Path
from typing import Final

from creditledger.errors import StorageError
from creditledger.ledger.directory import sync_directory
from creditledger.redemption.queues.slurm.job import Attempt

PAID_FOLDER: Final = "paid"
STARTED_FOLDER: Final = "started"
FOLDERS: Final = (PAID_FOLDER, STARTED_FOLDER)


class Gate:
    """The two folders below the queue's directory. Methods raise StorageError when the disk fails."""

    def __init__(self, directory: Path) -> None:
        self._paid = directory / PAID_FOLDER
        self._started = directory / STARTED_FOLDER

    def admit(self, attempt: Attempt, user_id: int, *, hold: bytes, latest_unix_ms: int) -> None:
        """Let this attempt start once, before a time. Durable on return; a repeat changes nothing."""
        name = marker_name(attempt, user_id)
        text = f"{latest_unix_ms // 1_000}\n{hold.hex()}\n"
        try:
            # In this order: a marker that has moved in between is seen at its new place.
            if (self._paid / name).exists() or self._hold_in(self._started / name) == hold:
                return
            building = self._paid.parent / f".{name}"
            with building.open("w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            building.chmod(0o644)
            building.replace(self._paid / name)
            sync_directory(self._paid)
        except OSError as error:
            raise StorageError(f"marker cannot be written: {error.strerror}", found=name) from error

    def has_started(self, attempt: Attempt, user_id: int, *, hold: bytes) -> bool:
        """Whether the prolog let it through."""
        return self._hold_in(self._started / marker_name(attempt, user_id)) == hold

    def withdraw(self, attempt: Attempt, user_id: int, *, hold: bytes) -> bool:
        """Make sure that it does not start any more. False if it has started."""
        name = marker_name(attempt, user_id)
        try:
            (self._paid / name).unlink(missing_ok=True)
            sync_directory(self._paid)
        except OSError as error:
            raise StorageError(f"marker cannot be withdrawn: {error.strerror}", found=name) from error
        return not self.has_started(attempt, user_id, hold=hold)

    def take_as_started(self, attempt: Attempt, user_id: int) -> bool:
        """Note a start that no prolog noted. False if there is no marker: it was refused, or withdrawn."""
        name = marker_name(attempt, user_id)
        try:
            (self._paid / name).replace(self._started / name)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise StorageError(f"marker cannot be moved: {error.strerror}", found=name) from error
        return True

    def forget(self, attempt: Attempt, user_id: int) -> None:
        """Remove what is left of an attempt that is settled."""
        name = marker_name(attempt, user_id)
        for folder in (self._paid, self._started):
            (folder / name).unlink(missing_ok=True)

    def _hold_in(self, path: Path) -> bytes | None:
        try:
            return bytes.fromhex(path.read_text("ascii").split("\n")[1])
        except FileNotFoundError:
            return None
        except (ValueError, IndexError):
            return b""
        except OSError as error:
            raise StorageError(f"marker cannot be read: {error.strerror}", found=path.name) from error


def marker_name(attempt: Attempt, user_id: int) -> str:
    """What the prolog calls the attempt, from what Slurm tells it."""
    return f"{attempt.job}.{attempt.restarts}.{user_id}"

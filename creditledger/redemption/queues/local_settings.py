"""What an installed queue of this machine has: an account, slots, and the class they are of.

Source: specs/redemption.md §9."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from creditledger.ledger.directory import disk_errors
from creditledger.redemption.queues.settings_file import load_settings, save_settings

SETTINGS_FILE: Final = "local.json"
SLOTS_MAX: Final = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """The content of ``local.json`` in a queue's folder."""

    queue: str
    """Its account's id, 64 hex digits."""
    slots: int
    """GPUs, numbered from 0 on."""
    hardware: str | None
    """Their class; None takes vouchers of any."""

    def save(self, folder: Path) -> None:
        """Write them durably, in a folder made if need be. Raises StorageError."""
        with disk_errors(folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        save_settings(folder / SETTINGS_FILE, asdict(self))

    @classmethod
    def installed(cls, folder: Path) -> Self | None:
        """What `save` wrote there, or None. Raises MalformedRecordError, StorageError."""
        found = load_settings(folder / SETTINGS_FILE, _checked)
        return None if found is None else cls(**found)


def _checked(found: Any) -> dict[str, Any]:
    """The fields, each of its type. Raises ValueError, TypeError."""
    if not isinstance(found, dict) or set(found) != {"queue", "slots", "hardware"}:
        raise ValueError("its fields are others")
    if len(bytes.fromhex(found["queue"])) != 32:
        raise ValueError("queue is no account")
    if type(found["slots"]) is not int or not 1 <= found["slots"] <= SLOTS_MAX:
        raise ValueError("slots are 1 or more")
    if not isinstance(found["hardware"], str | None):
        raise ValueError("hardware is no name")
    return found

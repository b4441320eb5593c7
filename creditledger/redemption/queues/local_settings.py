"""What an installed queue of this machine has: an account, slots, and the class they are of.

Source: specs/redemption.md §9."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self

from creditledger.errors import MalformedRecordError, StorageError
from creditledger.ledger.directory import disk_errors, replace_file

SETTINGS_FILE: Final = "local.json"
SLOTS_MAX: Final = 4_096
_BYTES_MAX: Final = 65_536


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
        content = json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"
        replace_file(folder / SETTINGS_FILE, content.encode("ascii"), mode=0o600)

    @classmethod
    def installed(cls, folder: Path) -> Self | None:
        """What `save` wrote there, or None. Raises MalformedRecordError, StorageError."""
        path = folder / SETTINGS_FILE
        try:
            with path.open("rb") as file:
                content = file.read(_BYTES_MAX)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"{path} cannot be read: {error.strerror}") from error
        try:
            return cls(**_checked(json.loads(content)))
        except (ValueError, TypeError, RecursionError) as error:
            raise MalformedRecordError(f"{path} is not a queue's settings", found=str(error)[:100]) from None


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

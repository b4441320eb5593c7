"""The small JSON file in which an installed queue keeps what it was told.

Source: specs/redemption.md §9 and §10."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from creditledger.errors import MalformedRecordError, StorageError
from creditledger.ledger.directory import replace_file

BYTES_MAX: Final = 1_048_576


def save_settings(path: Path, fields: Mapping[str, Any]) -> None:
    """Write it whole and durably, for its owner alone. Raises StorageError."""
    content = json.dumps(fields, indent=1, sort_keys=True) + "\n"
    replace_file(path, content.encode(), mode=0o600)


def load_settings(path: Path, check: Callable[[Any], dict[str, Any]]) -> dict[str, Any] | None:
    """What `save_settings` wrote, or None where there is no file.

    ``check``: returns the fields, or raises ValueError or TypeError. Raises MalformedRecordError,
    StorageError."""
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return check(json.loads(content))
    except (ValueError, TypeError, RecursionError) as error:
        raise MalformedRecordError(f"{path} is not a queue's settings", found=str(error)[:100]) from None

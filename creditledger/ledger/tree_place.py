"""Where a published tree may stand beside the ledger's own folder. Source: specs/ledger.md §16."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file as it stands in a place."""

    content: bytes
    tag: str
    """What tells this content from what stands there later; the place's own."""


class TreePlace(Protocol):
    """Files by their paths in a tree. Every method raises BusyError where the place is away for now, and
    StorageError where it refuses."""

    def find(self, path: str, *, most: int) -> Found | None:
        """The file, or None. Raises IntegrityError for one that is longer than ``most`` bytes."""

    def create(self, path: str, content: bytes) -> bool:
        """Write a file that does not exist; durable on return. False where one is there, which stays."""

    def replace(self, path: str, content: bytes, *, found: Found | None) -> bool:
        """Write a file in the place of what was ``found`` there, None being nothing. False where something
        else is there by now, which stays."""

    def remove_below(self, prefix: str) -> None:
        """Remove every file whose path begins so."""

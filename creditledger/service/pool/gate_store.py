"""Where the service keeps whom it lets in: a store of its own, beside the ledger's.

The operator's verbs write it while the server runs. Source: specs/service.md §4."""

from contextlib import suppress
from typing import Final

from creditledger.errors import StorageError
from creditledger.ledger.directory import LedgerDirectory, disk_errors, is_there
from creditledger.ledger.lmdb_store import LmdbStore

STORE: Final = "store"


def open_gate_store(directory: LedgerDirectory) -> LmdbStore:
    """The store in a ledger's directory, made empty if there is none yet.

    Several processes may have it open; they write one at a time. Raises StorageError, IntegrityError,
    BusyError if this very process has it open already."""
    path = directory.service / STORE
    if not is_there(path):
        with disk_errors(path):
            directory.service.mkdir(mode=0o700, exist_ok=True)
        with suppress(StorageError):  # two may be the first at once: whoever comes second takes the other's
            LmdbStore.create(path).close()
    return LmdbStore(path)

"""The same commands leave the same bytes, whatever keeps them."""

import hashlib
import os
from pathlib import Path

import pytest

from command_model import CommandModel
from creditledger.ledger import ledger as ledgers
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.memory_store import MemoryStore
from creditledger.ledger.store import LedgerStore
from creditledger.ledger.store_place import open_store
from postgres_server import new_schema

COMMANDS = int(os.environ.get("CREDITLEDGER_STORE_COMMANDS", "2000"))
"""The long tier sets 100,000."""


class RowsInMemory(MemoryStore):
    """A ledger's store that lasts as long as the process: it begins with what a directory holds."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        founded = LmdbStore(path, read_only=True)
        with founded.read() as rows, self.write() as view:
            for key, value in rows.scan(b""):
                view.put(key, value)
        founded.close()

    def reopen(self) -> None:
        """Memory does not fail."""


def after_commands(folder: Path, store: str | None = None) -> tuple[int, dict[str, str]]:
    """Entries, and hashes of all rows and of every published file, after the commands of one seed."""
    model = CommandModel(folder=folder, seed=7, is_signed=False, store=store)
    model.run(COMMANDS)
    found = {}
    with model.ledger._store.read() as view:
        rows = hashlib.sha256()
        for key, value in view.scan(b""):
            rows.update(len(key).to_bytes(4, "big") + key + len(value).to_bytes(4, "big") + value)
        found["rows"] = rows.hexdigest()
    public = model.ledger.directory.public
    for file in sorted(path for path in public.rglob("*") if path.is_file()):
        found[str(file.relative_to(public))] = hashlib.sha256(file.read_bytes()).hexdigest()
    size = model.ledger.size
    model.ledger.close()
    return size, found


def test_random_commands_leave_the_same_bytes_on_every_store(
    memory_path: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows, roots, checkpoints, tiles, and with them balances and exports. Each balance is also checked
    against plain integers on the way."""
    for name in ("lmdb", "postgres", "memory"):
        (memory_path / name).mkdir()
    lmdb = after_commands(memory_path / "lmdb")
    assert lmdb[0] > COMMANDS // 2
    assert after_commands(memory_path / "postgres", new_schema(postgres)) == lmdb

    def in_memory(path: Path, *, read_only: bool) -> LedgerStore:
        return open_store(path, read_only=True) if read_only else RowsInMemory(path)

    monkeypatch.setattr(ledgers, "open_store", in_memory)
    # Founding writes to the disk and opens twice; only what comes after is in memory.
    monkeypatch.setattr("creditledger.ledger.founding.Ledger", _OnDisk)
    assert after_commands(memory_path / "memory") == lmdb


class _OnDisk(ledgers.Ledger):
    """Opens the store in the directory."""

    @classmethod
    def open(cls, *arguments: object, **settings: object) -> "_OnDisk":
        in_memory, ledgers.open_store = ledgers.open_store, open_store  # type: ignore[attr-defined]
        try:
            return super().open(*arguments, **settings)  # type: ignore[arg-type]
        finally:
            ledgers.open_store = in_memory  # type: ignore[attr-defined]

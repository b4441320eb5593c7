"""Whatever people try, in whatever order: credits are neither made nor lost, and a plain model agrees."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import settings

from credit_machine import Conservation
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.ledger.memory_store import MemoryStore
from creditledger.ledger.store import Store


class OnMemoryStore(Conservation):
    """The same, each entry one transaction of the memory store."""

    def open_store(self) -> Store:
        return MemoryStore()


class OnLmdbStore(Conservation):
    """The same on LMDB, with its real commits."""

    def open_store(self) -> Store:
        self.folder = TemporaryDirectory()
        return LmdbStore.create(Path(self.folder.name) / "store")

    def teardown(self) -> None:
        super().teardown()
        if self.store is not None:
            self.folder.cleanup()


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestOnMemoryStore = OnMemoryStore.TestCase
TestOnMemoryStore.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)
TestOnLmdbStore = OnLmdbStore.TestCase
TestOnLmdbStore.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)

"""A ledger in a database that several front ends serve: one of them writes, the others stand by.

Source: specs/postgres.md §3."""

from typing import Final

from creditledger.errors import RollbackError, StorageError
from creditledger.ledger.head import require_not_rolled_back
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.operator_keys import operator_at
from creditledger.ledger.postgres_store import PostgresStore
from creditledger.ledger.stored_log import StoredLog, state_of
from creditledger.transparency.checkpoint import Checkpoint

PUBLISH_ATTEMPTS: Final = 3


class StandbyLedger(Ledger):
    """Opened for writing, it only reads and publishes until `take_over` makes it the writer."""

    begins_as_writer = False

    @property
    def database(self) -> PostgresStore:
        """Where it is kept."""
        if not isinstance(self._store, PostgresStore):
            raise StorageError("only a ledger in a database has a standby", found=str(self.path)[-100:])
        return self._store

    def take_over(self) -> bool:
        """Become the writer, with every check of opening; False if another process is.

        Raises as `Ledger.open` does."""
        if self._writer is None and self.database.try_acquire():
            self._writer = self._new_writer()
        return self._writer is not None

    def move_head_on(self) -> None:
        """Make this directory's head that of the database, durably: it comes before each answer that another
        process's commit allows. Raises RollbackError where the database has gone back, StorageError."""
        with self._store.read() as view:
            log, state = StoredLog(view), state_of(view)
            head = self._head.read(operator_at(state))
            require_not_rolled_back(log, head)
            now = Checkpoint(origin=self.origin, size=log.size, root=log.root)
            if now != head:
                self._head.replace(now, self._operator.in_force(state))

    def publish(self) -> bytes:
        """As `Ledger.publish`. Another front end may be ahead with the witnesses: then it looks again."""
        for _ in range(PUBLISH_ATTEMPTS - 1):
            try:
                return super().publish()
            except RollbackError:
                continue
        return super().publish()

"""Who sees to it that a ledger can be written, or says why not. Source: specs/service.md §1."""

import threading
from collections.abc import Callable
from typing import TypeVar

from creditledger.errors import BusyError, CreditLedgerError, IntegrityError, StorageError
from creditledger.ledger.disk_space import is_out_of_space
from creditledger.ledger.ledger import Ledger
from creditledger.service.pool.event_log import EventLog

T = TypeVar("T")


class Steward:
    """All writing of a served ledger goes through here. For several threads."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        events: EventLog,
        on_failure: Callable[[CreditLedgerError], None] = lambda error: None,
    ) -> None:
        """``on_failure`` is told once of what nothing but a new process may answer."""
        self.ledger = ledger
        self._events = events
        self._on_failure = on_failure
        self._turn = threading.RLock()
        self._must_reopen = False
        self.shortage: StorageError | None = None
        """Why nothing can be written until there is room again."""
        self.failure: CreditLedgerError | None = None
        """Why nothing will be written any more."""

    def write(self, action: Callable[[Ledger], T]) -> T:
        """The result of ``action``, which writes.

        A full disk is answered with its error until there is room, then the ledger is reopened; any other
        StorageError and IntegrityError is the last thing that happens. Raises what ``action`` does."""
        with self._turn:
            self._require_open()
        try:
            result = action(self.ledger)
        except (StorageError, IntegrityError) as error:
            self._note(error)
            raise
        if self.shortage is not None:
            self.shortage = None
            self._events.note("room again")
        return result

    def _require_open(self) -> None:
        if self.failure is not None:
            raise BusyError("the server is stopping", found=type(self.failure).__name__) from self.failure
        if self._must_reopen:
            try:
                self._reopen()
            except (StorageError, IntegrityError) as error:
                self._note(error)
                raise

    def _note(self, error: StorageError | IntegrityError) -> None:
        with self._turn:
            if not is_out_of_space(error) and not self._must_reopen:
                self._fail(error)
                return
            if self.shortage is None:
                self._events.error("no room", error)
            self.shortage = error if isinstance(error, StorageError) else self.shortage
            self._must_reopen = True
            try:
                self._reopen()
            except StorageError as again:
                if not is_out_of_space(again):
                    self._fail(again)
            except IntegrityError as again:
                self._fail(again)

    def _reopen(self) -> None:
        # Readers need it too: a store whose commit failed answers nobody.
        self.ledger.reopen()
        self._must_reopen = False

    def _fail(self, error: CreditLedgerError) -> None:
        if self.failure is None:
            self.failure = error
            self._events.error("stopped", error)
            self._on_failure(error)

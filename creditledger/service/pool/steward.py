"""Who sees to it that a ledger can be written, or says why not. Source: specs/service.md §1."""

import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from creditledger.errors import BusyError, CreditLedgerError, IntegrityError, StorageError
from creditledger.ledger.disk_space import has_room, is_out_of_space, no_room
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
            judged = self._judged(error)
            raise judged from judged.__cause__
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
                judged = self._judged(error)
                raise judged from judged.__cause__

    def _judged(self, error: StorageError | IntegrityError) -> StorageError | IntegrityError:
        """What to answer instead of ``error``, once what can be done about it is done."""
        with self._turn:
            if isinstance(error, IntegrityError) or not self._is_shortage(error):
                self.fail(error)
                return error
            error = no_room(error)
            if self.shortage is None:
                self._events.error("no room", error)
            self.shortage = error
            self._must_reopen = True
            # Readers need it too: a store whose commit failed answers nobody.
            try:
                with contextlib.suppress(StorageError):
                    self._reopen()
            except IntegrityError as again:
                self.fail(again)
            return error

    def _is_shortage(self, error: StorageError) -> bool:
        # A write that the disk cut short comes out of LMDB as an I/O error.
        return is_out_of_space(error) or not has_room(self.ledger.path)

    def _reopen(self) -> None:
        self.ledger.reopen()
        self._must_reopen = False

    def fail(self, error: CreditLedgerError) -> None:
        """Nothing is written any more, for this reason; the first counts."""
        if self.failure is None:
            self.failure = error
            self._events.error("stopped", error)
            self._on_failure(error)

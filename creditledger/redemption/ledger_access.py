"""A ledger handed over open, or the place of one to open only while it is needed.

Source: specs/redemption.md §7."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final

from creditledger.credits.reading import account_of_key
from creditledger.errors import BusyError, StorageError
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.cosigning import Cosigner
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.opening import Place, open_ledger

_RETRY_SECONDS: Final = 0.05
_ATTEMPTS: Final = 200


class LedgerAccess:
    """Where a wallet or queue reads and writes. With a directory, others may write in between."""

    def __init__(
        self,
        ledger: Ledger | Place,
        *,
        clock: Clock = system_clock,
        sleep: Callable[[float], None] = time.sleep,
        cosigners: Sequence[Cosigner] = (),
    ) -> None:
        """``ledger``: open, or its directory or URL. ``cosigners``: the witnesses that a directory opened for
        writing asks beside its local one."""
        self._ledger = ledger
        self._clock = clock
        self._sleep = sleep
        self._cosigners = tuple(cosigners)
        self._turn = threading.RLock()

    def writing(self) -> AbstractContextManager[Ledger]:
        """The ledger, to submit to. Waits up to ten seconds for another writer, then raises BusyError."""
        return self._opened(read_only=False)

    def reading(self) -> AbstractContextManager[Ledger]:
        """The ledger, to read from. Raises BusyError if this process keeps the directory open otherwise."""
        return self._opened(read_only=True)

    def account_of(self, key: bytes) -> bytes:
        """The account that a public key signs for: itself, where the ledger is out of reach.

        Raises RoleError for a retired key."""
        with suppress(StorageError, BusyError), self.reading() as ledger, ledger.read() as view:
            return account_of_key(view, key)
        return key

    @contextmanager
    def _opened(self, *, read_only: bool) -> Iterator[Ledger]:
        if isinstance(self._ledger, Ledger):
            yield self._ledger
            return
        # A process opens a store once at a time, so our own threads take turns.
        with self._turn, self._open(self._ledger, read_only=read_only) as ledger:
            yield ledger

    def _open(self, place: Place, *, read_only: bool) -> Ledger:
        for _ in range(_ATTEMPTS - 1):
            try:
                return self._once(place, read_only=read_only)
            except BusyError:
                self._sleep(_RETRY_SECONDS)
        return self._once(place, read_only=read_only)

    def _once(self, place: Place, *, read_only: bool) -> Ledger:
        return open_ledger(place, read_only=read_only, clock=self._clock, cosigners=self._cosigners)

"""A ledger handed over open, or the directory of one to open only while it is needed.

Source: specs/redemption.md §7."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Final

from creditledger.errors import BusyError
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.ledger import Ledger

_RETRY_SECONDS: Final = 0.05
_ATTEMPTS: Final = 200


class LedgerAccess:
    """Where a wallet or queue reads and writes. With a directory, others may write in between."""

    def __init__(
        self,
        ledger: Ledger | str | PathLike[str],
        *,
        clock: Clock = system_clock,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ledger = ledger if isinstance(ledger, Ledger) else Path(ledger)
        self._clock = clock
        self._sleep = sleep

    @contextmanager
    def writing(self) -> Iterator[Ledger]:
        """The ledger, to submit to. Waits up to ten seconds for another writer, then raises BusyError."""
        if isinstance(self._ledger, Ledger):
            yield self._ledger
            return
        with self._open_writer(self._ledger) as ledger:
            yield ledger

    @contextmanager
    def reading(self) -> Iterator[Ledger]:
        """The ledger, to read from."""
        if isinstance(self._ledger, Ledger):
            yield self._ledger
            return
        with Ledger.open(self._ledger, read_only=True, clock=self._clock) as ledger:
            yield ledger

    def _open_writer(self, path: Path) -> Ledger:
        for _ in range(_ATTEMPTS - 1):
            try:
                return Ledger.open(path, clock=self._clock)
            except BusyError:
                self._sleep(_RETRY_SECONDS)
        return Ledger.open(path, clock=self._clock)

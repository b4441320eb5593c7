"""An installed queue, opened: one process at a time runs it. Source: specs/redemption.md §10."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from creditledger.ledger.directory import WriterLock
from creditledger.redemption.queues.slurm.installation import DOORBELL
from creditledger.redemption.queues.slurm.sales import Sales
from creditledger.redemption.queues.slurm.settings import SlurmSettings

BOOK: Final = "sales.sqlite"
SHADOW_BOOK: Final = "shadow.sqlite"
_LOCK: Final = "lock"
_LISTEN_SECONDS: Final = 0.5


@contextmanager
def opened_book(directory: Path, settings: SlurmSettings, *, is_shadow: bool) -> Iterator[Sales]:
    """The book of sales. What a shadow notes stands in a book of its own."""
    sales = Sales(directory / (SHADOW_BOOK if is_shadow else BOOK), cluster=settings.cluster)
    try:
        yield sales
    finally:
        sales.close()


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Nobody else runs this queue meanwhile. Raises BusyError, StorageError."""
    lock = WriterLock(directory / _LOCK, taken="another process runs this queue")
    try:
        yield
    finally:
        lock.close()


class Doorbell:
    """Rung by the epilog when something has ended: no reason to wait for the next look then."""

    def __init__(
        self,
        directory: Path,
        *,
        monotonic_ms: Callable[[], int] = lambda: time.monotonic_ns() // 1_000_000,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``directory``: the queue's."""
        self._path = directory / DOORBELL
        self._monotonic_ms = monotonic_ms
        self._sleep = sleep
        self._heard = self._rung()

    def wait(self, most_ms: int) -> None:
        """Until it rings or ``most_ms`` have passed."""
        deadline = self._monotonic_ms() + most_ms
        while self._monotonic_ms() < deadline:
            if self._rung() != self._heard:
                break
            self._sleep(_LISTEN_SECONDS)
        self._heard = self._rung()

    def _rung(self) -> int:
        with suppress(OSError):
            return self._path.stat().st_mtime_ns
        return 0

"""Brings what a pool publishes to a second place, as it is published. Source: specs/service.md §1."""

import threading
from types import TracebackType
from typing import Final, Self

from creditledger.errors import CreditLedgerError
from creditledger.ledger.clock import Clock
from creditledger.ledger.directory import LedgerDirectory
from creditledger.ledger.source import DirectorySource
from creditledger.ledger.tree_copy import copy_tree
from creditledger.ledger.tree_place import TreePlace
from creditledger.service.pool.event_log import EventLog
from creditledger.transparency.trust_policy import TrustPolicy

LOOK_SECONDS: Final = 0.5
"""The most time between a publication and its way to the place."""
REST_SECONDS: Final = 5.0
"""After a failure, before the next try."""


class Carrying:
    """A thread that copies a ledger's published tree whenever its checkpoint has changed.

    A place that fails costs an event, and neither an append nor a publication waits for it."""

    def __init__(
        self, directory: LedgerDirectory, place: TreePlace, *, clock: Clock, events: EventLog
    ) -> None:
        self._directory = directory
        self._source = DirectorySource(directory.public)
        self._place = place
        self._clock = clock
        self._events = events
        self._carried = b""
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._carry_on, name="carrying")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread, and carry for the last time."""
        self._end.set()
        self._thread.join()
        self._carry()

    def _carry_on(self) -> None:
        while not self._end.wait(LOOK_SECONDS if self._carry() else REST_SECONDS):
            continue

    def _carry(self) -> bool:
        """Whether the place shows what the ledger does."""
        try:
            note = self._source.checkpoint()
            if note != self._carried:
                policy = TrustPolicy.load(self._directory.policy).for_any_size()
                copy_tree(self._source, self._place, policy, now_unix_ms=self._clock())
                self._carried = note
        except CreditLedgerError as error:
            self._events.error("not carried to the second place", error)
            return False
        except Exception as error:
            self._events.error("not carried to the second place: a bug", error)
            return False
        return True

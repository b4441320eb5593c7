"""Brings what is logged under a checkpoint soon, and does in time what the pool's rules want done.

Source: specs/service.md §1."""

import threading
import time
from collections.abc import Callable
from typing import Final

from creditledger.errors import BusyError, CreditLedgerError, IntegrityError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.rounds import advance
from creditledger.service.pool.event_log import EventLog
from creditledger.service.pool.steward import Steward

PUBLISH_SECONDS: Final = 0.2
"""The least time between two publications."""


class Publishing:
    """Two threads: one publishes what is new, one expires, settles, certifies and dates the log anew."""

    def __init__(self, steward: Steward, *, interval_seconds: int, clock: Clock, events: EventLog) -> None:
        """``interval_seconds``: how often what is due is done."""
        self._steward = steward
        self._interval = interval_seconds
        self._clock = clock
        self._events = events
        self._news = threading.Event()
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._publish_news, name="publishing"),
            threading.Thread(target=self._keep_house, name="housekeeping"),
        ]
        self.published_unix_ms = 0
        """When the log was last published; 0 before that."""

    def start(self) -> None:
        """Do once what is due, and go on in the background. Raises what that does, but BusyError."""
        try:
            self._done(self._steward.write(advance))
        except BusyError as error:
            self._events.error("not published", error)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads and publish for the last time."""
        self._end.set()
        self._news.set()
        for thread in self._threads:
            thread.join()
        if self._steward.failure is None:
            self._try("publish", _publish)

    def note_news(self) -> None:
        """There is more to publish."""
        self._news.set()

    def _publish_news(self) -> None:
        while not self._end.is_set():
            self._news.wait()
            self._news.clear()
            if self._end.is_set():
                return
            began = time.monotonic()
            self._try("publish", _publish)
            self._end.wait(max(0.0, PUBLISH_SECONDS - (time.monotonic() - began)))

    def _keep_house(self) -> None:
        while not self._end.wait(self._interval):
            self._try("housekeeping", advance)

    def _try(self, what: str, action: Callable[[Ledger], object]) -> None:
        try:
            self._done(self._steward.write(action))
        except IntegrityError:
            return  # the steward has said so
        except CreditLedgerError as error:
            self._events.error(f"{what} failed", error)
        except Exception as error:
            self._events.error(f"{what} failed: a bug", error)

    def _done(self, result: object) -> None:
        self.published_unix_ms = self._clock()


def _publish(ledger: Ledger) -> bytes:
    return ledger.publish()

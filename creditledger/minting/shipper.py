"""One thread that brings what a node minted to a pool behind a URL, whatever becomes of the network.

Source: specs/minting.md §10."""

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from creditledger.errors import StorageError
from creditledger.ledger.directory import WriterLock
from creditledger.ledger.writer import Acknowledgement
from creditledger.minting.dispatch import Dispatch
from creditledger.minting.evidence_ahead import EvidenceAhead
from creditledger.minting.failures import FailureCount
from creditledger.minting.shipping import Shipping
from creditledger.minting.shipping_report import ShippingReport

FIRST_RETRY_SECONDS: Final = 1.0
REFRESH_SECONDS: Final = 30.0
"""How often the terms of a pool are looked at that nothing is delivered to."""
ACKNOWLEDGEMENTS_MAX: Final = 4_096
"""Kept for a caller that may never ask."""


class Shipper:
    """Signs and delivers every so often, and after a failure waits ever longer, by chance a little more.

    Nothing that it waits for holds up whoever mints; nothing that it is stopped amid of is lost."""

    def __init__(
        self,
        dispatch: Dispatch,
        evidence: EvidenceAhead,
        *,
        follow: Callable[[], None],
        outbox: Path,
        shipping: Shipping,
        failures: FailureCount,
        clock: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
        on_end: Callable[[], None],
    ) -> None:
        """``follow``: sees what is new at the pool. ``outbox``: where the report is kept. ``on_end`` is
        called by the thread when it ends. Raises BusyError if another process ships from ``outbox``."""
        self._dispatch = dispatch
        self._evidence = evidence
        self._follow = follow
        self._outbox = outbox
        self._shipping = shipping
        self._failures = failures
        self._clock = clock
        self._monotonic = monotonic
        self._chance = chance
        self._on_end = on_end
        self._lock = WriterLock(outbox / "lock", taken="another process ships from this outbox")
        self._kept = self.report = ShippingReport.read(outbox)
        self._noted_missing = 0
        self._refreshed = monotonic()
        self._failed = 0
        self._acknowledged: deque[Acknowledgement] = deque(maxlen=ACKNOWLEDGEMENTS_MAX)
        self._change = threading.Condition()
        self._is_woken = self._is_ending = False
        self._thread = threading.Thread(target=self._run, name="creditledger-shipping", daemon=True)

    def start(self) -> None:
        """Begin to ship."""
        self._thread.start()

    def wake(self) -> None:
        """Deliver now, unless the service was away a moment ago."""
        with self._change:
            self._is_woken = True
            self._change.notify_all()

    def acknowledged(self) -> list[Acknowledgement]:
        """What the log took since this was last asked, in order."""
        found: list[Acknowledgement] = []
        while self._acknowledged:
            found.append(self._acknowledged.popleft())
        return found

    def stop(self) -> bool:
        """Try once more to deliver, then end; whether it has ended within `Shipping.close_s`. It ends
        anyway as soon as what it waits for answers or is given up."""
        with self._change:
            self._is_ending = True
            self._change.notify_all()
        self._thread.join(self._shipping.close_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            is_last = False
            while not is_last:
                is_last = self._is_ending
                self._ship()
                if not is_last:
                    self._pause()
        finally:
            self._lock.close()
            self._on_end()

    def _ship(self) -> None:
        self._dispatch.post()
        acknowledgements, stopped_by = self._deliver()
        # Whoever took something is not away: it is asked again soon.
        self._failed = 0 if stopped_by is None else 1 if acknowledgements else self._failed + 1
        self._acknowledged.extend(acknowledgements)
        missing, self._noted_missing = self._evidence.missing - self._noted_missing, self._evidence.missing
        self.report = self.report.after(
            delivered=len(acknowledgements),
            missing_inputs=missing,
            stopped_by=stopped_by,
            now_unix_ms=self._clock(),
        )
        with self._failures.counted():
            if self.report != self._kept:
                self.report.keep(self._outbox)
                self._kept = self.report

    def _deliver(self) -> tuple[list[Acknowledgement], Exception | None]:
        try:
            is_waiting = self._dispatch.waiting > 0
        except StorageError as error:
            self._failures.count(error)
            return [], error
        now = self._monotonic()
        if is_waiting:
            self._refreshed = now
            return self._dispatch.deliver()
        if now - self._refreshed < REFRESH_SECONDS and not self._failed:
            return [], None
        self._refreshed = now
        try:
            self._follow()
        except Exception as error:
            self._failures.count(error)
            return [], error
        return [], None

    def _pause(self) -> None:
        wait = self._shipping.interval_s
        if self._failed:
            wait = retry_seconds(self._failed, most=self._shipping.retry_s_max, chance=self._chance())
        with self._change:
            self._change.wait_for(lambda: self._is_ending or (self._is_woken and not self._failed), wait)
            self._is_woken = False


def retry_seconds(failed: int, *, most: float, chance: float) -> float:
    """How long to wait after ``failed`` attempts in a row, at least one; ``chance``: 0 to 1.

    Twice as long each time, and somewhere in the upper half: nodes that failed together do not return
    together."""
    return min(most, FIRST_RETRY_SECONDS * 2.0 ** min(failed - 1, 30)) * (0.5 + chance / 2)

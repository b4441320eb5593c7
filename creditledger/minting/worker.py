"""One thread beside the model's own: hashing and sketching happen here, in order.

Source: specs/minting.md §7."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from creditledger.errors import BusyError
from creditledger.minting.failures import FailureCount

BACKLOG_BYTES_MAX: Final = 1 << 30
"""Rows waiting to be hashed; when there are more, receipts are lost and not memory."""


class Worker:
    """Runs tasks one after another; a task that raises is counted and the next one runs."""

    def __init__(self, failures: FailureCount, *, backlog_bytes_max: int = BACKLOG_BYTES_MAX) -> None:
        self._failures = failures
        self._most = backlog_bytes_max
        self._tasks: deque[tuple[Callable[[], None], int]] = deque()
        self._waiting_bytes = 0
        self._submitted = 0
        self._finished = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, task: Callable[[], None], *, size: int = 0) -> None:
        """Run ``task`` later. ``size``: bytes it keeps alive.

        Never waits. Raises BusyError when too much is waiting already, or after `close`."""
        with self._changed:
            if self._closed or self._waiting_bytes + size > self._most:
                raise BusyError(
                    "the minting thread takes no more", expected=f"{self._most} bytes", found=str(size)
                )
            self._tasks.append((task, size))
            self._waiting_bytes += size
            self._submitted += 1
            self._start()
            self._changed.notify_all()

    def wait(self) -> None:
        """Return when everything submitted before is done. Must not be called from a task."""
        with self._changed:
            until = self._submitted
            self._changed.wait_for(lambda: self._finished >= until)

    def close(self) -> None:
        """Finish what is waiting and end the thread; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="creditledger-minting", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._tasks or self._closed)
                if not self._tasks:
                    return
                task, size = self._tasks.popleft()
            try:
                with self._failures.counted():
                    task()
            finally:
                del task
                self._done(size)

    def _done(self, size: int) -> None:
        with self._changed:
            self._waiting_bytes -= size
            self._finished += 1
            self._changed.notify_all()

"""What happens in the server, one JSON object a line. Source: specs/service.md §1."""

import json
import threading
from typing import Final, TextIO

from creditledger.ledger.clock import Clock, system_clock

TEXT_MAX: Final = 200


class EventLog:
    """Writes events to a stream. Texts are cut and escaped; no bytes that somebody sent are among them."""

    __slots__ = ("_clock", "_stream", "_turn")

    def __init__(self, stream: TextIO | None, *, clock: Clock = system_clock) -> None:
        """None: nothing is written."""
        self._stream = stream
        self._clock = clock
        self._turn = threading.Lock()

    def note(self, event: str, **fields: str | int | bool | None) -> None:
        """One line; a stream that is gone takes nothing with it."""
        shown = {
            name: value[:TEXT_MAX] if isinstance(value, str) else value for name, value in fields.items()
        }
        line = json.dumps({"time_unix_ms": self._clock(), "event": event} | shown, separators=(",", ":"))
        if self._stream is None:
            return
        with self._turn:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                self._stream = None

    def error(self, event: str, error: BaseException) -> None:
        """An error, by the name of its class and what it says."""
        self.note(event, error=type(error).__name__, message=ascii(str(error))[1:-1])

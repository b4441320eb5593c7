"""One exchange over HTTP that ends in time, and the URLs it may go to. Source: specs/log.md §9."""

import contextlib
import socket
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from creditledger.errors import MalformedRecordError

_PATH_SIZE_MAX: Final = 256
"""No path that is appended to a base URL is longer."""


class Deadline:
    """Ends one exchange when its time is over, however often the other side sends another byte."""

    def __init__(self, seconds: float, stream: Any = None) -> None:
        """``stream``: the connection that an earlier exchange left open."""
        self.has_passed = False
        self.stream = stream
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def watch(self, event: str, info: Mapping[str, Any]) -> None:
        """Hears from httpcore2 of the connection that was made."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self.stream = info["return_value"]
            if self.has_passed:
                self._shut()

    def _end(self) -> None:
        self.has_passed = True
        self._shut()

    def _shut(self) -> None:
        if self.stream is not None:
            with contextlib.suppress(OSError):
                self.stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


def body_within(chunks: Iterable[bytes], most: int) -> bytes | None:
    """All that ``chunks`` give, at most ``most`` bytes; None if there are more, however many those are."""
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > most:
            return None
    return bytes(content)


def require_base_url(url: str, *, what: str) -> str:
    """``url`` without its last slash, if it is an http or https URL without query. MalformedRecordError."""
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        httpx2.URL(f"{url}/{'x' * _PATH_SIZE_MAX}")  # the client's own grammar is narrower
    except (ValueError, httpx2.InvalidURL):
        is_usable = False
    if not is_usable or not url.isascii() or not url.isprintable() or set(url) & set(" ?#@\\"):
        raise MalformedRecordError(
            f"not a {what}'s URL", expected="http:// or https://, a host, a path", found=ascii(url)[:150]
        )
    return url.rstrip("/")

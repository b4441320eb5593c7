"""A published log behind a URL, of which nothing is believed. Home of httpx2 beside the witness client.

Source: specs/ledger.md §7."""

import zlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import httpx2

from creditledger.errors import BusyError, VerificationError
from creditledger.ledger.publish import CHECKPOINT, body_path
from creditledger.ledger.source import FILE_BYTES_MAX
from creditledger.service.http_exchange import Deadline, body_within, require_base_url
from creditledger.transparency.merkle import HASH_SIZE
from creditledger.transparency.note import NOTE_SIZE_MAX
from creditledger.transparency.tile import ENTRY_SIZE_MAX, Tile

TIMEOUT_SECONDS: Final = 30.0
_HEADERS: Final = {"accept-encoding": "gzip"}
_ABSENT: Final = (404, 410)
_LATER: Final = (408, 425, 429)


class HttpSource:
    """A `LogSource` over HTTP: paths are made of numbers and digests, redirects are not followed.

    Each file comes within ``timeout_s`` and within its own bound of bytes, or not at all. For one thread."""

    __slots__ = ("_client", "_headers", "_stream", "_timeout_s", "_url")

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        timeout_s: float = TIMEOUT_SECONDS,
        client: httpx2.Client | None = None,
    ) -> None:
        """``url``: what comes before ``checkpoint``, ``tile/...`` and ``batch/...``. ``token``: a bearer
        token, where only those with one may read.

        Raises MalformedRecordError."""
        self._url = require_base_url(url, what="log")
        self._headers = {**_HEADERS, "authorization": f"Bearer {token}"} if token else _HEADERS
        self._timeout_s = timeout_s
        # One connection, so that a deadline knows which to end.
        self._client = client or httpx2.Client(limits=httpx2.Limits(max_connections=1))
        self._stream: Any = None

    def checkpoint(self) -> bytes:
        return self._get(CHECKPOINT, most=NOTE_SIZE_MAX)

    def tile(self, tile: Tile) -> bytes:
        each = 2 + ENTRY_SIZE_MAX if tile.level is None else HASH_SIZE
        return self._get(tile.path, most=tile.width * each)

    def bodies(self, name: bytes) -> bytes:
        return self._get(body_path(name), most=FILE_BYTES_MAX)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _get(self, path: str, *, most: int) -> bytes:
        with Deadline(self._timeout_s, self._stream) as deadline:
            try:
                with self._client.stream(
                    "GET",
                    f"{self._url}/{path}",
                    headers=self._headers,
                    timeout=self._timeout_s,
                    follow_redirects=False,
                    extensions={"trace": deadline.watch},
                ) as response:
                    self._stream = deadline.stream
                    self._require_found(response.status_code, path)
                    content = self._bounded(response, path, most)
            except (httpx2.HTTPError, VerificationError) as error:
                if isinstance(error, VerificationError) and not deadline.has_passed:
                    raise
                self._stream = None
                is_late = deadline.has_passed or isinstance(error, httpx2.TimeoutException)
                raise self._busy(path, type(error).__name__, is_late=is_late) from error
            # Without a length, what the deadline cut off looks whole; it must not look like a lie.
            if deadline.has_passed:
                raise self._busy(path, "a part", is_late=True)
            return content

    def _busy(self, path: str, found: str, *, is_late: bool) -> BusyError:
        return BusyError(
            "the log is late" if is_late else "the log cannot be reached",
            expected=f"{path} within {self._timeout_s} s",
            found=f"{found} at {self._url}",
        )

    def _require_found(self, status: int, path: str) -> None:
        if status == 200:
            return
        if status in _ABSENT:
            raise VerificationError("the log lacks a file", expected=path, found=f"status {status}")
        if status in _LATER or status >= 500:
            raise BusyError("the log's server does not answer now", expected=path, found=f"status {status}")
        raise VerificationError("the log does not serve a file", expected=path, found=f"status {status}")

    def _bounded(self, response: httpx2.Response, path: str, most: int) -> bytes:
        encoding = response.headers.get("content-encoding", "")
        if encoding not in ("", "identity", "gzip"):
            raise VerificationError(
                "a file of the log is packed in a way we did not ask for", expected="gzip", found=encoding
            )
        chunks = response.iter_raw()
        pieces = _unpacked(chunks, path, most=most) if encoding == "gzip" else chunks
        content = body_within(pieces, most)
        if content is None:
            raise VerificationError(
                "a file of the log is too long", expected=f"{path} of at most {most} bytes"
            )
        return content


def _unpacked(chunks: Iterable[bytes], path: str, *, most: int) -> Iterator[bytes]:
    """What one gzip member holds, in pieces of at most ``most`` + 1 bytes. Raises VerificationError."""
    stream = zlib.decompressobj(wbits=31)
    try:
        for chunk in chunks:
            rest = chunk
            while rest and not stream.eof:
                yield stream.decompress(rest, most + 1)
                rest = stream.unconsumed_tail
            if rest or stream.unused_data:
                raise zlib.error("bytes after its end")
        if not stream.eof:
            raise zlib.error("it is cut off")
    except zlib.error as error:
        raise VerificationError(
            "a file of the log cannot be unpacked", expected=path, found=str(error)
        ) from error

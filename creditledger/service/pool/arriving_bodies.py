"""Bodies while they come: bounded in bytes, in time, in number and together. Source: specs/service.md §3."""

import asyncio
from typing import Final, TypeAlias

from starlette.types import Receive, Scope

from creditledger.service.pool.problems import Problem, plain_problem

BODY_BYTES_PER_SECOND: Final = 64 * 1024
"""A body has one second more for each so many bytes that have come."""

_CLOSE: Final = {"connection": "close"}
Body: TypeAlias = "bytes | Problem | None"


class ArrivingBodies:
    """Reads bodies whole. Where too many are still coming, the one that has been coming longest is too slow:
    whoever drips bytes into many requests takes nobody's place but their own."""

    def __init__(self, *, body_bytes: int, bodies_bytes: int, body_seconds: float, arriving: int) -> None:
        """``bodies_bytes``: of all bodies that are coming or held. ``arriving``: how many may be coming."""
        self._body_bytes = body_bytes
        self._bodies_bytes = bodies_bytes
        self._body_seconds = body_seconds
        self._most = arriving
        self._coming: dict[object, asyncio.Timeout] = {}
        self._bytes = 0

    async def read(self, scope: Scope, receive: Receive) -> Body:
        """The body, to be given to `release` afterwards; a refusal; None where nobody is there any more."""
        if _announced(scope) > self._body_bytes:
            return self._too_large()
        body, ticket = bytearray(), object()
        found: Body = None
        try:
            async with asyncio.timeout(self._body_seconds) as deadline:
                self._make_room()
                self._coming[ticket] = deadline
                found = await self._whole(body, receive, ticket)
        except TimeoutError:
            found = plain_problem(408, headers=_CLOSE)
        finally:
            self._coming.pop(ticket, None)
            if not isinstance(found, bytes):
                self._bytes -= len(body)
        return found

    def release(self, body: bytes) -> None:
        """It is not held any more."""
        self._bytes -= len(body)

    async def _whole(self, body: bytearray, receive: Receive, ticket: object) -> Body:
        began = asyncio.get_running_loop().time()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            piece = message.get("body", b"")
            if len(body) + len(piece) > self._body_bytes:
                return self._too_large()
            if self._bytes + len(piece) > self._bodies_bytes:
                return plain_problem(503, "too many bytes at once", headers=_CLOSE | {"retry-after": "1"})
            body += piece
            self._bytes += len(piece)
            if not message.get("more_body", False):
                return bytes(body)
            if (deadline := self._coming.get(ticket)) is not None:
                deadline.reschedule(began + self._body_seconds + len(body) / BODY_BYTES_PER_SECOND)

    def _make_room(self) -> None:
        if len(self._coming) < self._most:
            return
        ticket, deadline = next(iter(self._coming.items()))
        del self._coming[ticket]
        deadline.reschedule(asyncio.get_running_loop().time())

    def _too_large(self) -> Problem:
        return plain_problem(413, expected=f"at most {self._body_bytes} bytes", headers=_CLOSE)


def _announced(scope: Scope) -> int:
    # The HTTP parser has made sure that it is a number.
    return max((int(value) for name, value in scope["headers"] if name == b"content-length"), default=0)

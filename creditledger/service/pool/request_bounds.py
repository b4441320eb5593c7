"""Bounds on what a stranger may send, before anybody looks at it. Source: specs/service.md §3."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from creditledger.records.canonical import FRAME_BYTES_MAX
from creditledger.service.pool.arriving_bodies import ArrivingBodies
from creditledger.service.pool.event_log import EventLog
from creditledger.service.pool.problems import Problem, plain_problem

BODY_BYTES_MAX: Final = FRAME_BYTES_MAX + 64 * 1024
BODIES_BYTES_MAX: Final = 128 * 1024 * 1024
"""Of all requests in flight together."""
BODY_SECONDS: Final = 10.0
"""And one more for each so many bytes that have come: `arriving_bodies.BODY_BYTES_PER_SECOND`."""
URL_BYTES_MAX: Final = 2_048
HEADER_BYTES_MAX: Final = 16 * 1024
HEADERS_MAX: Final = 64
REQUESTS_MAX: Final = 256
"""Being answered at once."""
ARRIVING_MAX: Final = 128
"""Bodies that are still coming, at once: one more, and the one that has been coming longest is too slow."""
ANSWER_SECONDS: Final = 120.0
STREAM_SECONDS: Final = 900.0
"""Of a request whose body is not read whole first, or whose answer may be as long."""
TAKING_SECONDS: Final = 2.0
"""Who takes longer than that over an answer gives up their place when somebody needs it."""
LINGER_SECONDS: Final = 1.0

_CLOSE: Final = {"connection": "close"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one server bears."""

    body_bytes: int = BODY_BYTES_MAX
    bodies_bytes: int = BODIES_BYTES_MAX
    body_seconds: float = BODY_SECONDS
    requests: int = REQUESTS_MAX
    arriving: int = ARRIVING_MAX
    answer_seconds: float = ANSWER_SECONDS
    stream_seconds: float = STREAM_SECONDS
    taking_seconds: float = TAKING_SECONDS


class RequestBounds:
    """ASGI middleware, the outermost: what passes it is whole, in memory and of bounded size and number, but
    for streams, whose application bounds their bodies itself."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Limits = Limits(),
        events: EventLog,
        is_stream: Callable[[Scope], bool] = lambda scope: False,
    ) -> None:
        """``is_stream``: by method and path."""
        self._app = app
        self._is_stream = is_stream
        self._limits = limits
        self._events = events
        self._requests = 0
        self._begun: dict[_Answer, float] = {}
        self._bodies = ArrivingBodies(
            body_bytes=limits.body_bytes,
            bodies_bytes=limits.bodies_bytes,
            body_seconds=limits.body_seconds,
            arriving=limits.arriving,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        problem = _refusal(scope)
        if problem is not None:
            await problem.response()(scope, receive, send)
            return
        if self._is_stream(scope):
            await self._bounded(scope, receive, send, seconds=self._limits.stream_seconds)
            return
        body = await self._bodies.read(scope, receive)
        if body is None:
            return  # nobody is there to read an answer
        if isinstance(body, Problem):
            await refuse_early(body, scope, receive, send)
            return
        try:
            replayed = _replayed(body, receive)
            await self._bounded(scope, replayed, send, seconds=self._limits.answer_seconds)
        finally:
            self._bodies.release(body)

    async def _bounded(self, scope: Scope, receive: Receive, send: Send, *, seconds: float) -> None:
        if self._requests >= self._limits.requests and not self._end_slowest_taker():
            expected = f"at most {self._limits.requests}"
            headers = {"retry-after": "1"}
            problem = plain_problem(503, "too many requests at once", expected=expected, headers=headers)
            await refuse_early(problem, scope, receive, send)
            return
        self._requests += 1
        answer = _Answer(send, begun=self._begun)
        try:
            async with asyncio.timeout(seconds) as answer.deadline:
                await self._app(scope, receive, answer.send)
        except Exception as error:
            is_late = isinstance(error, TimeoutError)
            if not is_late:
                # What the error says may be what the client sent; it goes to neither side.
                self._events.note("bug", error=type(error).__name__, path=_logged_path(scope))
            if answer.has_begun:
                raise ConnectionAbortedError from None
            await plain_problem(503 if is_late else 500, headers=_CLOSE).response()(scope, receive, send)
        finally:
            self._requests -= 1
            self._begun.pop(answer, None)

    def _end_slowest_taker(self) -> bool:
        """End the answer that somebody has been taking longest, if it is slow; whether there was one."""
        answer = next(iter(self._begun), None)
        now = asyncio.get_running_loop().time()
        if answer is None or now - self._begun[answer] < self._limits.taking_seconds:
            return False
        del self._begun[answer]
        if answer.deadline is not None:
            answer.deadline.reschedule(now)
        return True


async def refuse_early(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer while a body may still be coming, and go on reading for a moment: to close a connection on bytes
    that are under way would take the answer back."""

    async def unfinished(message: Message) -> None:
        if message["type"] == "http.response.body":
            message["more_body"] = True
        await send(message)

    await problem.response()(scope, receive, unfinished)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b""})


class _Answer:
    """Knows whether an answer has begun, and notes when."""

    def __init__(self, send: Send, *, begun: "dict[_Answer, float]") -> None:
        self._send = send
        self._begun = begun
        self.has_begun = False
        self.deadline: asyncio.Timeout | None = None

    async def send(self, message: Message) -> None:
        if not self.has_begun:
            self.has_begun = True
            self._begun[self] = asyncio.get_running_loop().time()
        await self._send(message)


def _replayed(body: bytes, receive: Receive) -> Receive:
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay


def _refusal(scope: Scope) -> Problem | None:
    url = len(scope.get("raw_path") or scope["path"].encode()) + len(scope.get("query_string", b""))
    if url > URL_BYTES_MAX:
        return plain_problem(
            414, expected=f"at most {URL_BYTES_MAX} bytes", found=f"{url} bytes", headers=_CLOSE
        )
    headers = scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers)
    if size > HEADER_BYTES_MAX or len(headers) > HEADERS_MAX:
        return plain_problem(
            431,
            expected=f"at most {HEADERS_MAX}, {HEADER_BYTES_MAX} bytes",
            found=f"{len(headers)}, {size} bytes",
            headers=_CLOSE,
        )
    return None


def _logged_path(scope: Scope) -> str:
    """The route's own spelling, never the client's."""
    route = scope.get("route")
    return str(getattr(route, "path", ""))

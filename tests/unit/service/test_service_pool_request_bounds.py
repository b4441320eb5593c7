"""Bounds on requests: each refusal beside the nearest request that passes. Threat row D1."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from creditledger.service.pool.event_log import EventLog
from creditledger.service.pool.request_bounds import (
    HEADER_BYTES_MAX,
    HEADERS_MAX,
    URL_BYTES_MAX,
    Limits,
    RequestBounds,
)

LIMITS = Limits(body_bytes=1_000, bodies_bytes=1_500, body_seconds=0.2, requests=3, answer_seconds=0.3)
Message = dict[str, Any]


@dataclass
class Exchange:
    """One request and what came back."""

    chunks: list[bytes] = field(default_factory=list)
    pause: float = 0.0
    is_endless: bool = False
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    path: bytes = b"/x"
    sent: list[Message] = field(default_factory=list)

    async def run(self, app: Any) -> "Exchange":
        scope = {"type": "http", "method": "POST", "path": self.path.decode(), "raw_path": self.path}
        await app(scope | {"query_string": b"", "headers": self.headers}, self._receive, self._send)
        return self

    async def _receive(self) -> Message:
        await asyncio.sleep(self.pause)
        body = self.chunks.pop(0) if self.chunks else b""
        return {"type": "http.request", "body": body, "more_body": self.is_endless or bool(self.chunks)}

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        found: int = self.sent[0]["status"]
        return found

    @property
    def error(self) -> str:
        found: str = json.loads(self.sent[1]["body"])["error"]
        return found


def bounded(wait: Callable[[], Awaitable[None]] | None = None, *, limits: Limits = LIMITS) -> RequestBounds:
    """The bounds around an application that answers with how many bytes it was handed."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        assert not message["more_body"]
        if wait is not None:
            await wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(len(message["body"])).encode()})

    return RequestBounds(app, limits=limits, events=EventLog(None))


def answered(exchange: Exchange) -> tuple[int, bytes]:
    asyncio.run(exchange.run(bounded()))
    return exchange.status, exchange.sent[1]["body"]


def test_a_body_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    assert answered(Exchange([b"x" * 600, b"x" * 400])) == (200, b"1000")
    assert answered(Exchange([b"x" * 600, b"x" * 401]))[0] == 413


def test_an_announced_length_is_refused_before_a_byte_is_read() -> None:
    assert answered(Exchange([b"x"], headers=[(b"content-length", b"1000")]))[0] == 200
    assert answered(Exchange([b"x"], headers=[(b"content-length", b"1001")]))[0] == 413


def test_a_body_that_trickles_is_late_however_often_a_byte_comes() -> None:
    """Slow loris: time is counted for the whole body, with more of it for more bytes."""
    began = time.monotonic()
    assert answered(Exchange([b"x"], pause=0.05, is_endless=True))[0] == 408
    assert time.monotonic() - began < 5
    patient = replace(LIMITS, body_seconds=0.8)
    assert asyncio.run(Exchange([b"x"] * 3, pause=0.2).run(bounded(limits=patient))).status == 200
    assert asyncio.run(Exchange([b"x"] * 5, pause=0.2).run(bounded(limits=patient))).status == 408


def test_urls_and_headers_end_somewhere() -> None:
    assert answered(Exchange(path=b"/" + b"u" * (URL_BYTES_MAX - 1)))[0] == 200
    assert answered(Exchange(path=b"/" + b"u" * URL_BYTES_MAX))[0] == 414
    assert answered(Exchange(headers=[(b"x", b"")] * HEADERS_MAX))[0] == 200
    assert answered(Exchange(headers=[(b"x", b"")] * (HEADERS_MAX + 1)))[0] == 431
    assert answered(Exchange(headers=[(b"x", b"y" * (HEADER_BYTES_MAX - 1))]))[0] == 200
    assert answered(Exchange(headers=[(b"x", b"y" * HEADER_BYTES_MAX)]))[0] == 431


def test_so_many_at_once_and_no_more_and_places_are_given_back() -> None:
    async def all_at_once() -> list[int]:
        app = bounded(lambda: asyncio.sleep(0.05))
        first = await asyncio.gather(*(Exchange().run(app) for _ in range(5)))
        later = await asyncio.gather(*(Exchange().run(app) for _ in range(3)))
        return [one.status for one in (*first, *later)]

    assert sorted(asyncio.run(all_at_once())) == [200] * 6 + [503] * 2


def test_bodies_together_end_somewhere_too() -> None:
    async def two() -> list[int]:
        app = bounded(lambda: asyncio.sleep(0.05))
        ran = await asyncio.gather(*(Exchange([b"x" * 900]).run(app) for _ in range(2)))
        ran += [await Exchange([b"x" * 900]).run(app)]
        return [one.status for one in ran]

    assert asyncio.run(two()) == [200, 503, 200]


@pytest.mark.parametrize(("wait", "status"), [(lambda: asyncio.sleep(9), 503), (None, 500)])
def test_what_goes_wrong_behind_is_answered_and_not_told(wait: Any, status: int) -> None:
    async def fail() -> None:
        raise ValueError("what somebody sent")

    exchange = Exchange()
    asyncio.run(exchange.run(bounded(wait or fail)))
    assert exchange.status == status
    assert b"somebody" not in exchange.sent[1]["body"]


def test_of_too_many_bodies_that_trickle_the_oldest_is_too_slow() -> None:
    """D1: whoever drips into many requests takes places of their own only."""
    limits = Limits(body_seconds=30, requests=3, arriving=2)

    async def three_slow_and_one() -> list[int]:
        app = bounded(limits=limits)
        slow = [Exchange([b"x"] * 4, pause=0.05 * (place + 1)) for place in range(3)]
        running = [asyncio.create_task(one.run(app)) for one in slow]
        await asyncio.sleep(0.02)
        quick = await Exchange([b"x"]).run(app)
        await asyncio.gather(*running)
        return [quick.status, *(one.status for one in slow)]

    assert asyncio.run(three_slow_and_one()) == [200, 408, 408, 200]


def test_bodies_that_are_still_coming_count_too() -> None:
    async def two() -> list[int]:
        app = bounded()
        slow = asyncio.create_task(Exchange([b"x" * 900, b""], pause=0.04).run(app))
        await asyncio.sleep(0.06)
        second = await Exchange([b"x" * 900]).run(app)
        third = await Exchange([b"x" * 600]).run(app)
        return [(await slow).status, second.status, third.status]

    assert asyncio.run(two()) == [200, 503, 200]


def test_who_takes_long_over_an_answer_gives_their_place_to_who_needs_it() -> None:
    """D1: slow readers; one that has only begun to read keeps its place."""
    limits = Limits(requests=2, taking_seconds=0.1)

    async def crowd() -> list[object]:
        app = bounded(limits=limits)
        slow = [SlowTaker() for _ in range(2)]
        running = [asyncio.create_task(one.run(app)) for one in slow]
        await asyncio.sleep(0.02)
        early = await Exchange().run(app)
        await asyncio.sleep(0.15)
        late = await Exchange().run(app)
        ended = [done.exception() for done in (await asyncio.wait(running, timeout=0.05))[0]]
        for one in running:
            one.cancel()
        return [early.status, late.status, [type(error) for error in ended]]

    assert asyncio.run(crowd()) == [503, 200, [ConnectionAbortedError]]


class SlowTaker(Exchange):
    """Reads the head of an answer and nothing of its body."""

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.sleep(60)

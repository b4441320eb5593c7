"""A slow server is late, which accuses nobody: what a deadline cut off is never judged."""

import gzip
import time

import pytest

from creditledger.errors import BusyError
from creditledger.service.http_source import HttpSource
from creditledger.transparency.tile import Tile
from fakes.hostile_server import Answer, answering, reply

TILE = Tile(level=0, index=1_234_067, width=3)
CONTENT = b"\xaa" * 96


def ask(answer: Answer, *, timeout_s: float) -> bytes:
    """A tile of three hashes from a server."""
    with answering(answer) as url:
        source = HttpSource(url, timeout_s=timeout_s)
        try:
            return source.tile(TILE)
        finally:
            source.close()


def drip(before: bytes, more: bytes) -> Answer:
    """A byte now and then, each well within any pause that a client allows."""

    def answer(path: str, connection: object) -> None:
        connection.sendall(before)  # type: ignore[attr-defined]
        while True:
            connection.sendall(more)  # type: ignore[attr-defined]
            time.sleep(0.02)

    return answer


SLOW: dict[str, Answer] = {
    "silent": lambda path, wire: time.sleep(3),
    "headers": drip(b"HTTP/1.1 200 OK\r\nX-A: ", b"a"),
    "a body": drip(b"HTTP/1.1 200 OK\r\nContent-Length: 96\r\n\r\n", b"\xaa"),
    "a body without a length": drip(b"HTTP/1.0 200 OK\r\n\r\n", b"\xaa"),
    "gzip without a length": drip(
        b"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(CONTENT)[:12], b""
    ),
}


@pytest.mark.parametrize("name", SLOW)
def test_a_late_answer_is_given_up_in_time(name: str) -> None:
    begun = time.monotonic()
    with pytest.raises(BusyError, match="is late"):
        ask(SLOW[name], timeout_s=0.4)
    assert time.monotonic() - begun < 2


def test_an_answer_without_a_length_is_whole_when_the_server_ends_it() -> None:
    assert ask(lambda path, wire: wire.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT), timeout_s=5) == CONTENT
    assert ask(reply(gzip.compress(CONTENT), "Content-Encoding: gzip"), timeout_s=5) == CONTENT

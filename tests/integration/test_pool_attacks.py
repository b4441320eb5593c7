"""Clients that only want to be in the way: others are served meanwhile. Threat row D1."""

import contextlib
import socket
import statistics
import time
from collections.abc import Iterator
from typing import Final

import pytest

from cli_pools import Stage
from ledger_pools import registration
from pool_processes import RunningPool, serving

PROGRAM: Final = """
import creditledger.cli.serve as serve
serve.HEAD_SECONDS = 1.0
import creditledger.service.pool.request_bounds as bounds
bounds.Limits.__init__.__kwdefaults__['body_seconds'] = 1.0
"""
"""The same server with less patience, so that a test sees the end of it."""
CROWD: Final = 60


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPool]:
    with serving(Stage(tmp_path_factory.mktemp("crowded")).pool, program=PROGRAM) as started:
        yield started


def connected(pool: RunningPool) -> socket.socket:
    host, port = pool.address.split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def ended_after(connection: socket.socket) -> float:
    """How long the server keeps a silent connection."""
    began = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(4096):
            pass
    return time.monotonic() - began


def test_who_says_nothing_or_half_a_head_is_let_go(pool: RunningPool) -> None:
    with connected(pool) as silent, connected(pool) as half:
        half.sendall(b"GET /checkpoint HTTP/1.1\r\nhost: a\r\nx: ")
        assert 0.3 < ended_after(silent) < 8
        assert ended_after(half) < 8


def test_a_body_that_trickles_in_is_408(pool: RunningPool) -> None:
    with connected(pool) as slow:
        head = b"POST /v1/records HTTP/1.1\r\nhost: a\r\ncontent-type: application/msgpack\r\n"
        slow.sendall(head + b"content-length: 1000\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(12):
                slow.sendall(b"\x91")
                time.sleep(0.1)
        assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_a_connection_that_asks_again_in_time_is_kept(pool: RunningPool) -> None:
    with connected(pool) as steady:
        for _ in range(4):
            steady.sendall(b"HEAD /policy HTTP/1.1\r\nhost: a\r\n\r\n")
            assert steady.recv(65_536).startswith(b"HTTP/1.1 200 ")
            time.sleep(0.5)


def median_ms(pool: RunningPool, prefix: str) -> float:
    times = []
    for number in range(15):
        began = time.perf_counter()
        pool.outcomes([registration(pool.ledger_id, f"{prefix}-{number}")])
        times.append(1_000 * (time.perf_counter() - began))
    return statistics.median(times)


def test_a_crowd_of_slow_ones_does_not_slow_the_others(pool: RunningPool) -> None:
    """60 half-sent bodies at once; the median append stays near what it was."""
    calm = median_ms(pool, "calm")
    with contextlib.ExitStack() as stack:
        for _ in range(CROWD):
            slow = stack.enter_context(connected(pool))
            slow.sendall(
                b"POST /v1/records HTTP/1.1\r\nhost: a\r\ncontent-length: 4000000\r\n\r\n" + b"x" * 9_000
            )
        crowded = median_ms(pool, "crowded")
    assert crowded < 3 * calm + 20, (calm, crowded)
    assert pool.get("/healthz").json()["ok"]


FEW_PLACES: Final = """
import creditledger.cli.serve as serve
serve.CONNECTIONS_MAX = 24
import creditledger.service.pool.request_bounds as bounds
bounds.Limits.__init__.__kwdefaults__['arriving'] = 8
"""


def test_more_silent_connections_than_places_shut_nobody_out(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Those of the crowd go first, the longest silent before the others; who has asked before stays."""
    with serving(Stage(tmp_path_factory.mktemp("places")).pool, program=FEW_PLACES) as pool:
        assert pool.get("/policy").status_code == 200
        with contextlib.ExitStack() as stack, connected(pool) as steady:
            steady.sendall(b"HEAD /policy HTTP/1.1\r\nhost: a\r\n\r\n")
            assert steady.recv(65_536).startswith(b"HTTP/1.1 200 ")
            crowd = [stack.enter_context(connected(pool)) for _ in range(60)]
            assert pool.outcomes([registration(pool.ledger_id, "heard")])[0]["index"] > 0
            steady.sendall(b"HEAD /policy HTTP/1.1\r\nhost: a\r\n\r\n")
            assert steady.recv(65_536).startswith(b"HTTP/1.1 200 ")
            assert ended_after(crowd[0]) < 5
            crowd[-1].sendall(b"HEAD /policy HTTP/1.1\r\nhost: a\r\n\r\n")
            assert crowd[-1].recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_more_half_sent_bodies_than_places_shut_nobody_out(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The first of them is told 408 long before its time, and a whole request is answered."""
    head = b"POST /v1/records HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n"
    with serving(Stage(tmp_path_factory.mktemp("bodies")).pool, program=FEW_PLACES) as pool:
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(connected(pool)) for _ in range(10)]
            began = time.monotonic()
            for slow in crowd:
                slow.sendall(head)
            assert crowd[0].recv(4096).startswith(b"HTTP/1.1 408 ")
            assert time.monotonic() - began < 5
            assert pool.outcomes([registration(pool.ledger_id, "whole")])[0]["index"] > 0
        assert pool.get("/healthz").json()["ok"]


def test_who_never_reads_an_answer_is_let_go(pool: RunningPool) -> None:
    """More answers than any buffer holds are asked for, and none is taken: the connection is gone soon."""
    with connected(pool) as greedy:
        greedy.settimeout(0.2)
        assert asks_until_ended(greedy, b"GET /openapi.json HTTP/1.1\r\nhost: a\r\n\r\n" * 50) < 15
    assert pool.get("/healthz").json()["ok"]


def asks_until_ended(connection: socket.socket, question: bytes) -> float:
    """How long one may go on asking without reading."""
    began = time.monotonic()
    while time.monotonic() - began < 15:
        try:
            connection.sendall(question)
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - began

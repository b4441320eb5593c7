"""A witness on the wire: what a stranger sends is bounded in size, time and number."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from creditledger.errors import BusyError, MalformedRecordError
from creditledger.service.http_server import HttpServer, address_of, listening_socket
from creditledger.service.witness_app import BODY_BYTES_MAX, witness_app
from creditledger.service.witness_desk import WitnessDesk
from creditledger.service.witness_directory import WitnessDirectory
from creditledger.transparency.log_list import WatchedLog
from fakes.small_log import SmallLog

LOG = SmallLog()
Address = tuple[str, int]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WitnessDesk]:
    path = tmp_path_factory.mktemp("app") / "w"
    WitnessDirectory.create(path, name="w", random_bytes=os.urandom)
    opened = WitnessDirectory(path)
    logs = [WatchedLog(vkey=LOG.vkey, origin=LOG.origin)]
    yield WitnessDesk(
        opened.witness(), opened.state, logs, clock=lambda: 1_750_000_000_000, on_failure=lambda error: None
    )
    opened.close()


@contextmanager
def serving(
    desk: WitnessDesk, *, body_seconds: float = 10, connection_seconds: float = 60, connections_max: int = 64
) -> Iterator[Address]:
    """A real server in a thread of this process."""
    ready = threading.Event()
    listening = listening_socket("127.0.0.1", 0)
    server = HttpServer(
        witness_app(desk, body_seconds=body_seconds),
        on_ready=ready.set,
        connection_seconds=connection_seconds,
        connections_max=connections_max,
    )
    address: Address = listening.getsockname()
    thread = threading.Thread(target=server.serve_on, args=(listening,))
    thread.start()
    assert ready.wait(30)
    try:
        yield address
    finally:
        server.stop()
        thread.join(30)
        assert not thread.is_alive()


def post(length: int, *more: bytes) -> bytes:
    """The head of a request that announces ``length`` bytes."""
    head = b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: %d\r\n" % length
    return head + b"".join(more) + b"\r\n"


def exchange(address: Address, sent: bytes) -> bytes:
    """All that the server says until it hangs up."""
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(sent)
        said = b""
        while chunk := connection.recv(65_536):
            said += chunk
        return said


def status(said: bytes) -> int:
    return int(said.split(b" ", 2)[1])


def test_a_body_is_read_up_to_its_bound(desk: WitnessDesk) -> None:
    with serving(desk) as address:
        close = b"connection: close\r\n"
        assert status(exchange(address, post(BODY_BYTES_MAX, close) + bytes(BODY_BYTES_MAX))) == 400
        assert status(exchange(address, post(BODY_BYTES_MAX + 1))) == 413
        chunked = b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ntransfer-encoding: chunked\r\n\r\n"
        chunk = b"%x\r\n%s\r\n" % (BODY_BYTES_MAX // 2, bytes(BODY_BYTES_MAX // 2))
        assert status(exchange(address, chunked + 2 * chunk + b"1\r\nx\r\n")) == 413
        body = LOG.body(0, 3)
        assert status(exchange(address, post(len(body), close) + body)) == 200


def test_a_request_that_never_ends_is_given_up(desk: WitnessDesk) -> None:
    with serving(desk, body_seconds=0.3) as address:
        begun = time.monotonic()
        assert status(exchange(address, post(10) + b"old 0")) == 408
        assert time.monotonic() - begun < 10


@pytest.mark.parametrize("sent", [b"", b"POST /add-ch", post(10)[:-2] + b"x: 1\r\n"])
def test_a_connection_that_asks_nothing_is_ended(desk: WitnessDesk, sent: bytes) -> None:
    with serving(desk, connection_seconds=0.3) as address:
        assert exchange(address, sent) == b""


def test_a_connection_is_not_ended_amid_an_answer(desk: WitnessDesk) -> None:
    """Its time is over while the body still arrives: the answer comes, and is the last one."""
    with serving(desk, connection_seconds=0.2) as address:
        body = LOG.body(1, 3)
        with socket.create_connection(address, timeout=20) as connection:
            connection.sendall(post(len(body)) + body[:5])
            time.sleep(0.5)
            connection.sendall(body[5:])
            said = b""
            while chunk := connection.recv(65_536):
                said += chunk
        assert status(said) == 409


def test_there_are_so_many_busy_connections_and_idle_ones_give_way(desk: WitnessDesk) -> None:
    with serving(desk, connections_max=4, connection_seconds=1) as address:
        get = f"GET /{LOG.digest}/checkpoint HTTP/1.1\r\nhost: w\r\nconnection: close\r\n\r\n".encode()
        idle = [socket.create_connection(address) for _ in range(6)]
        assert status(exchange(address, get)) in (200, 404)
        busy = [socket.create_connection(address) for _ in range(4)]
        for connection in busy:
            connection.sendall(post(10) + b"old 0")
        time.sleep(0.2)
        assert status(exchange(address, get)) == 503
        for connection in (*idle, *busy):
            connection.close()
        time.sleep(0.2)
        assert status(exchange(address, get)) in (200, 404)


def test_what_is_no_http_gets_no_further(desk: WitnessDesk) -> None:
    with serving(desk) as address:
        assert status(exchange(address, b"\x16\x03\x01\x00\xa5\r\n\r\n")) == 400
        negative = b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: -1\r\n\r\n"
        assert status(exchange(address, negative)) == 400


def test_an_address_is_taken_once() -> None:
    with listening_socket("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(BusyError):
            listening_socket("127.0.0.1", port)
    listening_socket("127.0.0.1", port).close()


def test_an_address_must_be_of_this_machine() -> None:
    for host in ("203.0.113.7", "no such host.invalid", "a" * 70 + ".example"):
        with pytest.raises(MalformedRecordError):
            listening_socket(host, 0)


def test_an_address_is_shown_as_a_url_has_it() -> None:
    with listening_socket("127.0.0.1", 0) as listening:
        assert address_of(listening) == f"127.0.0.1:{listening.getsockname()[1]}"
    if socket.has_ipv6:
        try:
            with listening_socket("::1", 0) as listening:
                assert address_of(listening).startswith("[::1]:")
        except MalformedRecordError:
            pass  # a machine without the address

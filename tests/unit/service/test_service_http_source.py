"""A log behind a URL: an honest plain web server, and every way a server can misbehave."""

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from creditledger.errors import BusyError, MalformedRecordError, VerificationError
from creditledger.ledger.audit import audit_source
from creditledger.ledger.ledger import Ledger
from creditledger.service.http_source import HttpSource
from creditledger.transparency.tile import Tile
from ledger_pools import START_MS, FixedClock, fill, found, working

Respond = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """A web server on a free port, in threads of this process."""

    def __init__(self, handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest reads stderr."""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = found(tmp_path / "pool", FixedClock())
    made.append(working(made).batch(3))
    fill(made, 300)
    made.publish()
    return made


@pytest.fixture
def honest(ledger: Ledger) -> Iterator[Server]:
    server = Server(partial(Quiet, directory=str(ledger.directory.public)))
    yield server
    server.close()


@pytest.fixture
def lying(ledger: Ledger) -> Iterator[Callable[[str, Respond], str]]:
    """Serves the log, but answers one path in its own way; gives the URL."""
    servers: list[Server] = []

    def serve(path: str, respond: Respond) -> str:
        class Lying(Quiet):
            def do_GET(self) -> None:
                respond(self) if self.path == path else super().do_GET()

        servers.append(Server(partial(Lying, directory=str(ledger.directory.public))))
        return servers[-1].url

    yield serve
    for server in servers:
        server.close()


def body(content: bytes, *, status: int = 200, length: int | None = None, **headers: str) -> Respond:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)
        handler.wfile.flush()
        if length is not None:
            handler.close_connection = True

    return respond


def test_a_plain_web_server_is_all_an_auditor_needs(ledger: Ledger, honest: Server) -> None:
    for url in (honest.url, honest.url + "/"):
        report = audit_source(HttpSource(url), ledger.policy(), now_unix_ms=START_MS)
        assert (report.problem, report.entries) == ("", 300)
    assert report.rounds >= 1


def test_gzip_is_understood(ledger: Ledger, lying: Callable[[str, Respond], str]) -> None:
    packed = gzip.compress((ledger.directory.public / "tile/entries/000").read_bytes())
    url = lying("/tile/entries/000", body(packed, Content_Encoding="gzip"))
    assert audit_source(HttpSource(url), ledger.policy(), now_unix_ms=START_MS).ok


@pytest.mark.parametrize("path", ["/tile/entries/000", "/tile/0/000", "/tile/0/001.p/44", "/checkpoint"])
@pytest.mark.parametrize(
    ("respond", "error"),
    [
        (body(b"", status=404), VerificationError),
        (body(b"", status=403), VerificationError),
        (body(b"", status=302, Location="/checkpoint"), VerificationError),
        (body(b"", status=429), BusyError),
        (body(b"", status=503), BusyError),
        (body(b"short", length=9_000), BusyError),
        (body(b"", length=0), (VerificationError, MalformedRecordError)),
        (body(b"\xff" * 8_192), (VerificationError, MalformedRecordError)),
        (body(b"not gzip", Content_Encoding="gzip"), VerificationError),
        (body(gzip.compress(b"x" * 9_000)[:-4], Content_Encoding="gzip"), VerificationError),
        (body(b"", Content_Encoding="br"), VerificationError),
    ],
)
def test_a_file_that_is_not_the_logs_is_refused(
    ledger: Ledger,
    lying: Callable[[str, Respond], str],
    path: str,
    respond: Respond,
    error: type[Exception] | tuple[type[Exception], ...],
) -> None:
    source = HttpSource(lying(path, respond))
    if error is BusyError:
        with pytest.raises(BusyError):
            audit_source(source, ledger.policy(), now_unix_ms=START_MS)
        return
    report = audit_source(source, ledger.policy(), now_unix_ms=START_MS)
    assert isinstance(report.error, error)
    assert report.entries < 300


def test_a_small_answer_that_unpacks_to_a_large_one_is_cut_off(lying: Callable[[str, Respond], str]) -> None:
    bomb = gzip.compress(bytes(200 * 1024 * 1024))
    source = HttpSource(lying("/tile/entries/000", body(bomb, Content_Encoding="gzip")))
    with pytest.raises(VerificationError, match="too long"):
        source.tile(Tile(level=None, index=0))


WHOLE = bytes(3 * 32)


@pytest.mark.parametrize(
    ("packed", "is_read"),
    [
        (gzip.compress(WHOLE), True),
        (gzip.compress(WHOLE)[:-1], False),
        (gzip.compress(WHOLE)[:12], False),
        (b"", False),
        (gzip.compress(WHOLE) + b"x", False),
        (gzip.compress(WHOLE[:32]) + gzip.compress(WHOLE[32:]), False),
    ],
    ids=["whole", "a byte short", "cut off", "nothing", "a tail", "two members"],
)
def test_gzip_is_one_member_and_nothing_else(
    lying: Callable[[str, Respond], str], packed: bytes, is_read: bool
) -> None:
    tile = Tile(level=0, index=1, width=3)
    source = HttpSource(lying("/tile/0/001.p/3", body(packed, Content_Encoding="gzip")))
    if is_read:
        assert source.tile(tile) == WHOLE
        return
    with pytest.raises(VerificationError, match="cannot be unpacked"):
        source.tile(tile)


@pytest.mark.parametrize("packing", ["", "gzip"])
@pytest.mark.parametrize(
    ("tile", "most"),
    [
        (Tile(level=0, index=0), 8_192),
        (Tile(level=0, index=1, width=3), 96),
        (Tile(level=None, index=1, width=2), 2 * 65_537),
    ],
    ids=lambda value: value.path if isinstance(value, Tile) else str(value),
)
def test_a_tile_is_as_long_as_its_width_allows(
    lying: Callable[[str, Respond], str], tile: Tile, most: int, packing: str
) -> None:
    for size in (most, most + 1):
        content = gzip.compress(bytes(size)) if packing else bytes(size)
        source = HttpSource(lying(f"/{tile.path}", body(content, Content_Encoding=packing or "identity")))
        if size == most:
            assert len(source.tile(tile)) == most
        else:
            with pytest.raises(VerificationError, match="too long"):
                source.tile(tile)


def test_an_endless_answer_is_cut_off(lying: Callable[[str, Respond], str]) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(65_536))

    source = HttpSource(lying("/checkpoint", respond))
    with pytest.raises(VerificationError, match="too long"):
        source.checkpoint()


@pytest.mark.parametrize("when", ["never answers", "drips headers", "drips its body"])
def test_a_server_that_drips_is_given_up_in_time(lying: Callable[[str, Respond], str], when: str) -> None:
    """Also on a connection that earlier files came over."""
    stop = threading.Event()

    def respond(handler: BaseHTTPRequestHandler) -> None:
        if when == "drips its body":
            handler.send_response(200)
            handler.send_header("Content-Length", "9000")
            handler.end_headers()
        elif when == "drips headers":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while not stop.wait(0.05):
            if when != "never answers":
                handler.wfile.write(b"x")

    source = HttpSource(lying("/tile/0/000", respond), timeout_s=0.5)
    assert source.checkpoint()
    started = time.monotonic()
    with pytest.raises(BusyError):
        source.tile(Tile(level=0, index=0))
    assert time.monotonic() - started < 5
    stop.set()
    assert source.checkpoint()


def test_nobody_there_is_busy() -> None:
    with pytest.raises(BusyError, match="cannot be reached"):
        HttpSource("http://127.0.0.1:1").checkpoint()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://log.example",
        "http://",
        "http://a b/",
        "https://log.example/?x",
        "http://999.1.1.1",
        "http://log.example/" + "a" * 65_400,
    ],
    ids=lambda url: url[:30],
)
def test_what_is_no_url_of_a_log_is_refused(url: str) -> None:
    """Also what only the HTTP client finds wrong, before anything is asked."""
    with pytest.raises(MalformedRecordError, match="not a log's URL"):
        HttpSource(url)

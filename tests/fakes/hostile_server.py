"""Web servers on this machine: a plain one over a folder, and ones that answer as they please."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Answer = Callable[[str, socket.socket], None]
"""Gets the path that was asked for, and the connection."""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Tests read no access logs."""


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The URL of a plain web server over ``folder``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def answering(answer: Answer) -> Iterator[str]:
    """The URL of a server that hands every request's connection to ``answer``, then closes it."""
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_accept, args=(listening, answer), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        # Wakes the thread that waits for the next caller.
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def _accept(listening: socket.socket, answer: Answer) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_serve, args=(connection, answer), daemon=True).start()


def _serve(connection: socket.socket, answer: Answer) -> None:
    with connection, suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head:
            chunk = connection.recv(4096)
            if not chunk:
                return
            head += chunk
        answer(head.split(b" ")[1].decode(), connection)


def reply(content: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> Answer:
    """One answer to everything; ``length`` is what it claims."""
    size = len(content) if length is None else length
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers]
    encoded = "\r\n".join(lines).encode() + b"\r\n\r\n" + content
    return lambda path, connection: connection.sendall(encoded)

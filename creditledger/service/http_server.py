"""One HTTP server in this process, until it is told to stop. Home of uvicorn. Source: specs/log.md §9."""

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from creditledger.errors import BusyError, MalformedRecordError, StorageError

CONNECTIONS_MAX: Final = 256
"""With so many, a new one takes the place of an idle one; where all are busy, it is told 503."""
CONNECTION_SECONDS: Final = 60.0
"""No connection lasts longer: whoever sends nothing, or a byte now and then, gives up their place."""
STOP_SECONDS: Final = 5
BACKLOG: Final = 128
LINGER_SECONDS: Final = 1.0
"""How long what is refused is still read, and thrown away, so that its sender sees the answer."""
Refusal: TypeAlias = tuple[str, bytes]
PLAIN_REFUSAL: Final[Refusal] = ("text/plain; charset=utf-8", b"not HTTP")


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens on ``host`` and ``port`` (0: any free one).

    Raises BusyError if the address is in use, MalformedRecordError if it is none of this machine's,
    StorageError if the system does not let us."""
    where = f"{host}:{port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise MalformedRecordError("no such address", expected="HOST:PORT", found=ascii(where)) from error
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
    except OSError as error:
        opened.close()
        raise _bind_error(error, where) from error
    return opened


def address_of(listening: socket.socket) -> str:
    """``host:port`` as a URL has it."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class IdleConnections:
    """Connections on which no request is being answered, the longest idle first.

    Whoever opens as many as there are places shuts nobody out: the first to go is one of theirs."""

    __slots__ = ("_known", "_strangers")

    def __init__(self) -> None:
        self._strangers: dict[H11Protocol, None] = {}
        self._known: dict[H11Protocol, None] = {}

    def join(self, connection: H11Protocol, *, is_known: bool) -> None:
        """It waits for a request from now on. ``is_known``: one was answered on it."""
        self.leave(connection)
        (self._known if is_known else self._strangers)[connection] = None

    def leave(self, connection: H11Protocol) -> None:
        """It has a request, or is gone."""
        self._strangers.pop(connection, None)
        self._known.pop(connection, None)

    def end_longest(self) -> None:
        """End the one that was idle longest, of those that never asked anything if there are any."""
        for connection in self._strangers or self._known:
            self.leave(connection)
            connection.transport.abort()
            # It hears so later; until then it would count as one of those that leave no room.
            connection.connections.discard(connection)
            return


class HttpServer(uvicorn.Server):
    """Serves an ASGI application on one socket; SIGTERM and SIGINT end it when what is asked is answered.

    `run` in the main thread; afterwards the signal is raised again, for whoever handles it there."""

    def __init__(
        self,
        app: Any,
        *,
        on_ready: Callable[[], None],
        connection_seconds: float = CONNECTION_SECONDS,
        connections_max: int = CONNECTIONS_MAX,
        head_seconds: float | None = None,
        head_bytes: int | None = None,
        refusal: Refusal = PLAIN_REFUSAL,
    ) -> None:
        """``on_ready`` is called once, when requests are answered and signals heard. ``head_seconds``: how
        long a connection may be open without a request that is being answered, or without taking any more of
        an answer. ``head_bytes``: of a request
        before its body. ``refusal``: the type and body that one gets whose bytes are no HTTP."""

        idle = IdleConnections()

        class Mortal(H11Protocol):
            """A connection that ends after its time, though not amid an answer."""

            _is_refused = False
            _unread: asyncio.TimerHandle | None = None

            def data_received(self, data: bytes) -> None:
                if not self._is_refused:
                    super().data_received(data)
                    if not self._is_idle():
                        idle.leave(self)

            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                super().connection_made(transport)
                self._end = self.loop.call_later(connection_seconds, self.shutdown)
                if len(self.connections) >= connections_max:
                    idle.end_longest()
                idle.join(self, is_known=False)
                self._await_head()

            def connection_lost(self, exc: Exception | None) -> None:
                idle.leave(self)
                self._end.cancel()
                if head_seconds is not None:
                    self._late.cancel()
                if self._unread is not None:
                    self._unread.cancel()
                super().connection_lost(exc)

            def on_response_complete(self) -> None:
                super().on_response_complete()
                if head_seconds is not None:
                    self._late.cancel()
                if self._is_idle() and not self.transport.is_closing():
                    idle.join(self, is_known=True)
                self._await_head()

            def send_400_response(self, msg: str) -> None:
                if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
                    self.transport.close()  # amid an answer there is nothing more to say
                    return
                if self.cycle is not None and not self.cycle.response_complete:
                    self.cycle.disconnected = True
                    self.cycle.message_event.set()
                media_type, body = refusal
                headers = [("content-type", media_type), ("connection", "close")]
                headers.append(("content-length", str(len(body))))
                for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body)):
                    self.transport.write(self.conn.send(event) or b"")
                # Closing on bytes that are still coming would take the answer back.
                self.transport.write_eof()
                self._is_refused = True
                self.loop.call_later(LINGER_SECONDS, self.transport.close)

            def _await_head(self) -> None:
                if head_seconds is not None:
                    self._late = self.loop.call_later(head_seconds, self._end_if_idle)

            def pause_writing(self) -> None:
                super().pause_writing()
                if head_seconds is not None:
                    self._unread = self.loop.call_later(head_seconds, self.transport.abort)

            def resume_writing(self) -> None:
                super().resume_writing()
                if self._unread is not None:
                    self._unread.cancel()

            def _is_idle(self) -> bool:
                return self.cycle is None or self.cycle.response_complete

            def _end_if_idle(self) -> None:
                if self.transport.is_closing():
                    self.transport.abort()  # nobody takes the rest
                    return
                if self._is_idle():
                    self.transport.close()
                self._await_head()

        super().__init__(
            uvicorn.Config(
                app,
                http=Mortal,
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=connections_max,
                timeout_graceful_shutdown=STOP_SECONDS,
                h11_max_incomplete_event_size=head_bytes,
            )
        )
        self._on_ready = on_ready

    def serve_on(self, listening: socket.socket) -> None:
        """Serve until stopped, then close the socket."""
        with listening:
            self.run(sockets=[listening])

    def stop(self) -> None:
        """End once what is asked is answered. From any thread."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See `uvicorn.Server.startup`."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()


def _bind_error(error: OSError, where: str) -> Exception:
    if error.errno == errno.EADDRINUSE:
        return BusyError("the address is in use", expected="a free one", found=where)
    if error.errno == errno.EADDRNOTAVAIL:
        return MalformedRecordError("not an address of this machine", expected="HOST:PORT", found=where)
    return StorageError(f"cannot listen: {error.strerror}", found=where)

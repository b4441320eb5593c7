"""The network between a node and its pool: open, cut, or so slow that nothing ever arrives."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Weather = Literal["fast", "slow", "dead"]


class NetworkGate:
    """One address that stays the same, in front of a server that comes and goes.

    ``fast`` passes on, ``slow`` takes connections and keeps silent, ``dead`` ends them at once."""

    def __init__(self) -> None:
        self.weather: Weather = "dead"
        self.behind = ""
        self.taken = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = "http://{}:{}".format(*self._listening.getsockname())
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def turn(self, weather: Weather, *, behind: str | None = None) -> None:
        """Change the weather; connections that are open end. ``behind``: the server's address."""
        self.weather, self.behind = weather, self.behind if behind is None else behind
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.turn("dead")
        self._listening.close()

    def _run(self) -> None:
        while True:
            try:
                caller, _ = self._listening.accept()
            except OSError:
                return
            self.taken += 1
            threading.Thread(target=self._pass_on, args=(caller,), daemon=True).start()

    def _pass_on(self, caller: socket.socket) -> None:
        with caller, self._opened(caller):
            if self.weather == "slow":
                while caller.recv(65_536):
                    pass
            if self.weather != "fast":
                return
            host, _, port = self.behind.rpartition(":")
            try:
                server = socket.create_connection((host, int(port)), timeout=10)
            except OSError:
                return
            server.settimeout(None)
            with server, self._opened(server):
                back = threading.Thread(target=_pump, args=(server, caller), daemon=True)
                back.start()
                _pump(caller, server)
                back.join()

    @contextmanager
    def _opened(self, one: socket.socket) -> Iterator[None]:
        self._open.add(one)
        try:
            yield
        except OSError:
            pass
        finally:
            self._open.discard(one)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65_536):
            target.sendall(piece)
    for one in (source, target):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextmanager
def network_gate() -> Iterator[NetworkGate]:
    """For the time of a test."""
    gate = NetworkGate()
    try:
        yield gate
    finally:
        gate.close()

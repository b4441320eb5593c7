"""``python loopback_attacks.py KIND PORT SECONDS``: one attack on 127.0.0.1, bounded in number and time.

What it did is printed as one JSON object. It runs at the lowest priority: a real attacker has a machine of
their own, and only what the server does with what comes is to be measured."""

import asyncio
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

HOST: Final = "127.0.0.1"
DRIPPERS: Final = 600
"""Connections that send a byte now and then, half of them in a head and half in a body."""
DRIP_SECONDS: Final = 0.5
CROWD: Final = 700
"""Connections that say nothing at all: more than the server has places."""
AGAIN_SECONDS: Final = 1.0
"""Until one that was put out comes again."""
UPLOADERS: Final = 2
UPLOAD_PAUSE_SECONDS: Final = 0.2
HEADER_SENDERS: Final = 4
HEADER_PAUSE_SECONDS: Final = 0.04
GREEDY: Final = 16
"""Connections that ask for much and read nothing of it."""
READERS: Final = 8
READER_PAUSE_SECONDS: Final = 0.02
READ_PATHS: Final = (
    "/checkpoint",
    "/v1/status",
    "/v1/accounts/client-0",
    "/healthz",
    "/tile/0/000",
    "/nothing",
)

Line: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Attack:
    """Many connections at once until ``end``."""

    def __init__(self, port: int, seconds: float) -> None:
        self._port = port
        self.end = time.monotonic() + seconds
        self.counts: Counter[str] = Counter()

    async def run(self, number: int, part: Callable[[int], Awaitable[None]]) -> None:
        """``number`` attackers; one that is cut off begins again."""
        await asyncio.gather(*(self._persist(index, part) for index in range(number)))

    async def _persist(self, index: int, part: Callable[[int], Awaitable[None]]) -> None:
        while time.monotonic() < self.end:
            try:
                await asyncio.wait_for(part(index), self.end - time.monotonic() + 0.1)
            except TimeoutError:
                return
            except (OSError, asyncio.IncompleteReadError, ValueError):
                self.counts["cut off"] += 1
                await asyncio.sleep(AGAIN_SECONDS)

    async def loris(self, index: int) -> None:
        """A request that never ends, a byte at a time."""
        reader, writer = await self._open()
        start = b"GET /checkpoint HTTP/1.1\r\nHost: a\r\nX-Slow: "
        if index % 2:
            start = b"POST /v1/records HTTP/1.1\r\nHost: a\r\nContent-Type: application/msgpack\r\n"
            start += b"Content-Length: 100000\r\n\r\n"
        writer.write(start)
        try:
            while time.monotonic() < self.end and not reader.at_eof():
                writer.write(b"a")
                await writer.drain()
                self.counts["bytes dripped"] += 1
                await asyncio.sleep(DRIP_SECONDS)
            if reader.at_eof():
                raise ConnectionResetError
        finally:
            writer.close()

    async def crowd(self, index: int) -> None:
        """A connection on which nothing is said; whoever is put out comes again."""
        reader, writer = await self._open()
        try:
            await reader.read()
            raise ConnectionResetError
        finally:
            writer.close()

    async def greed(self, index: int) -> None:
        """Many large answers, none of which is read."""
        _, writer = await self._open()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        transport = writer.transport
        transport.pause_reading()  # type: ignore[attr-defined]
        try:
            while time.monotonic() < self.end:
                writer.write(b"GET /tile/entries/000 HTTP/1.1\r\nHost: a\r\n\r\n")
                await writer.drain()
                self.counts["requests"] += 1
                await asyncio.sleep(READER_PAUSE_SECONDS)
        finally:
            transport.abort()

    async def oversize(self, index: int) -> None:
        """Bodies beyond the limit: announced, and unannounced in chunks."""
        for is_announced in (True, False):
            reader, writer = await self._open()
            try:
                head = b"POST /v1/records HTTP/1.1\r\nHost: a\r\nContent-Type: application/msgpack\r\n"
                size = b"Content-Length: 1000000000" if is_announced else b"Transfer-Encoding: chunked"
                writer.write(head + size + b"\r\n\r\n")
                chunk = bytes(65_536) if is_announced else b"10000\r\n" + bytes(65_536) + b"\r\n"
                for _ in range(80):
                    writer.write(chunk)
                    await writer.drain()
                await self._answer(reader)
            finally:
                writer.close()
            await asyncio.sleep(UPLOAD_PAUSE_SECONDS)

    async def headers(self, index: int) -> None:
        """Too many headers, too long ones, and a URL without end."""
        many = b"".join(b"X-%d: %s\r\n" % (number, b"a" * 150) for number in range(100))
        for flood in (many, b"X-Long: " + b"a" * 60_000 + b"\r\n", b""):
            reader, writer = await self._open()
            try:
                path = b"/checkpoint" if flood else b"/" + b"a" * 20_000
                writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n" + flood + b"\r\n")
                await writer.drain()
                await self._answer(reader)
            finally:
                writer.close()
            await asyncio.sleep(HEADER_PAUSE_SECONDS)

    async def flood(self, index: int) -> None:
        """A reader without a token who does not stop."""
        reader, writer = await self._open()
        try:
            while time.monotonic() < self.end:
                path = READ_PATHS[(index + self.counts["requests"]) % len(READ_PATHS)]
                writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                await self._answer(reader)
                await asyncio.sleep(READER_PAUSE_SECONDS)
        finally:
            writer.close()

    async def _open(self) -> Line:
        self.counts["connections"] += 1
        return await asyncio.open_connection(HOST, self._port)

    async def _answer(self, reader: asyncio.StreamReader) -> None:
        self.counts["requests"] += 1
        head = await reader.readuntil(b"\r\n\r\n")
        self.counts[head.split(b" ", 2)[1].decode()] += 1
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                await reader.readexactly(int(line[15:]))


KINDS: Final[dict[str, tuple[int, Callable[[Attack], Callable[[int], Awaitable[None]]]]]] = {
    "slow-loris": (DRIPPERS, lambda attack: attack.loris),
    "crowd": (CROWD, lambda attack: attack.crowd),
    "greed": (GREEDY, lambda attack: attack.greed),
    "oversize": (UPLOADERS, lambda attack: attack.oversize),
    "headers": (HEADER_SENDERS, lambda attack: attack.headers),
    "flood": (READERS, lambda attack: attack.flood),
}


def main(kind: str, port: int, seconds: float) -> None:
    """Attack, then say what was done."""
    os.nice(19)
    attack = Attack(port, seconds)
    number, part = KINDS[kind]
    asyncio.run(attack.run(number, part(attack)))
    print(json.dumps(attack.counts))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))

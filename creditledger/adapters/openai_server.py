"""OpenAI-compatible servers: every answer ordered, recorded, and told its receipts.

An ASGI middleware without any framework: ``app.add_middleware(CreditMiddleware)``, configured by the
environment, or wrapped around an application by hand. Source: specs/service.md §8."""

import asyncio
from base64 import b64decode
from binascii import Error as Base64Error
from typing import Final

from creditledger.adapters.asgi import (
    App,
    Message,
    Receive,
    Scope,
    Send,
    header,
    read_body,
    replaying,
    send_bytes,
    send_problem,
)
from creditledger.adapters.hosted_work import HostedWork, working_on
from creditledger.adapters.model_host import ModelHost
from creditledger.adapters.openai_interface import ORDER, PATHS, RECEIPTS, RECEIPTS_PATH, SEED, sampler_of
from creditledger.errors import BusyError, CreditLedgerError, MalformedRecordError, UnknownIdError
from creditledger.ledger.json_text import read_json

RECEIPTS_SECONDS_MAX: Final = 30.0
_READING: Final = ("GET", "HEAD", "OPTIONS")


class CreditMiddleware:
    """Answers `PATHS` for whoever shows an order that a hold covers, and gives the receipts for it.

    An order is the header ``creditledger-order``, a `WorkOrder` in base64, with 32 bytes of hex in
    ``creditledger-seed``. The answer names in ``creditledger-receipts`` the path where its receipts are
    found. Without an order: 402, unless ``is_required`` is false. Other methods than GET, HEAD and OPTIONS
    have no other path: what servers have there (loading and unloading models) is not for clients."""

    def __init__(self, app: App, *, host: ModelHost | None = None, is_required: bool = True) -> None:
        """``host``: None is that of the environment, see `ModelHost.from_environment`."""
        self._app = app
        self._host = ModelHost.from_environment() if host is None else host
        self._is_required = is_required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._beside(scope, receive, send)
            return
        path, method = str(scope.get("path", "")), scope.get("method", "GET")
        if path.startswith(RECEIPTS_PATH):
            await self._receipts(path.removeprefix(RECEIPTS_PATH), send)
        elif method in _READING or (not self._is_required and header(scope, ORDER) is None):
            await self._app(scope, receive, send)
        elif path not in PATHS:
            await send_problem(send, UnknownIdError("there is nothing to order at this path"), status=404)
        else:
            await self._answer(scope, receive, send)

    async def _beside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is no HTTP: the server's own start and end, and web sockets, which nobody can order."""
        if scope["type"] == "lifespan" or not self._is_required:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(receive)
            work = await asyncio.to_thread(self._taken, scope, body)
        except CreditLedgerError as error:
            await send_problem(send, error)
            return
        name = self._host.promise()
        try:
            with working_on(work):
                await self._app(scope, replaying(body, receive), _Announcing(send, self._host, work, name))
        finally:
            self._host.finish(name, work)

    def _taken(self, scope: Scope, body: bytes) -> HostedWork:
        shown, seed = header(scope, ORDER), header(scope, SEED)
        if shown is None or seed is None:
            raise UnknownIdError("an order is needed", expected=f"{ORDER} and {SEED}")
        try:
            order, chance = b64decode(shown, validate=True), bytes.fromhex(seed.decode())
        except (Base64Error, ValueError) as error:
            raise MalformedRecordError("order or seed cannot be read", found=type(error).__name__) from error
        request = read_json(body)
        if not isinstance(request, dict):
            raise MalformedRecordError("body is not a JSON object", found=type(request).__name__)
        return self._host.take(order, sampler_of(request, chance))

    async def _receipts(self, name: str, send: Send) -> None:
        promised = self._host.receipts(name)
        if promised is None:
            await send_problem(send, UnknownIdError("no such answer, or long ago"), status=404)
            return
        try:
            made = asyncio.shield(asyncio.wrap_future(promised))
            found = await asyncio.wait_for(made, RECEIPTS_SECONDS_MAX)
        except TimeoutError:
            await send_problem(send, BusyError("the receipts are being made"))
            return
        headers = (b"content-type", b"application/octet-stream"), (b"cache-control", b"no-store")
        await send_bytes(send, 200, found.encode(), *headers)


class _Announcing:
    """A ``send`` that adds where the receipts are, and says why where the model refused."""

    def __init__(self, send: Send, host: ModelHost, work: HostedWork, name: str) -> None:
        self._send = send
        self._host = host
        self._work = work
        self._place = (RECEIPTS.encode(), f"{RECEIPTS_PATH}{name}".encode())
        self._is_over = False

    async def __call__(self, message: Message) -> None:
        if self._is_over:
            return
        if message["type"] == "http.response.start":
            if message["status"] >= 400:
                await asyncio.to_thread(self._host.give_back, self._work)
            if message["status"] >= 400 and self._work.refusal is not None:
                self._is_over = True
                await send_problem(self._send, self._work.refusal)
                return
            if message["status"] < 400:
                message = {**message, "headers": [*message.get("headers", ()), self._place]}
        await self._send(message)

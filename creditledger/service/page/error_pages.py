"""Problems as a person reads them: where a browser asked for a page, an error is one too.

Source: specs/service.md §9."""

import json
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from creditledger.service.page.page_headers import page_headers
from creditledger.service.page.templates import Templates
from creditledger.service.pool.problems import MEDIA_TYPE

PROBLEM_BYTES_MAX: Final = 16 * 1024
_INTERFACE: Final = "/v1/"


class ErrorPages:
    """ASGI middleware: turns what is inside answers as a problem into a page, for who asks for HTML.

    Paths under ``/v1/`` are programs': there a problem stays JSON."""

    def __init__(self, app: ASGIApp, *, templates: Templates, origin: str) -> None:
        self._app = app
        self._templates = templates
        self._origin = origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _wants_page(scope):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Answer(send, self._page, is_head=scope["method"] == "HEAD").send)

    def _page(self, problem: dict[str, Any]) -> bytes:
        return self._templates.render("error.html", problem=problem, origin=self._origin).encode()


class _Answer:
    """Holds back an answer that is a problem until all of it is there."""

    def __init__(self, send: Send, page: Any, *, is_head: bool) -> None:
        self._send = send
        self._page = page
        self._is_head = is_head
        self._start: Message | None = None
        self._body = bytearray()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_problem(message):
            self._start = message
            return
        if self._start is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if not message.get("more_body", False) or len(self._body) > PROBLEM_BYTES_MAX:
            start, self._start = self._start, None
            await self._answer(start)

    async def _answer(self, start: Message) -> None:
        content = self._page(_problem_in(bytes(self._body), start["status"]))
        headers = MutableHeaders(raw=list(start["headers"]))
        headers.update(page_headers())
        headers["content-type"] = "text/html; charset=utf-8"
        headers["content-length"] = str(len(content))
        headers.setdefault("cache-control", "no-store")
        await self._send({**start, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": b"" if self._is_head else content})


def _wants_page(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    return not scope["path"].startswith(_INTERFACE) and "text/html" in Headers(scope=scope).get("accept", "")


def _is_problem(message: Message) -> bool:
    return Headers(raw=message.get("headers", [])).get("content-type") == MEDIA_TYPE


def _problem_in(body: bytes, status: int) -> dict[str, Any]:
    """What the problem says; of one that has no body, as an answer to HEAD, the status alone."""
    said = json.loads(body) if body else {}
    names = ("title", "detail", "expected", "found", "error")
    return {"status": status} | {name: said.get(name, "") for name in names}

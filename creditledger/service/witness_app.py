"""A network witness on the wire: two routes, and bounds on what a stranger may send.

Source: specs/log.md §9, after C2SP tlog-witness."""

import asyncio
import re
from typing import Final

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from creditledger.service.witness_desk import Answer, WitnessDesk, refusal

BODY_BYTES_MAX: Final = 128 * 1024
"""Sixteen ML-DSA-44 signatures and a proof take half of it."""
BODY_SECONDS: Final = 10.0
"""How long a request may take to arrive."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_CLOSE: Final = {"connection": "close"}


def witness_app(desk: WitnessDesk, *, body_seconds: float = BODY_SECONDS) -> Starlette:
    """The ASGI application that hands requests to ``desk``, in threads of their own."""

    async def add_checkpoint(request: Request) -> Response:
        try:
            async with asyncio.timeout(body_seconds):
                body = await _read(request)
        except TimeoutError:
            return _response(refusal(408, "the request took too long to arrive", _CLOSE))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        if body is None:
            return _response(refusal(413, f"at most {BODY_BYTES_MAX} bytes are read", _CLOSE))
        return _response(await run_in_threadpool(desk.add_checkpoint, body))

    async def checkpoint(request: Request) -> Response:
        digest = request.path_params["digest"]
        if not _DIGEST.fullmatch(digest):
            return _response(refusal(404, "expected 64 lower-case hex digits", {}))
        return _response(await run_in_threadpool(desk.checkpoint, bytes.fromhex(digest)))

    app = Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/{digest}/checkpoint", checkpoint, methods=["GET"]),
        ]
    )
    app.router.redirect_slashes = False
    return app


async def _read(request: Request) -> bytes | None:
    """The body, or None as soon as it is too long."""
    if int(request.headers.get("content-length", "0")) > BODY_BYTES_MAX:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            return None
    return bytes(body)


def _response(answer: Answer) -> Response:
    return Response(
        answer.content, answer.status, headers={"content-type": answer.media_type, **answer.headers}
    )

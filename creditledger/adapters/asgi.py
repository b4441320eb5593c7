"""What an ASGI application is, as far as the adapters need it: types, headers, bodies, problems.

Source: specs/service.md §8."""

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from creditledger import errors
from creditledger.errors import CreditLedgerError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

BODY_BYTES_MAX: Final = 4 << 20

_STATUS: Final[tuple[tuple[type[CreditLedgerError], int], ...]] = (
    (errors.MalformedRecordError, 400),
    (errors.UnknownIdError, 402),
    (errors.HoldClosedError, 402),
    (errors.RoleError, 403),
    (errors.ConflictError, 409),
    (errors.ExpiredError, 410),
    (errors.RefusedError, 422),
    (errors.BusyError, 503),
    (errors.StorageError, 503),
)
"""The first that an error is an instance of counts. What is not paid for is 402."""


def header(scope: Scope, name: str) -> bytes | None:
    """The one value of a header, name in lower case; None if there is none, or several."""
    wanted = name.encode()
    found = [value for key, value in scope.get("headers", ()) if key.lower() == wanted]
    return bytes(found[0]) if len(found) == 1 else None


async def read_body(receive: Receive) -> bytes:
    """The request's whole body. Raises MalformedRecordError above 4 MiB, BusyError if it does not come."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise errors.BusyError("the client left before its request was whole")
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
            raise errors.MalformedRecordError("body is too large", expected=f"at most {BODY_BYTES_MAX} bytes")
        if not message.get("more_body", False):
            return bytes(body)


def replaying(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives ``body`` once more, and then what comes after it."""
    is_given = False

    async def again() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


async def send_bytes(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    """One whole answer."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def send_problem(send: Send, error: CreditLedgerError, *, status: int = 0) -> None:
    """``error`` as an RFC 9457 problem, with the status of its class unless ``status`` says another."""
    found = status or next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    name = type(error).__name__
    problem = {
        "type": "urn:creditledger:problem:" + re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower(),
        "title": error.args[0] if error.args else name,
        "status": found,
        "detail": str(error),
        "error": name,
        "expected": error.expected,
        "found": error.found,
        "exit": error.exit_code,
    }
    retry = [(b"retry-after", b"1")] if found == 503 else []
    kind = (b"content-type", b"application/problem+json")
    await send_bytes(send, found, json.dumps(problem).encode(), kind, *retry)

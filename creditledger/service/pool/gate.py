"""The first thing that a request meets: whose it is, whether it may, and whether it has had its share.

Source: specs/service.md §4."""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from creditledger.errors import CreditLedgerError, TokenError
from creditledger.service.pool.appending import TOKEN
from creditledger.service.pool.bearer_token import BearerToken
from creditledger.service.pool.gate_settings import GateSettings
from creditledger.service.pool.problems import problem_of
from creditledger.service.pool.rate_limits import Asker, RateLimits, Share
from creditledger.service.pool.tokens import Permit, Scope, Tokens

Scope_ = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope_, Receive, Send], Awaitable[None]]

BEARER: Final = "creditledger.bearer"
"""In the scope: the `BearerToken` itself, for the desk that takes invitations, or None."""
BROWSERS_CHALLENGE: Final = 'Basic realm="creditledger"'
_READS: Final = ("GET", "HEAD", "OPTIONS")
_ADMISSIONS: Final = re.compile(r"/v1/admissions(/[0-9a-f]{64})?")
_EVIDENCE: Final = re.compile(r"/v1/evidence(/[a-z0-9_-]+){1,4}")
"""Signed requests of nodes and validators: whoever serves these paths checks the signatures."""
_AUTHORIZATION: Final = b"authorization"
_VALUE_SIZE_MAX: Final = 512


class Gate:
    """Middleware around the whole service. What is inside never sees an authorization header."""

    __slots__ = ("_app", "_limits", "_settings", "_tokens")

    def __init__(self, app: App, *, settings: GateSettings, tokens: Tokens, limits: RateLimits) -> None:
        self._app = app
        self._settings = settings
        self._tokens = tokens
        self._limits = limits

    async def __call__(self, scope: Scope_, receive: Receive, send: Send) -> None:
        """Let the request through, or answer with a problem. Anything but HTTP is closed unanswered."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            bearer = self._admitted(scope)
        except CreditLedgerError as error:
            response = problem_of(error).response()
            response.headers["cache-control"] = "no-store"
            if response.status_code == 401 and _wants_page(scope):
                response.headers.append("www-authenticate", BROWSERS_CHALLENGE)
            await response(scope, receive, send)
            return
        # In place: what stands around the gate reads in the same scope which route it was.
        scope["headers"] = _without_authorization(scope["headers"])
        scope[TOKEN] = None if bearer is None else bearer.id.hex()
        scope[BEARER] = bearer
        await self._app(scope, receive, _keeping_private(send) if self._settings.is_private else send)

    def _admitted(self, scope: Scope_) -> BearerToken | None:
        """Raises TokenError, RoleError, RateLimitError, StorageError."""
        try:
            bearer = _bearer(scope["headers"], is_read=scope["method"] in _READS)
            permit = None if bearer is None else self._tokens.permit(bearer)
        except TokenError:
            self._limits.take(Asker(Share.ANONYMOUS))
            raise
        needed = self._needed(scope["method"], scope["path"], permit)
        if permit is not None:
            self._limits.take(Asker(Share.TOKEN, permit.id))
        if needed:
            _require(permit, needed)
        if permit is None:
            self._take_anonymous(scope["method"], scope["path"])
        return bearer

    def _needed(self, method: str, path: str, permit: Permit | None) -> tuple[Scope, ...]:
        """One of these opens the path; none are needed where there are none."""
        if _ADMISSIONS.fullmatch(path) or _EVIDENCE.fullmatch(path):
            return ()
        if method not in _READS:
            # Who shows a token is held to it: one made for reading submits nothing, even where anybody may.
            return (Scope.SUBMIT,) if self._settings.is_submitting_private or permit is not None else ()
        if path == "/metrics":
            return (Scope.METRICS,) if self._settings.are_metrics_private else ()
        if not self._settings.is_private:
            return ()
        return (Scope.READ, Scope.METRICS) if path == "/healthz" else (Scope.READ,)

    def _take_anonymous(self, method: str, path: str) -> None:
        if method in _READS:
            if not _EVIDENCE.fullmatch(path):
                self._limits.take(Asker(Share.ANONYMOUS))
        elif _ADMISSIONS.fullmatch(path):
            self._limits.take(Asker(Share.STRANGERS))
        # A submission's share is its signer's: see `SubmissionGate`.


def _require(permit: Permit | None, needed: tuple[Scope, ...]) -> None:
    if permit is None:
        raise TokenError("this takes a token", expected="authorization: Bearer clt_...", found="none")
    permit.require(*needed)


def _bearer(headers: Iterable[tuple[bytes, bytes]], *, is_read: bool) -> BearerToken | None:
    """The token that a request presents: as Bearer, or for a browser that reads as Basic's password.

    Raises TokenError, which shows nothing of what was presented."""
    values = [value for name, value in headers if name.lower() == _AUTHORIZATION]
    if not values:
        return None
    scheme, _, rest = values[0][:_VALUE_SIZE_MAX].decode("latin-1").strip().partition(" ")
    if len(values) == 1 and len(values[0]) <= _VALUE_SIZE_MAX:
        if scheme.lower() == "bearer":
            return BearerToken.parse(rest.strip())
        if scheme.lower() == "basic" and is_read:
            return BearerToken.parse(_password(rest.strip()))
    raise TokenError("authorization cannot be read", expected="one header: Bearer clt_...")


def _password(encoded: str) -> str:
    try:
        return base64.b64decode(encoded, validate=True).decode("latin-1").partition(":")[2]
    except (binascii.Error, ValueError):
        return ""


def _without_authorization(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in headers if name.lower() != _AUTHORIZATION]


def _wants_page(scope: Scope_) -> bool:
    accepts = [value for name, value in scope["headers"] if name.lower() == b"accept"]
    return scope["method"] in _READS and any(b"text/html" in value for value in accepts)


def _keeping_private(send: Send) -> Send:
    """What a private pool answers is for whoever asked: no cache between keeps it."""

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", []) if pair[0].lower() != b"cache-control"]
            told = [value for name, value in message.get("headers", []) if name.lower() == b"cache-control"]
            value = b", ".join(told).replace(b"public", b"private") or b"no-cache"
            value = value if b"private" in value or b"no-store" in value else b"private, " + value
            message = {**message, "headers": [*kept, (b"cache-control", value)]}
        await send(message)

    return keep

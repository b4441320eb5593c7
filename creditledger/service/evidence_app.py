"""Evidence over HTTP: nodes bring it, validators fetch it. Source: specs/service.md §6.1.

Every request is signed, and what a body must hash to is signed before it comes: a stranger brings nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import BinaryIO, Final

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from creditledger.errors import BusyError, CreditLedgerError, MalformedRecordError, UnknownIdError
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.directory import LedgerDirectory
from creditledger.service.evidence_path import BYTES_MAX, EvidenceKind, EvidencePath
from creditledger.service.evidence_rights import EvidenceRights
from creditledger.service.evidence_shelf import QUOTA, EvidenceShelf, Quota
from creditledger.service.pool.arriving_stream import UnfitBodyError, pieces_of
from creditledger.service.pool.problems import Problem, plain_problem, problem_of
from creditledger.service.pool.request_bounds import BODY_SECONDS, refuse_early
from creditledger.service.signed_request import (
    DIGEST_HEADER,
    NO_BODY,
    REQUEST_HEADER,
    RequestSignature,
    read_content_digest,
)
from creditledger.transparency import bls
from creditledger.validation.evidence import DirectoryEvidence

WAITING_MEMBERS_MAX: Final = 32
"""Requests whose BLS signature waits to be checked: one at a time, for it costs milliseconds."""
PIECE_BYTES: Final = 256 * 1024
_METHODS: Final = ("GET", "HEAD", "PUT")
_BYTES: Final = "application/octet-stream"


class EvidenceApp:
    """The ASGI application over the evidence in a directory; see `evidence_app`."""

    def __init__(
        self,
        directory: LedgerDirectory,
        *,
        rights: EvidenceRights,
        ledger_id: bytes,
        audience: bytes,
        clock: Clock,
        quota: Quota,
        body_seconds: float,
    ) -> None:
        self._rights = rights
        self._ledger_id = ledger_id
        self._audience = audience
        self._clock = clock
        self._body_seconds = body_seconds
        self._shelf = EvidenceShelf(directory.evidence, quota=quota)
        self._boxes = EvidenceShelf(directory.sealed)
        self._profiles = DirectoryEvidence(directory.path)
        self._lane = asyncio.Semaphore(1)
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = _Body(receive)
        try:
            response = await self._answer(scope, body.receive)
        except UnfitBodyError as error:
            response = error.problem
        except CreditLedgerError as error:
            response = problem_of(error)
        if isinstance(response, Problem) and not body.is_whole:
            # It may still be coming: whoever sends it should see why it is not wanted.
            await refuse_early(response, scope, receive, send)
            return
        if isinstance(response, Problem):
            response = response.response()
        response.headers["cache-control"] = "private, no-store"
        await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive) -> Response | Problem:
        path = _path_of(scope)
        if path is None:
            return plain_problem(404)
        if scope["method"] not in _METHODS or (scope["method"] == "PUT" and path.kind not in BYTES_MAX):
            return plain_problem(405, headers={"allow": ", ".join(_METHODS)})
        if scope["method"] == "PUT":
            return await self._put(path, scope, receive)
        key = await self._signed(scope, NO_BODY, path)
        return await self._get(path, key)

    async def _signed(self, scope: Scope, body_digest: bytes, path: EvidencePath) -> bytes:
        """The key that signed this request, after whether it may ask. Raises what `_require_right` does."""
        signature = RequestSignature.read(_header(scope, REQUEST_HEADER))
        await run_in_threadpool(self._require_right, signature.key, scope["method"], path)

        def require() -> None:
            signature.require(
                ledger_id=self._ledger_id,
                audience=self._audience,
                method=scope["method"],
                target=_target(scope),
                body_digest=body_digest,
                now_unix_ms=self._clock(),
            )

        if len(signature.key) != bls.PUBLIC_KEY_SIZE:
            await run_in_threadpool(require)
            return signature.key
        if self._waiting >= WAITING_MEMBERS_MAX:
            raise BusyError("too many requests of members at once", expected=f"at most {WAITING_MEMBERS_MAX}")
        self._waiting += 1
        try:
            async with self._lane:
                await run_in_threadpool(require)
        finally:
            self._waiting -= 1
        return signature.key

    def _require_right(self, key: bytes, method: str, path: EvidencePath) -> None:
        """Raises RoleError."""
        is_refutation = path.kind is EvidenceKind.REFUTATION
        if method == "PUT" and is_refutation:
            self._rights.require_accuser(key, path.digest, round_number=path.round, member=path.member)
        elif method == "PUT":
            self._rights.bringer(key)
        elif is_refutation and len(key) != bls.PUBLIC_KEY_SIZE:
            self._rights.require_accused(key, path.digest)
        else:
            self._rights.require_member(key)

    async def _get(self, path: EvidencePath, key: bytes) -> Response:
        if path.kind is EvidenceKind.PROFILE:
            profile = await run_in_threadpool(self._profiles.profile, path.digest)
            if profile is None:
                raise UnknownIdError("no such profile", found=path.digest.hex())
            return Response(profile, media_type=_BYTES)
        shelf = self._boxes if path.kind is EvidenceKind.SEALED else self._shelf
        found = await run_in_threadpool(shelf.find, *path.file_names)
        if found is None:
            raise UnknownIdError("no such evidence", found=path.digest.hex())
        file, size = found
        return StreamingResponse(_pieces(file), media_type=_BYTES, headers={"content-length": str(size)})

    async def _put(self, path: EvidencePath, scope: Scope, receive: Receive) -> Response | Problem:
        most, size = BYTES_MAX[path.kind], _length(scope)
        if size is None:
            return plain_problem(411)
        if size > most:
            return plain_problem(413, expected=f"at most {most} bytes", found=f"{size} bytes")
        digest = read_content_digest(_header(scope, DIGEST_HEADER))
        if path.account is not None:
            return plain_problem(405, headers={"allow": "GET, HEAD"})
        key = await self._signed(scope, digest, path)
        by = key
        if path.kind is not EvidenceKind.REFUTATION:
            by = await run_in_threadpool(self._rights.bringer, key)
            path = replace(path, account=by)
        name = path.file_names[0]
        told = json.dumps({"name": name, "bytes": size}).encode()
        if await run_in_threadpool(self._shelf.holds, name, digest=digest):
            return await self._repeated(told, scope, receive, size)
        async with AsyncExitStack() as opened:
            arrival = await run_in_threadpool(
                opened.enter_context, self._shelf.arrival(name, size=size, digest=digest, by=by)
            )
            async for piece in pieces_of(receive, size=size, seconds=self._body_seconds):
                await run_in_threadpool(arrival.add, piece)
            await run_in_threadpool(arrival.keep)
        return Response(told, 201, media_type="application/json")

    async def _repeated(self, told: bytes, scope: Scope, receive: Receive, size: int) -> Response:
        """It is there: what comes is read and thrown away, so that its sender sees the answer."""
        async for _ in pieces_of(receive, size=size, seconds=self._body_seconds):
            pass
        return Response(told, 200, media_type="application/json")


def evidence_app(
    directory: LedgerDirectory,
    *,
    rights: EvidenceRights,
    ledger_id: bytes,
    audience: bytes,
    clock: Clock = system_clock,
    quota: Quota = QUOTA,
    body_seconds: float = BODY_SECONDS,
) -> EvidenceApp:
    """An application, to be mounted anywhere, that serves ``directory``'s evidence, sealed sketches and
    published profiles, and takes evidence.

    ``audience``: 32 bytes, the ledger's id for a pool's server, the account for a node's own."""
    return EvidenceApp(
        directory,
        rights=rights,
        ledger_id=ledger_id,
        audience=audience,
        clock=clock,
        quota=quota,
        body_seconds=body_seconds,
    )


class _Body:
    """Knows whether a request's body has come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_whole = False

    async def receive(self) -> Message:
        message = await self._receive()
        self.is_whole = self.is_whole or not message.get("more_body", False)
        return message


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while piece := await run_in_threadpool(file.read, PIECE_BYTES):
            yield piece


def _path_of(scope: Scope) -> EvidencePath | None:
    """None for anything but the one spelling of a path of evidence."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    try:
        found = EvidencePath.parse(path)
    except MalformedRecordError:
        return None
    return found if _target(scope) == scope["path"] else None


def _target(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    return f"{path}?{query}" if query else path


def _header(scope: Scope, name: str) -> str:
    """The value of a header that must come once. Raises MalformedRecordError."""
    values = [value for found, value in scope["headers"] if found == name.encode()]
    if len(values) != 1:
        raise MalformedRecordError(f"not one header {name}", expected="1", found=str(len(values)))
    return str(values[0].decode("latin-1"))


def _length(scope: Scope) -> int | None:
    found = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(found[0]) if len(found) == 1 else None

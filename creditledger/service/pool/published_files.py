"""The published log over HTTP: checkpoint, tiles, bodies and policy. Source: specs/service.md §2.

A path becomes numbers or a digest, and a file's name is made of those: text is never joined."""

import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from creditledger.errors import MalformedRecordError
from creditledger.ledger.directory import LedgerDirectory, disk_errors, read_file
from creditledger.ledger.naming import as_digest
from creditledger.ledger.publish import CHECKPOINT, body_path
from creditledger.service.pool.problems import plain_problem
from creditledger.transparency.note import NOTE_SIZE_MAX
from creditledger.transparency.tile import parse_tile_path
from creditledger.transparency.trust_policy import POLICY_SIZE_MAX

FOREVER: Final = "public, max-age=31536000, immutable"
TEXT: Final = "text/plain; charset=utf-8"
BYTES: Final = "application/octet-stream"
PIECE_BYTES: Final = 64 * 1024


def published_files(directory: LedgerDirectory) -> list[BaseRoute]:
    """The routes. What a private pool shows, the gate keeps out of shared caches."""

    async def checkpoint(request: Request) -> Response:
        return await _changing(request, directory.public / CHECKPOINT, most=NOTE_SIZE_MAX)

    async def policy(request: Request) -> Response:
        return await _changing(request, directory.policy, most=POLICY_SIZE_MAX)

    async def tile(request: Request) -> Response:
        try:
            path = parse_tile_path(f"tile/{request.path_params['path']}").path
        except MalformedRecordError:
            return _nothing_there()
        return await _lasting(request, path)

    async def body(request: Request) -> Response:
        digest = as_digest(request.path_params["digest"])
        return _nothing_there() if digest is None else await _lasting(request, body_path(digest))

    async def _lasting(request: Request, path: str) -> Response:
        # One file, one URL: another spelling of it would be another entry in every cache.
        if request.scope.get("raw_path", b"").partition(b"?")[0] != b"/" + path.encode():
            return _nothing_there()
        opened = await run_in_threadpool(_opened, directory.public / path)
        if opened is None:
            return _nothing_there()
        file, size = opened
        headers = {"cache-control": FOREVER, "content-length": str(size)}
        return StreamingResponse(_pieces(file), media_type=BYTES, headers=headers)

    return [
        Route("/checkpoint", checkpoint, methods=["GET"]),
        Route("/policy", policy, methods=["GET"]),
        Route("/tile/{path:path}", tile, methods=["GET"]),
        Route("/batch/{digest}", body, methods=["GET"]),
    ]


def _opened(path: Path) -> tuple[BinaryIO, int] | None:
    """The file and its size. What is open stays readable: a full tile removes partial ones at any time."""
    with disk_errors(path):
        try:
            file = path.open("rb")
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        return file, os.fstat(file.fileno()).st_size


async def _pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    with file:
        while piece := await run_in_threadpool(file.read, PIECE_BYTES):
            yield piece


async def _changing(request: Request, path: Path, *, most: int) -> Response:
    if not await run_in_threadpool(path.is_file):
        return _nothing_there()
    content = await run_in_threadpool(read_file, path, what=path.name, most=most)
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"cache-control": "no-cache", "etag": etag}
    known = {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}
    if known & {etag, f"W/{etag}", "*"}:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=TEXT)


def _nothing_there() -> Response:
    return plain_problem(404).response()

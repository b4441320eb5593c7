"""The page's own files: read once, named by number of version, never looked for by a request's words.

Source: specs/service.md §9."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from creditledger.service.page.page_headers import page_headers
from creditledger.service.pool.problems import plain_problem
from creditledger.service.pool.published_files import FOREVER

_TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".LICENSE": "text/plain; charset=utf-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticFile:
    """One file of the package."""

    content: bytes
    media_type: str
    version: str
    """Of its content: another content, another version."""


class StaticFiles:
    """All files below ``static/``, by their path there."""

    __slots__ = ("_files",)

    def __init__(self, folder: Traversable | None = None) -> None:
        """Read them: some 130 kB. ``folder``: another place than the package's own."""
        self._files = dict(_read(folder or files("creditledger.service.page") / "static", ""))

    def url(self, path: str) -> str:
        """Where a page finds the file. Raises KeyError for one that is not there."""
        return f"/static/{path}?v={self._files[path].version}"

    def routes(self) -> list[BaseRoute]:
        """`GET /static/...`: kept for ever under the version's name, asked for anew without it."""

        async def show(request: Request) -> Response:
            found = self._files.get(request.path_params["path"])
            if found is None:
                return plain_problem(404).response()
            return _answer(request, found)

        return [Route("/static/{path:path}", show, methods=["GET"])]


def _answer(request: Request, file: StaticFile) -> Response:
    headers = page_headers() | {"etag": f'"{file.version}"', "cache-control": "no-cache"}
    if request.query_params.get("v") == file.version:
        headers["cache-control"] = FOREVER
    if file.version in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=file.media_type)


def _read(folder: Traversable, prefix: str) -> "Mapping[str, StaticFile]":
    found: dict[str, StaticFile] = {}
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        path = prefix + entry.name
        if entry.is_dir():
            found |= _read(entry, path + "/")
            continue
        media_type = _TYPES.get(entry.name[entry.name.rfind(".") :])
        if media_type is not None:
            content = entry.read_bytes()
            version = hashlib.sha256(content).hexdigest()[:16]
            found[path] = StaticFile(content=content, media_type=media_type, version=version)
    return found

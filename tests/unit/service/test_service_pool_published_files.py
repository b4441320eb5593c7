"""Files of the log as they are served: whole, or not there."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from creditledger.ledger.directory import LedgerDirectory
from creditledger.service.pool import published_files as module
from creditledger.service.pool.published_files import PIECE_BYTES, published_files

NAME = "tile/entries/000.p/7"


def asked(root: Path, path: str) -> tuple[int, bytes]:
    """Status and body."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return await asyncio.Future()

    async def send(message: Any) -> None:
        sent.append(message)

    app = Starlette(routes=published_files(LedgerDirectory(root)))
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "headers": []}
    asyncio.run(app(scope | {"query_string": b"", "root_path": ""}, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


def test_a_partial_tile_that_is_removed_once_it_was_found_is_answered_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The full tile removes it at any time; whoever comes later is told that it is gone."""
    content = bytes(3 * PIECE_BYTES + 1)
    file = tmp_path / "public" / NAME
    file.parent.mkdir(parents=True)
    file.write_bytes(content)

    async def find_and_remove(look: Callable[..., Any], *arguments: Any) -> Any:
        found = look(*arguments)
        shutil.rmtree(file.parent, ignore_errors=True)
        return found

    monkeypatch.setattr(module, "run_in_threadpool", find_and_remove)
    assert asked(tmp_path, f"/{NAME}") == (200, content)
    assert asked(tmp_path, f"/{NAME}")[0] == 404


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "public" / NAME).mkdir(parents=True)
    assert asked(tmp_path, f"/{NAME}")[0] == 404
    assert asked(tmp_path, f"/{NAME}/x")[0] == 404

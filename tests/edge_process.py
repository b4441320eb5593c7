"""`edge_node` in a process of its own, under the limits of a small board."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cli_pools import environment
from edge_limits import Board

TESTS = Path(__file__).parent
PATIENCE_SECONDS = 40
DAY_MS = 24 * 60 * 60 * 1000


class EdgeProcess:
    """What it said, line by line."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        is_said = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)[0]
        said = self.process.stdout.readline() if is_said else b""
        assert said, self._last_words()
        told: dict[str, Any] = json.loads(said)
        return told

    def minted(self, count: int) -> list[str]:
        """Digests of the receipts of the next ``count`` orders."""
        return [digest for _ in range(count) for digest in self.line()["minted"]]

    def delivered(self) -> dict[str, Any]:
        """Once nothing waits any more."""
        self.tell(b"deliver\n")
        return self.line()

    def tell(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)

    def end(self) -> dict[str, Any]:
        """Told to end; the last it said."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.line()

    def _last_words(self) -> str:
        self.process.kill()
        assert self.process.stderr is not None
        return self.process.stderr.read().decode()


@contextmanager
def edge_node(
    board: Board,
    url: str,
    key: Path,
    model: bytes,
    orders: Sequence[object],
    *,
    day: int = 0,
    opened: Callable[[], None] = lambda: None,
) -> Iterator[EdgeProcess]:
    """One start of the node on day ``day`` of its clock; killed at the end if it is still there.

    ``opened`` is called when it has opened its pool, before it mints."""
    words = [url, key, model.hex(), day * DAY_MS, *orders]
    found = environment()
    process = subprocess.Popen(
        [sys.executable, str(TESTS / "edge_node.py"), *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,  # so that nothing waits where select does not see it
        env=found | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": f"{TESTS}{os.pathsep}{found['PYTHONPATH']}"},
        preexec_fn=board.enter,
    )
    try:
        with board.keep(process.pid):
            node = EdgeProcess(process)
            assert node.line() == {"opened": True}
            opened()
            node.tell(b"begin\n")
            yield node
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()

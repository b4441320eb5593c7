"""A pool's service on a free port that lies in a chosen way: the true one in front of a real ledger, bent."""

import json
import threading
from collections.abc import Callable, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from creditledger.ledger.ledger import Ledger
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records import canonical
from creditledger.records.entry import Submission

Told = list[dict[str, Any]]
Bend = Callable[[Told], Any]
"""Makes of the true outcomes what is told."""
Log = Callable[[Sequence[Submission]], list[Outcome]]


class LyingPool:
    """Answers `POST /v1/records` and serves a folder of published files. Each part may be exchanged."""

    def __init__(self, ledger: Ledger) -> None:
        self.public: Path = ledger.directory.public
        """The folder that is served."""
        self.log: Log = partial(log_truly, ledger)
        self.bend: Bend = lambda told: {"outcomes": told}
        self.raw: bytes | None = None
        """Said instead of any outcome."""
        self.status = 200
        self.asked: list[str] = []
        """The idempotency key of each post."""
        handler = partial(_Handler, self)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def log_truly(ledger: Ledger, submissions: Sequence[Submission]) -> list[Outcome]:
    outcomes = ledger.submit(submissions)
    ledger.publish()
    return outcomes


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, pool: LyingPool, *arguments: Any) -> None:
        self._pool = pool
        super().__init__(*arguments, directory=str(pool.public))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: pytest reads stderr."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self._pool.asked.append(self.headers["idempotency-key"])
        encoded = canonical.decode(body, most=8 * 1024 * 1024)
        assert isinstance(encoded, list)
        outcomes = self._pool.log([Submission.decode(each) for each in encoded])  # type: ignore[arg-type]
        raw = self._pool.raw
        content = json.dumps(self._pool.bend([_told(each) for each in outcomes])).encode()
        _respond(self, content if raw is None else raw, self._pool.status)


def _respond(handler: BaseHTTPRequestHandler, content: bytes, status: int) -> None:
    handler.send_response(status)
    handler.send_header("content-length", str(len(content)))
    handler.send_header("location", "/elsewhere")
    handler.end_headers()
    handler.wfile.write(content)


def _told(outcome: Outcome) -> dict[str, Any]:
    if isinstance(outcome, Acknowledgement):
        return {"index": outcome.index, "leaf_hash": outcome.leaf_hash.hex()}
    return {"error": type(outcome).__name__, "message": str(outcome), "expected": "", "found": ""}

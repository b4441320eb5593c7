"""`creditledger serve` in a process of its own, and what its clients send."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from cli_pools import environment
from creditledger.records import canonical
from creditledger.records.entry import Submission

MSGPACK = "application/msgpack"


class RunningPool:
    """A pool that is served, and what it said when it began to be."""

    def __init__(self, directory: Path, *arguments: object, program: str = "") -> None:
        """``program``: Python to run before the command line is."""
        start = f"import sys\n{program}\nfrom creditledger.cli.main import main\nmain()"
        words = ["serve", str(directory), "--listen", "127.0.0.1:0", "--json"]
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, *words, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
            # Whoever runs the suite in the background ignores interrupts, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line.startswith(b'{"directory"'):
            _, errors = self.process.communicate(timeout=30)
            raise AssertionError((line, errors))
        self.said: dict[str, Any] = json.loads(line)
        self.address: str = self.said["address"]
        self.url = f"http://{self.address}"
        self.ledger_id = bytes.fromhex(self.said["ledger"])
        self.client = httpx2.Client(base_url=self.url, trust_env=False, timeout=60)

    def post(self, submissions: Sequence[Submission | bytes], **headers: str) -> httpx2.Response:
        """`POST /v1/records`."""
        return self.client.post("/v1/records", content=envelope(submissions), headers=packed(headers))

    def outcomes(self, submissions: Sequence[Submission | bytes]) -> list[dict[str, Any]]:
        """What became of records that must be taken in."""
        answer = self.post(submissions)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["outcomes"]
        return found

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self.client.get(path, headers=headers)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Signal it; its exit code and the last it said."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for its end; its exit code and the last it said."""
        self.client.close()
        out, errors = self.process.communicate(timeout=60)
        return self.process.returncode, (out + errors).decode().strip()


@contextmanager
def serving(directory: Path, *arguments: object, program: str = "") -> Iterator[RunningPool]:
    """A served pool for the time of a test."""
    pool = RunningPool(directory, *arguments, program=program)
    try:
        yield pool
    finally:
        if pool.process.stderr is not None and not pool.process.stderr.closed:
            pool.end(signal.SIGKILL)


def envelope(submissions: Sequence[Submission | bytes]) -> bytes:
    """The body of `POST /v1/records`."""
    encoded = [one.encode() if isinstance(one, Submission) else one for one in submissions]
    return canonical.encode(encoded, most=8 * 1024 * 1024)


def packed(headers: dict[str, str]) -> dict[str, str]:
    """The headers of a body in msgpack; underscores in names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"content-type": MSGPACK} | named

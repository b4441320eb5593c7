"""`creditledger witness` in a process of its own, and the race that a witness must survive."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2

from cli_pools import environment
from creditledger.transparency.note import VerifierKey, parse_verifier_key
from fakes.small_log import SmallLog, leaves

Reply = tuple[int, bytes]
Add = Callable[[bytes], Reply]
PARALLEL = 64


class RunningWitness:
    """A witness that listens, and what it said when it began to."""

    def __init__(self, directory: Path, *arguments: object, program: str = "") -> None:
        """``program``: Python to run before the command line is."""
        start = f"import sys\n{program}\nfrom creditledger.cli.main import main\nmain()"
        words = ["witness", str(directory), "--listen", "127.0.0.1:0", "--json"]
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
        self.url = f"http://{self.said['address']}"
        self._client = httpx2.Client(trust_env=False, timeout=30)

    @property
    def vkey(self) -> VerifierKey:
        return parse_verifier_key(self.said["vkey"])

    def add(self, body: bytes) -> Reply:
        answer = self._client.post(f"{self.url}/add-checkpoint", content=body)
        return answer.status_code, answer.content

    def get(self, path: str) -> httpx2.Response:
        return self._client.get(f"{self.url}/{path}")

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Signal it; its exit code and the last it said."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for its end; its exit code and the last it said."""
        self._client.close()
        out, errors = self.process.communicate(timeout=60)
        return self.process.returncode, (out + errors).decode().strip()


@contextmanager
def running(directory: Path, *arguments: object, program: str = "") -> Iterator[RunningWitness]:
    """A witness for the time of a test."""
    witness = RunningWitness(directory, *arguments, program=program)
    try:
        yield witness
    finally:
        if witness.process.stderr is not None and not witness.process.stderr.closed:
            witness.end(signal.SIGKILL)


def race(add: Add, log: SmallLog, *, rounds: int) -> list[str]:
    """What a witness did wrong while many ask at once, half for one tree and half for a larger other one.

    Of trees that both continue the last one and contradict each other, it may cosign one."""
    wrong: list[str] = []
    with ThreadPoolExecutor(PARALLEL) as pool:
        size = 0
        for number in range(rounds):
            near = replace(log, leaves=log.leaves[:size] + leaves(f"near {number}", 1))
            far = replace(log, leaves=log.leaves[:size] + leaves(f"far {number}", 3))
            asked = [near, far] * (PARALLEL // 2)
            bodies = {id(one): one.body(size, len(one.leaves)) for one in (near, far)}
            replies = list(pool.map(add, [bodies[id(one)] for one in asked]))
            cosigned = [one for one, (status, _) in zip(asked, replies, strict=True) if status == 200]
            if len(cosigned) != 1:
                wrong.append(f"round {number}: {len(cosigned)} trees over {size} entries were cosigned")
                return wrong
            log = cosigned[0]
            told = {content for status, content in replies if status == 409}
            if told != {b"%d\n" % len(log.leaves)}:
                wrong.append(f"round {number}: told {told}, cosigned {len(log.leaves)}")
            if len(log.leaves) <= size:
                wrong.append(f"round {number}: went back from {size} to {len(log.leaves)}")
            size = len(log.leaves)
    return wrong

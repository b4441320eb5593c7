"""`creditledger demo --serve`: every party a process of its own, and none of them left behind."""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from creditledger.ledger.audit import audit_source
from creditledger.ledger.clock import system_clock
from creditledger.ledger.fsck import fsck
from creditledger.redemption.process_identity import processes_marked
from creditledger.service.http_source import HttpSource
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import verify_bundle

ROOT = Path(__file__).parent.parent.parent
MARK = "CREDITLEDGER_TEST_RUN"
PARTIES = ["client", "node-1", "node-2", "node-3", "queue", "server", "validator-0", "validator-1"]
SECONDS = 240


class Run:
    """A demo under way, and a mark in the environment of all that it starts."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        pytest.importorskip("gguf", reason="the demo extra is not installed")
        self.folder = folder
        self._mark = secrets.token_hex(16)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "creditledger", "demo", "--serve", "--dir", str(folder), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), MARK: self._mark},
            # Whoever runs the suite in the background ignores interrupts, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def report(self) -> dict[str, Any]:
        """What it tells with --json; the parties are still there."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith('{"ledger"'), (line, self.process.communicate(timeout=SECONDS))
        told: dict[str, Any] = json.loads(line)
        return told

    def ended(self) -> tuple[int, str, str]:
        """Its exit code, and the last it said on stdout and stderr."""
        out, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, errors

    def running(self) -> list[int]:
        """All its processes, wherever they hang."""
        return processes_marked(f"{MARK}={self._mark}".encode())

    def process_of(self, party: str) -> int:
        """The process that writes a party's log."""
        log = (self.folder / "logs" / f"{party}.log").resolve()
        return next(pid for pid in self.running() if Path(f"/proc/{pid}/fd/2").resolve() == log)


@contextmanager
def told(folder: Path, *arguments: str) -> Iterator[Run]:
    """A run for the time of a test."""
    run = Run(folder, *arguments)
    try:
        yield run
    finally:
        for pid in run.running():
            os.kill(pid, signal.SIGKILL)
        run.process.communicate()


def until(is_so: Callable[[], object], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_served_story_is_the_same_story(tmp_path: Path) -> None:
    """Everybody is paid, the log audits over HTTP, and it stays until it is interrupted."""
    with told(tmp_path / "pool", "--seed", "11", "--json") as run:
        report = run.report()
        assert [node["upheld"] for node in report["nodes"]] == [6, 6, 6]
        assert [node["receipts"] for node in report["nodes"]] == [3, 3, 3]
        assert all(node["credits_micro"] > 0 for node in report["nodes"])
        assert report["job"]["exit_code"] == 0
        assert (
            report["job"]["captured_micro"] + report["job"]["released_micro"] == report["job"]["held_micro"]
        )
        policy = TrustPolicy.load(report["policy"])
        for bundle in report["bundles"]:
            require = "vested" if bundle["kind"] == "receipt" else "logged"
            verify_bundle(Path(bundle["path"]).read_bytes(), policy, require=require)
        assert sorted(path.stem for path in (run.folder / "logs").iterdir()) == PARTIES
        assert len({run.process_of(party) for party in PARTIES}) == len(PARTIES)
        brought = [path.name for path in (run.folder / "evidence").iterdir()]
        assert len([name for name in brought if re.fullmatch("[0-9a-f]{64}-by-[0-9a-f]{64}", name)]) == 9
        assert all("-by-" in name for name in brought), "a node wrote into the pool's own directory"
        assert httpx2.get(report["url"] + "/healthz", trust_env=False).json()["ok"]
        page = httpx2.get(report["url"] + "/nodes", headers={"accept": "text/html"}, trust_env=False).text
        assert all(f"/nodes/{node['name']}" in page for node in report["nodes"])
        found = audit_source(HttpSource(report["url"]), policy, now_unix_ms=system_clock())
        assert found.ok
        assert found.entries >= report["audit"]["entries"]
        run.process.send_signal(signal.SIGINT)
        assert run.ended() == (0, "", "")
        assert run.running() == []
    assert fsck(run.folder).ok


def test_the_cheat_is_refuted_over_http_too(tmp_path: Path) -> None:
    """It alone is unpaid; with ``--for 0`` the end comes right after the report."""
    with told(tmp_path / "pool", "--seed", "12", "--cheat", "int8", "--for", "0", "--json") as run:
        first, cheating, last = run.report()["nodes"]
        assert run.ended() == (0, "", "")
        assert run.running() == []
    assert (cheating["profile"], cheating["refuted"], cheating["credits_micro"]) == ("int8", 6, 0)
    for honest in (first, last):
        assert (honest["upheld"], honest["refuted"], honest["inconclusive"]) == (6, 0, 0)
        assert honest["credits_micro"] > 0


@pytest.mark.parametrize("party", ["server", "node-2"])
def test_a_party_that_dies_ends_the_story(tmp_path: Path, party: str) -> None:
    """In one line that names it; nobody is left."""
    with told(tmp_path / "pool") as run:
        until((run.folder / "logs" / "client.log").exists, seconds=60)
        os.kill(run.process_of(party), signal.SIGKILL)
        code, out, errors = run.ended()
        assert (code, out) == (3, "")
        said = [line for line in errors.splitlines() if line.startswith("creditledger: ")]
        assert len(said) == 1
        assert f"{party} has ended" in said[0]
        assert run.running() == []


def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    """Also amid the story: being told to end is no failure."""
    with told(tmp_path / "pool") as run:
        until((run.folder / "logs" / "client.log").exists, seconds=60)
        run.process.terminate()
        assert run.ended()[0] == 0
        assert run.running() == []


def test_a_story_that_is_killed_leaves_nobody(tmp_path: Path) -> None:
    """What nobody can clean up after ends by itself."""
    with told(tmp_path / "pool") as run:
        until((run.folder / "logs" / "node-2.log").exists, seconds=60)
        run.process.kill()
        until(lambda: run.running() == [], seconds=20)

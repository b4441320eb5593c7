"""Auditing published logs from the command line: over HTTP, twice, and with a fork between."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_pools import Stage, ask, cli


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def url(stage: Stage) -> Iterator[str]:
    """A plain web server over the ledger's public folder, and nothing else of it."""
    program = (
        "import http.server, functools, sys; "
        "handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1]); "
        "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler); "
        "print(server.server_port, flush=True); server.serve_forever()"
    )
    command = [sys.executable, "-c", program, str(stage.pool / "public")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        server.terminate()


def test_a_url_and_a_policy_are_enough(stage: Stage, url: str) -> None:
    found = ask("audit", url, "--policy", stage.policy)
    assert found["ok"]
    assert found["seen_size"] is None
    assert found["entries"] == ask("status", stage.pool)["size"]
    stage.grant("bob", "1")
    again = ask("audit", url, "--policy", stage.policy)
    assert again["seen_size"] == found["checkpoint_size"] < again["checkpoint_size"]


def test_a_url_is_read_under_the_readers_own_policy(stage: Stage, url: str) -> None:
    said = cli("audit", url)
    assert (said.code, said.out) == (2, "")
    assert "--policy" in said.err


def test_a_fork_becomes_a_file_that_convinces_others(stage: Stage, tmp_path: Path) -> None:
    """The operator keeps two copies of the ledger and tells each reader another story (threat L8)."""
    twin = tmp_path / "twin"
    shutil.copytree(stage.pool, twin)
    stage.grant("bob", "1")
    ask("grant", twin, "alice", "9credits", "--reason", "twin")
    ask("grant", twin, "alice", "9credits", "--reason", "twin")
    seen, evidence = tmp_path / "seen", tmp_path / "evidence"
    ask("audit", stage.pool, "--seen", seen)
    kept = {path.name: path.read_bytes() for path in seen.iterdir()}
    said = cli("audit", twin, "--seen", seen, "--evidence", evidence)
    assert (said.code, said.out) == (1, "")
    assert str(evidence) in said.err
    assert {path.name: path.read_bytes() for path in seen.iterdir()} == kept
    shown = ask("verify", evidence, "--policy", stage.policy)
    assert (shown["ok"], shown["subject"], shown["work"]) == (True, "fork", "unchecked")
    assert shown["first_size"] <= shown["size"]
    assert ask("audit", stage.pool, "--seen", seen)["ok"]
    damaged = evidence.read_bytes().replace(b"prefix ", b"prefix A", 1)
    evidence.write_bytes(damaged)
    assert cli("verify", evidence, "--policy", stage.policy).code == 1


def test_without_a_place_for_it_the_evidence_lies_beside_what_was_seen(stage: Stage, tmp_path: Path) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(stage.pool, twin)
    stage.grant("bob", "1")
    ask("grant", twin, "alice", "9credits", "--reason", "twin")
    ask("grant", twin, "alice", "8credits", "--reason", "twin")
    seen = tmp_path / "seen"
    ask("audit", stage.pool, "--seen", seen)
    assert cli("audit", twin, "--seen", seen).code == 1
    (evidence,) = seen.glob("*.fork-*")
    assert ask("verify", evidence, "--policy", stage.policy)["ok"]


def test_a_tlog_proof_is_checked_against_the_readers_own_entry(stage: Stage, tmp_path: Path) -> None:
    proof, entry = tmp_path / "proof", tmp_path / "entry"
    ask("prove", stage.pool, 1, "--format", "tlog-proof", "-o", proof, "--entry", entry)
    shown = ask("verify", proof, "--policy", stage.policy, "--entry", entry)
    assert (shown["subject"], shown["index"], shown["work"]) == ("entry", 1, "unchecked")
    entry.write_bytes(entry.read_bytes() + b"x")
    assert cli("verify", proof, "--policy", stage.policy, "--entry", entry).code == 1
    assert cli("verify", proof, "--policy", stage.policy).code == 2
    assert cli("prove", stage.pool, "alice", "-o", tmp_path / "b", "--entry", entry).code == 2

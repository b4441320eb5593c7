"""Auditing published logs from the command line: over HTTP, twice, and with a fork between."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_pools import Stage, ask, cli
from creditledger.transparency.merkle import leaf_hash


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


@pytest.fixture
def twin(stage: Stage, tmp_path: Path) -> Path:
    """The operator's second copy of the ledger, with another story: a larger tree than the first has."""
    twin = tmp_path / "twin"
    shutil.copytree(stage.pool, twin)
    stage.grant("bob", "1")
    for amount in ("9credits", "8credits"):
        ask("grant", twin, "alice", amount, "--reason", "twin")
    return twin


def test_a_fork_becomes_a_file_that_convinces_others(stage: Stage, twin: Path, tmp_path: Path) -> None:
    """The operator keeps two copies of the ledger and tells each reader another story (threat L8)."""
    seen, evidence = tmp_path / "seen", tmp_path / "evidence"
    ask("audit", stage.pool, "--seen", seen)
    kept = {path.name: path.read_bytes() for path in seen.iterdir()}
    said = cli("audit", twin, "--seen", seen, "--evidence", evidence)
    assert (said.code, said.out) == (1, "")
    assert str(evidence) in said.err
    assert len(said.err.splitlines()) == 1
    assert {path.name: path.read_bytes() for path in seen.iterdir()} == kept
    shown = ask("verify", evidence, "--policy", stage.policy)
    assert (shown["ok"], shown["subject"], shown["work"]) == (True, "fork", "unchecked")
    assert shown["first_size"] <= shown["size"]
    assert cli("verify", evidence, "--policy", stage.policy, "--require", "vested").code == 2
    assert cli("verify", evidence, "--policy", stage.policy, "--leaf-hash", "0" * 64).code == 2
    assert ask("audit", stage.pool, "--seen", seen)["ok"]
    damaged = evidence.read_bytes().replace(b"prefix ", b"prefix A", 1)
    evidence.write_bytes(damaged)
    assert cli("verify", evidence, "--policy", stage.policy).code == 1


def test_without_a_place_for_it_the_evidence_lies_beside_what_was_seen(
    stage: Stage, twin: Path, tmp_path: Path
) -> None:
    """However long the way there: whoever reads the answer must find the file."""
    seen = tmp_path.joinpath(*["d" * 200] * 4, "seen")
    ask("audit", stage.pool, "--seen", seen)
    said = cli("audit", twin, "--seen", seen, "--json")
    assert (said.code, said.answer["error"]) == (1, "ForkError")
    (evidence,) = seen.glob("*.fork-*")
    assert said.answer["evidence"] == str(evidence)
    assert str(evidence) in cli("audit", twin, "--seen", seen).err
    assert ask("verify", evidence, "--policy", stage.policy)["ok"]


def test_evidence_that_cannot_be_written_does_not_hide_the_fork(
    stage: Stage, twin: Path, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    ask("audit", stage.pool, "--seen", seen)
    said = cli("audit", twin, "--seen", seen, "--evidence", tmp_path / "no" / "e", "--json")
    assert (said.code, said.answer["error"]) == (1, "ForkError")
    assert "evidence" not in said.answer
    assert "two histories" in said.answer["message"]
    assert "could not be written" in said.answer["message"]


def test_an_old_checkpoint_is_no_fork(stage: Stage, tmp_path: Path) -> None:
    """L12"""
    published = stage.pool / "public" / "checkpoint"
    stale = published.read_bytes()
    stage.grant("bob", "1")
    ask("audit", stage.pool, "--seen", tmp_path / "seen")
    published.write_bytes(stale)
    said = cli("audit", stage.pool, "--seen", tmp_path / "seen", "--json")
    assert (said.code, said.answer["error"]) == (1, "ConsistencyProofError")
    assert "evidence" not in said.answer


def test_a_memory_that_cannot_be_kept_is_said(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error where it was asked for; else a warning, and the audit goes on."""
    (tmp_path / "file").write_bytes(b"")
    said = cli("audit", stage.pool, "--seen", tmp_path / "file" / "seen", "--json")
    assert (said.code, said.answer["error"]) == (5, "StorageError")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    said = cli("audit", stage.pool, "--json")
    assert (said.code, said.answer["ok"]) == (0, True)
    assert "warning" in said.err


def test_a_tlog_proof_is_checked_against_the_readers_own_entry(stage: Stage, tmp_path: Path) -> None:
    proof, entry = tmp_path / "proof", tmp_path / "entry"
    ask("prove", stage.pool, 1, "--format", "tlog-proof", "-o", proof, "--entry", entry)
    shown = ask("verify", proof, "--policy", stage.policy, "--entry", entry)
    assert (shown["subject"], shown["index"], shown["work"]) == ("entry", 1, "unchecked")
    leaf = leaf_hash(entry.read_bytes()).hex()
    assert shown["leaf_hash"] == leaf
    assert ask("verify", proof, "--policy", stage.policy, "--leaf-hash", leaf) == shown
    for more, code in (
        (["--leaf-hash", "0" * 64], 1),
        (["--leaf-hash", leaf.upper()], 2),
        (["--entry", entry, "--leaf-hash", leaf], 2),
        (["--entry", entry, "--require", "upheld"], 2),
        (["--entry", entry, "--require", "signed"], 2),
        (["--entry", entry, "--require", "logged"], 0),
    ):
        assert cli("verify", proof, "--policy", stage.policy, *more).code == code
    entry.write_bytes(entry.read_bytes() + b"x")
    assert cli("verify", proof, "--policy", stage.policy, "--entry", entry).code == 1
    assert cli("verify", proof, "--policy", stage.policy).code == 2
    assert cli("prove", stage.pool, "alice", "-o", tmp_path / "b", "--entry", entry).code == 2

"""Monitors from the command line: over directories and plain web servers."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli_pools import Stage, ask, cli, copy_of, environment, frames
from creditledger.records.entry import Submission
from creditledger.records.registration import Registration, Role
from creditledger.transparency.keys import Ed25519Signer
from fakes.hostile_server import serving


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("public"))


@pytest.fixture
def pool(stage: Stage, tmp_path: Path) -> Path:
    return copy_of(stage.pool, tmp_path / "pool")


def lines_of(*arguments: object, code: int = 0) -> list[dict[str, Any]]:
    said = cli(*arguments, "--json")
    assert said.code == code, said
    return [json.loads(line) for line in said.out.splitlines()]


def test_a_monitor_tells_what_is_new_since_the_last_run(stage: Stage, pool: Path) -> None:
    with serving(pool / "public") as url:
        arguments = ["monitor", url, "--policy", pool / "policy", "--key", stage / "bob.key.pub"]
        first = lines_of(*arguments)
        assert [line["event"] for line in first] == ["named", "checkpoint"]
        assert first[0]["kind"] == "registration"
        assert lines_of(*arguments)[:-1] == []
        ask("grant", pool, "bob", 5, "--reason", "x")
        ask("grant", pool, "alice", 5, "--reason", "x")
        (granted, end) = lines_of(*arguments)
        assert (granted["kind"], granted["fields"]) == ("grant", ["account"])
        assert end["from"] == first[-1]["size"] < end["size"]
        assert len(lines_of(*arguments, "--from", 0)) == 3
        assert lines_of(*arguments, "--from", 10**6)[:-1] == []
        ask("grant", pool, "bob", 6, "--reason", "x")
        assert len(lines_of(*arguments)) == 2
    text = cli("monitor", pool, "--key", stage / "bob.key", "--from", 0)
    assert text.code == 0
    assert "named: index" in text.out
    assert "kind registration" in text.out


def test_a_monitor_checks_promises(stage: Stage, pool: Path, tmp_path: Path) -> None:
    """Covered, early, and broken: the last is exit 1, after everything was said."""
    key = Ed25519Signer(b"\x21" * 32)
    ledger_id = bytes.fromhex(ask("status", pool)["ledger"])
    record = Registration(
        account=key.public_key, role=Role.CLIENT, name="dora", next_key=bytes(32), admission=b""
    )
    frame = Submission(record=record, signature=key.sign(record.signing_bytes(ledger_id)), bodies=()).encode()
    said = cli("append", pool, "--stdin", "--ack", stdin=frames([frame, b"junk"]))
    acks = tmp_path / "acks"
    acks.write_text(said.out)
    assert [line.split()[0] for line in said.out.splitlines()] == ["ACK", "REFUSED"]
    watch = ["monitor", pool, "--key", stage / "n1.key", "--acks", acks]
    statuses = [line["status"] for line in lines_of(*watch) if line["event"] == "ack"]
    assert statuses == ["covered"]
    index, leaf = said.out.split()[1:3]
    acks.write_text(f"ACK {index} {leaf}\nACK 0 {leaf}\nACK {10**6} {leaf}\n")
    lines = lines_of(*watch, code=1)
    statuses = [line["status"] for line in lines if line.get("event") == "ack"]
    assert statuses == ["covered", "contradicted", "not yet covered"]
    assert lines[-1]["error"] == "VerificationError"
    acks.write_text("ACK 1\n")
    (bad,) = lines_of(*watch, code=2)
    assert bad["error"] == "MalformedRecordError"
    assert cli(*watch[:-1], tmp_path / "none").code == 2


def test_a_monitor_of_a_directory_tells_what_is_not_published(stage: Stage, pool: Path) -> None:
    stale = copy_of(pool / "public", pool.parent / "stale")
    ask("grant", pool, "bob", 5, "--reason", "x")
    watch = ["monitor", pool, "--key", stage / "n1.key", "--seen"]
    assert "uncovered" not in [line["event"] for line in lines_of(*watch, pool.parent / "a")]
    (pool / "public" / "checkpoint").write_bytes((stale / "checkpoint").read_bytes())
    lines = lines_of(*watch, pool.parent / "b")
    found = [line["index"] for line in lines if line["event"] == "uncovered"]
    assert found == list(range(lines[-1]["size"], ask("status", pool)["size"]))


def test_a_monitor_reports_a_fork_as_an_audit_does(stage: Stage, tmp_path: Path) -> None:
    first, second = (copy_of(stage.pool, tmp_path / name) for name in ("first", "second"))
    ask("grant", second, "bob", 2, "--reason", "x")
    ask("grant", first, "alice", 2, "--reason", "x")
    key = ["--key", stage / "bob.key", "--seen", tmp_path / "seen"]
    lines_of("monitor", first, *key)
    (said,) = lines_of("monitor", second, *key, code=1)
    (evidence,) = (tmp_path / "seen").glob("*.fork-*")
    assert (said["error"], said["evidence"]) == ("ForkError", str(evidence))
    assert ask("verify", evidence, "--policy", first / "policy")["ok"]


def test_a_monitor_takes_keys_of_this_ledger_only(stage: Stage, tmp_path: Path) -> None:
    ask("init", tmp_path / "other", "--origin", "pool.example/other")
    (said,) = lines_of("monitor", tmp_path / "other", "--key", stage / "bob.key", code=6)[-1:]
    assert said["error"] == "RoleError"
    (tmp_path / "no.key").write_text("{}")
    assert cli("monitor", stage.pool, "--key", tmp_path / "no.key").code == 2
    assert cli("monitor", stage.pool, "--key", stage / "bob.key", "--once", "--every", 1).code == 2


def test_a_monitor_looks_again_until_it_is_interrupted(stage: Stage, pool: Path) -> None:
    command = [sys.executable, "-m", "creditledger", "monitor", str(pool), "--key", str(stage / "bob.key")]
    with subprocess.Popen(
        [*command, "--every", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]},
        # Whoever runs the suite in the background ignores interrupts, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as watching:
        assert watching.stdout is not None
        seen = [json.loads(watching.stdout.readline())["event"] for _ in range(2)]
        assert seen == ["named", "checkpoint"]
        ask("grant", pool, "bob", 5, "--reason", "x")
        for line in watching.stdout:
            if json.loads(line).get("kind") == "grant":
                break
        watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0

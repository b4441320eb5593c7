"""Auditors and monitors from the command line: over directories and plain web servers, honest and not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli_pools import Stage, ask, cli, copy_of, environment, frames
from creditledger.cli import public_log
from creditledger.records.entry import Submission
from creditledger.records.registration import Registration, Role
from creditledger.transparency.keys import Ed25519Signer
from fakes.hostile_server import answering, reply, serving


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


def test_an_audit_over_the_web_finds_what_one_on_the_disk_finds(stage: Stage, tmp_path: Path) -> None:
    """With a policy file and nothing else of the ledger at hand."""
    local = ask("audit", stage.pool, "--seen", tmp_path / "local")
    policy = Path(shutil.copy(stage.policy, tmp_path / "policy"))
    with serving(stage.pool / "public") as url:
        assert ask("audit", url, "--policy", policy) == local
        assert ask("audit", f"{url}/", "--policy", policy)["seen_size"] == local["entries"]
        assert cli("audit", url).code == 2
        for verb in ("status", "balance"):
            assert cli(verb, url, *(["alice"] if verb == "balance" else [])).code == 2
    said = cli("audit", url, "--policy", policy, "--json")
    assert (said.code, said.answer["error"]) == (3, "BusyError")


def test_a_server_of_its_own_process_serves_the_folder(stage: Stage) -> None:
    """Python's own web server, as anyone may run it."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--directory", str(stage.pool / "public")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        port = server.stdout.readline().split(" port ")[1].split()[0]
        try:
            assert ask("audit", f"http://127.0.0.1:{port}", "--policy", stage.policy)["ok"]
        finally:
            server.terminate()


def latest(folder: Path) -> Path:
    """The partial tile that the checkpoint speaks of."""
    return max(folder.rglob("*.p/*"), key=lambda path: int(path.name))


def swap_bundle(public: Path) -> None:
    latest(public / "tile" / "entries").write_bytes(b"\0\1x")


def swap_tile(public: Path) -> None:
    path = latest(public / "tile" / "0")
    path.write_bytes(path.read_bytes()[::-1])


HARM: dict[str, Callable[[Path], object]] = {
    "entries of another log": swap_bundle,
    "hashes of another log": swap_tile,
    "no checkpoint": lambda public: (public / "checkpoint").unlink(),
    "no note": lambda public: (public / "checkpoint").write_bytes(b"<html>\n"),
    "no tiles": lambda public: shutil.rmtree(public / "tile"),
}


@pytest.mark.parametrize("name", HARM)
def test_what_a_server_makes_of_a_log_fails_its_audit(pool: Path, name: str) -> None:
    """Threat rows L5 and L16."""
    with serving(pool / "public") as url:
        assert ask("audit", url, "--policy", pool / "policy")["ok"]
        HARM[name](pool / "public")
        said = cli("audit", url, "--policy", pool / "policy", "--json")
        assert (said.code, said.err) == (1, ""), said


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (reply(b"", "Location: /x", status="301 Moved"), 1),
        (reply(bytes(2_000_000)), 1),
        (reply(b"short", length=100), 3),
        (reply(b"", status="500 Oops"), 3),
        (lambda path, wire: time.sleep(2), 3),
    ],
    ids=["elsewhere", "too long", "truncated", "broken", "silent"],
)
def test_a_hostile_server_is_refused_by_type(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, answer: Any, code: int
) -> None:
    monkeypatch.setattr(public_log, "FILE_SECONDS", 0.5)
    with answering(answer) as url:
        begun = time.monotonic()
        assert cli("audit", url, "--policy", stage.policy).code == code
        assert time.monotonic() - begun < 5


def test_a_stale_checkpoint_is_refused_by_who_has_seen_more(stage: Stage, pool: Path) -> None:
    """Threat row L12; nobody is accused of a fork."""
    stale = (pool / "public" / "checkpoint").read_bytes()
    ask("grant", pool, "bob", 1, "--reason", "x")
    with serving(pool / "public") as url:
        assert ask("audit", url, "--policy", pool / "policy")["ok"]
        fresh = (pool / "public" / "checkpoint").read_bytes()
        (pool / "public" / "checkpoint").write_bytes(stale)
        said = cli("audit", url, "--policy", pool / "policy", "--json")
        assert (said.code, said.answer["error"]) == (1, "ConsistencyProofError")
        assert "evidence" not in said.answer
        (pool / "public" / "checkpoint").write_bytes(fresh)
        assert ask("audit", url, "--policy", pool / "policy")["ok"]


@pytest.mark.parametrize("ahead", [0, 1], ids=["equal sizes", "the second is larger"])
def test_a_fork_leaves_evidence_that_convinces_offline(stage: Stage, tmp_path: Path, ahead: int) -> None:
    """Threat row L8: one founding, the same keys, two histories, and one reader of both."""
    first, second = (copy_of(stage.pool, tmp_path / name) for name in ("first", "second"))
    ask("grant", first, "alice", 1, "--reason", "x")
    for _ in range(1 + ahead):
        ask("grant", second, "bob", 2, "--reason", "x")
    seen = tmp_path / "seen"
    before = ask("audit", first, "--seen", seen)
    kept = {path.name: path.read_bytes() for path in seen.iterdir()}
    with serving(second / "public") as url:
        said = cli("audit", url, "--policy", second / "policy", "--seen", seen, "--json")
    assert (said.code, said.answer["error"]) == (1, "ForkError")
    evidence = Path(said.answer["evidence"])
    assert evidence.parent == seen
    assert {path.name: path.read_bytes() for path in seen.iterdir() if path != evidence} == kept
    policy = Path(shutil.copy(first / "policy", tmp_path / "policy"))
    proven = ask("verify", evidence, "--policy", policy)
    assert (proven["subject"], proven["first_size"]) == ("fork", before["checkpoint_size"])
    assert (proven["second_size"] > proven["first_size"]) == bool(ahead)

    elsewhere = tmp_path / "e.fork"
    text = cli("audit", second, "--seen", seen, "--evidence", elsewhere)
    assert (text.code, text.out) == (1, "")
    assert str(elsewhere) in text.err
    assert len(text.err.splitlines()) == 1
    assert elsewhere.read_bytes() == evidence.read_bytes()
    elsewhere.write_bytes(evidence.read_bytes()[:-3] + b"A=\n")
    assert cli("verify", elsewhere, "--policy", policy).code == 1
    assert cli("verify", evidence, "--policy", policy, "--require", "vested").code == 1
    assert cli("verify", evidence, "--policy", policy, "--leaf-hash", "0" * 64).code == 2
    assert ask("audit", first, "--seen", seen)["seen_size"] == before["entries"]
    unwritten = cli("audit", second, "--seen", seen, "--evidence", tmp_path / "no" / "e", "--json")
    assert (unwritten.code, unwritten.answer["error"], "evidence" in unwritten.answer) == (
        1,
        "ForkError",
        False,
    )


def test_the_other_pools_policy_is_not_convinced(stage: Stage, tmp_path: Path) -> None:
    first, second = (copy_of(stage.pool, tmp_path / name) for name in ("first", "second"))
    ask("grant", first, "alice", 1, "--reason", "x")
    ask("grant", second, "bob", 2, "--reason", "x")
    ask("audit", first)
    evidence = cli("audit", second, "--json").answer["evidence"]
    ask("init", tmp_path / "other", "--origin", "pool.example/cli")
    assert cli("verify", evidence, "--policy", tmp_path / "other" / "policy").code == 1
    assert cli("verify", evidence, "--policy", first / "policy").code == 0


def test_a_memory_that_cannot_be_kept_is_said(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    said = cli("audit", stage.pool, "--seen", tmp_path / "file" / "seen", "--json")
    assert (said.code, said.answer["error"]) == (5, "StorageError")


def test_a_tlog_proof_is_verified_for_the_entry_that_the_caller_has(stage: Stage, tmp_path: Path) -> None:
    """Threat row L4: the leaf is never taken from the proof, nor from its extra."""
    from creditledger.ledger.ledger import Ledger
    from creditledger.transparency.merkle import leaf_hash

    proof, entry, other = (tmp_path / name for name in ("p.tlog-proof", "entry", "other"))
    ask("prove", stage.pool, 3, "--format", "tlog-proof", "-o", proof)
    with Ledger.open(stage.pool, read_only=True) as ledger:
        entry.write_bytes(ledger.entry_bytes(3))
        other.write_bytes(ledger.entry_bytes(4))
    leaf = leaf_hash(entry.read_bytes()).hex()
    found = ask("verify", proof, "--policy", stage.policy, "--entry", entry)
    assert (found["subject"], found["index"], found["leaf_hash"]) == ("entry", 3, leaf)
    assert (found["work"], found["reached"]) == ("unchecked", ["logged"])
    assert ask("verify", proof, "--policy", stage.policy, "--leaf-hash", leaf) == found
    assert cli("verify", proof, "--policy", stage.policy, "--entry", other).code == 1
    for more, code in (
        ([], 2),
        (["--entry", entry, "--leaf-hash", leaf], 2),
        (["--leaf-hash", leaf.upper()], 2),
        (["--entry", tmp_path / "none"], 2),
        (["--entry", entry, "--require", "upheld"], 1),
    ):
        assert cli("verify", proof, "--policy", stage.policy, *more).code == code
    header, rest = proof.read_bytes().split(b"\n", 1)
    proof.write_bytes(header + b"\nextra aGk=\n" + rest)
    assert ask("verify", proof, "--policy", stage.policy, "--entry", entry) == found
    proof.write_bytes(header + b"\n" + rest.replace(b"index 3", b"index 4"))
    assert cli("verify", proof, "--policy", stage.policy, "--entry", entry).code == 1


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
    key = ["--key", stage / "bob.key"]
    lines_of("monitor", first, *key)
    (said,) = lines_of("monitor", second, *key, code=1)
    assert said["error"] == "ForkError"
    assert ask("verify", said["evidence"], "--policy", first / "policy")["ok"]


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

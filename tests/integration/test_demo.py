"""The demo, end to end on the real model: everybody honest, and each way to cheat."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from creditledger.cli.main import run
from creditledger.ledger.fsck import fsck
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import verify_bundle

ROOT = Path(__file__).parent.parent.parent
SEEDS = int(os.environ.get("CREDITLEDGER_DEMO_SEEDS", "1"))
"""How many honest runs with seeds of their own; the long tier sets 20."""
FIELDS = ["ledger", "policy", "model", "accounts", "bundles", "nodes", "job", "audit", "seconds"]
NODE_FIELDS = [
    "name",
    "span",
    "profile",
    "receipts",
    "checks",
    "upheld",
    "refuted",
    "inconclusive",
    "credits_micro",
]


def _demo(folder: Path, *arguments: str) -> dict[str, Any]:
    pytest.importorskip("gguf", reason="the demo extra is not installed")
    command = [sys.executable, "-m", "creditledger", "demo", "--dir", str(folder), "--json", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "2"},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an honest run tells, its pool still there."""
    return _demo(tmp_path_factory.mktemp("demo") / "pool", "--seed", "11")


def test_honest_nodes_are_upheld_and_paid(honest: dict[str, Any]) -> None:
    assert list(honest) == FIELDS
    for node in honest["nodes"]:
        assert list(node) == NODE_FIELDS
        assert node["receipts"] == 3
        assert node["upheld"] == node["checks"] == 6
        assert node["refuted"] == node["inconclusive"] == 0
        assert node["credits_micro"] > 0


def test_the_owner_paid_for_what_the_job_used(honest: dict[str, Any]) -> None:
    job = honest["job"]
    assert list(job) == ["exit_code", "gpu_ms", "held_micro", "captured_micro", "released_micro"]
    assert job["exit_code"] == 0
    assert job["captured_micro"] == job["gpu_ms"] * 10_000 // 1_000
    assert job["captured_micro"] + job["released_micro"] == job["held_micro"]


def test_the_log_audits_and_the_store_is_sound(honest: dict[str, Any]) -> None:
    assert honest["audit"]["ok"]
    assert fsck(honest["ledger"]).ok


def test_bundles_verify_against_the_policy_alone(honest: dict[str, Any]) -> None:
    policy = TrustPolicy.load(honest["policy"])
    for bundle in honest["bundles"]:
        require = "vested" if bundle["kind"] == "receipt" else "logged"
        verified = verify_bundle(Path(bundle["path"]).read_bytes(), policy, require=require)
        assert verified.work == ("upheld" if bundle["kind"] == "receipt" else "unchecked")


@pytest.mark.parametrize("seed", range(101, 101 + SEEDS))
def test_honest_nodes_are_never_refuted(tmp_path: Path, seed: int) -> None:
    told = _demo(tmp_path / "pool", "--seed", str(seed))
    assert [node["upheld"] for node in told["nodes"]] == [6, 6, 6]
    assert [node["refuted"] + node["inconclusive"] for node in told["nodes"]] == [0, 0, 0]


@pytest.mark.parametrize("cheat", ["int8", "int4", "skip", "noise", "replay"])
def test_the_cheat_is_refuted_and_unpaid_and_nobody_else_is(tmp_path: Path, cheat: str) -> None:
    told = _demo(tmp_path / "pool", "--seed", "12", "--cheat", cheat)
    first, cheating, last = told["nodes"]
    assert cheating["refuted"] == cheating["checks"] == 6
    assert cheating["credits_micro"] == 0
    for honest_node in (first, last):
        assert honest_node["upheld"] == 6
        assert honest_node["refuted"] == honest_node["inconclusive"] == 0
        assert honest_node["credits_micro"] > 0
    policy = TrustPolicy.load(told["policy"])
    bundle = Path(told["bundles"][1]["path"]).read_bytes()
    assert verify_bundle(bundle, policy, require="logged").work == "refuted"


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["--cheat", "sleep"], 2),
        (["--seed", "-1"], 2),
        (["--for", "0"], 2),
        (["--serve", "--for", "-1"], 2),
        (["--model", "no-such-model"], 2),
        (["--model", "not-a-model"], 2),
        (["--dir", "taken"], 5),
        (["--dir", "taken", "--serve"], 5),
        (["--dir", "not-a-model/below-a-file"], 5),
    ],
)
def test_bad_input_is_refused_in_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    exit_code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "not-a-model").write_bytes(b"GGUX")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    assert run(["demo", "--dir", "fresh", *arguments]) == exit_code
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.strip().count("\n") == 0
    assert said.err.startswith("creditledger: ")
    assert not (tmp_path / "fresh").exists()

"""`creditledger serve` as a process: appends and reads over HTTP, and how it ends."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_pools import Stage, ask, cli
from creditledger.ledger.ledger import Ledger
from creditledger.records.registration import Role
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.tile import tiles_for_size
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import verify_bundle
from ledger_pools import grant, registration
from pool_processes import RunningPool, serving


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def pool(stage: Stage) -> Iterator[RunningPool]:
    with serving(stage.pool, "--interval", 1) as started:
        yield started


def test_records_are_logged_in_order_and_repeats_answer_alike(pool: RunningPool) -> None:
    """specs/service.md §2: one outcome for each element, and nothing tells a repeat from the first time."""
    good, forged = registration(pool.ledger_id, "first"), grant(pool.ledger_id, "first", 10**9)
    sent = [good, forged, b"\xc1", registration(pool.ledger_id, "second", Role.NODE)]
    outcomes = pool.outcomes(sent)
    assert [one.get("error") for one in outcomes] == [None, "SignatureError", "MalformedRecordError", None]
    assert set(outcomes[1]) == {"error", "message", "expected", "found", "exit"}
    assert set(outcomes[0]) == {"index", "leaf_hash"}
    assert outcomes[3]["index"] == outcomes[0]["index"] + 1
    assert pool.outcomes(sent) == outcomes


def test_what_is_logged_is_soon_under_a_checkpoint_that_a_reader_believes(pool: RunningPool) -> None:
    (outcome,) = pool.outcomes([registration(pool.ledger_id, "seen-soon")])
    policy = TrustPolicy.parse(pool.get("/policy").content)
    for _ in range(100):
        note = pool.get("/checkpoint").content
        checkpoint = policy.verify_checkpoint(note).checkpoint
        if checkpoint.size > outcome["index"]:
            break
        time.sleep(0.02)
    assert checkpoint.size > outcome["index"]
    for tile in tiles_for_size(checkpoint.size):
        assert pool.get(f"/{tile.path}").status_code == 200


def test_an_account_is_shown_and_proven(stage: Stage, pool: RunningPool) -> None:
    shown = pool.get("/v1/accounts/alice").json()
    assert shown["name"] == "alice"
    assert pool.get(f"/v1/accounts/{shown['account']}").json() == shown
    bundle = pool.get("/v1/bundles/alice")
    assert bundle.headers["content-type"] == "application/octet-stream"
    verified = verify_bundle(bundle.content, TrustPolicy.load(stage.policy))
    assert verified is not None
    said = cli("balance", stage.pool, "alice", "--json").answer
    assert set(said) == set(shown)
    assert said["available_micro"] == shown["available_micro"]


def test_status_is_what_the_verb_says(stage: Stage, pool: RunningPool) -> None:
    assert pool.get("/v1/status").json().keys() == ask("status", stage.pool).keys()
    health = pool.get("/healthz")
    assert (health.status_code, health.json()["ok"], health.json()["state"]) == (200, True, "serving")


def test_told_to_end_it_publishes_and_exits_with_0(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    seldom = "import creditledger.service.pool.publishing as p; p.PUBLISH_SECONDS = 3600.0"
    with serving(stage.pool, "--interval", 3600, program=seldom) as pool:
        pool.outcomes([registration(pool.ledger_id, "late")])
        time.sleep(0.5)
        (outcome,) = pool.outcomes([registration(pool.ledger_id, "later")])
        assert pool.get("/v1/status").json()["published_size"] == outcome["index"]
        code, said = pool.end(signal.SIGTERM)
    assert (code, said) == (0, "")
    with Ledger.open(stage.pool, read_only=True) as ledger:
        assert ledger.size == outcome["index"] + 1
        assert parse_checkpoint_note(ledger.checkpoint()).size == ledger.size
    assert ask("fsck", stage.pool)["ok"]


def test_one_process_serves_a_directory(stage: Stage, pool: RunningPool) -> None:
    """The one writer: another `serve` and a verb that writes are told so."""
    said = cli("serve", stage.pool, "--listen", "127.0.0.1:0", "--json")
    assert (said.code, json.loads(said.out)["error"]) == (3, "BusyError")

"""The routes of a served pool beyond appending: holds, receipts, caches, counts, and its own description."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cli_pools import Stage, ask
from creditledger.ledger.keyring import load_key
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import Submission
from creditledger.records.record import Record
from creditledger.records.transfer import Capture, Hold, Release
from creditledger.transparency.keys import Ed25519Signer
from ledger_pools import registration
from pool_processes import RunningPool, packed, serving

SECOND_MICRO = 10_000
"""A GPU-second of class ``cpu``."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("routes"))


@pytest.fixture(scope="module")
def pool(stage: Stage) -> Iterator[RunningPool]:
    with serving(stage.pool, "--interval", 1) as started:
        yield started


def key(stage: Stage, name: str) -> Ed25519Signer:
    return load_key(stage / f"{name}.key").ed25519()


def signed(pool: RunningPool, record: Record, signer: Ed25519Signer) -> bytes:
    return Submission(record=record, signature=signer.sign(record.signing_bytes(pool.ledger_id))).encode()


def hold(stage: Stage, number: int, *, seconds: int) -> Hold:
    return Hold(
        id=number.to_bytes(16, "big"),
        holder=key(stage, "alice").public_key,
        amount_micro=seconds * SECOND_MICRO,
        job=ZERO_DIGEST,
        queue=key(stage, "gpu").public_key,
        hardware="cpu",
        gpus=1,
        duration_ms=seconds * 1_000,
        micro_per_gpu_second=SECOND_MICRO,
        expires_unix_ms=ask("status", stage.pool)["time_unix_ms"] + 3_600_000,
    )


def post(pool: RunningPool, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    answer = pool.client.post(path, content=body, headers=packed(headers))
    return answer.status_code, answer.json()


def test_a_hold_is_made_captured_and_released_once(stage: Stage, pool: RunningPool) -> None:
    """specs/service.md §2: each step beside what it refuses."""
    alice, gpu = key(stage, "alice"), key(stage, "gpu")
    dear = hold(stage, 1, seconds=10**9)
    status, problem = post(pool, "/v1/holds", signed(pool, dear, alice))
    assert (status, problem["error"], problem["exit"]) == (402, "InsufficientCreditError", 6)
    assert post(pool, "/v1/holds", signed(pool, hold(stage, 2, seconds=1), gpu))[0] == 422
    made = hold(stage, 3, seconds=100)
    status, answer = post(pool, "/v1/holds", signed(pool, made, alice))
    digest = made.digest(pool.ledger_id)
    assert (status, set(answer), answer["digest"]) == (201, {"index", "leaf_hash", "digest"}, digest.hex())
    assert post(pool, "/v1/holds", signed(pool, made, alice)) == (201, answer)

    used = Capture(id=b"\4" * 16, hold=digest, queue=gpu.public_key, gpu_ms=50_000, amount_micro=500_000)
    path = f"/v1/holds/{digest.hex()}"
    assert post(pool, f"/v1/holds/{'0' * 64}/capture", signed(pool, used, gpu))[0] == 400
    assert post(pool, f"{path}/release", signed(pool, used, gpu))[0] == 400
    assert post(pool, f"{path}/capture", signed(pool, used, alice))[0] == 422
    assert post(pool, f"{path}/capture", signed(pool, used, gpu), idempotency_key="c")[0] == 201

    def end(number: int) -> Release:
        return Release(id=bytes([number]) * 16, hold=digest, queue=gpu.public_key, reason="done")

    assert post(pool, f"{path}/release", signed(pool, end(5), gpu))[0] == 201
    status, problem = post(pool, f"{path}/release", signed(pool, end(6), gpu))
    assert (status, problem["error"]) == (409, "HoldClosedError")
    assert problem["type"] == "urn:creditledger:problem:hold-closed-error"
    held = pool.get("/v1/accounts/alice").json()
    assert all(row["hold"] != digest.hex() for row in held["holds"])


def test_what_changes_is_asked_for_anew_and_what_does_not_is_kept(pool: RunningPool) -> None:
    for path in ("/checkpoint", "/policy"):
        first = pool.get(path)
        assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
        assert first.headers["etag"].startswith('"')
    tag = pool.get("/policy").headers["etag"]
    assert pool.get("/policy", **{"if-none-match": f'"x", {tag}'}).status_code == 304
    assert pool.get("/policy", **{"if-none-match": '"x"'}).status_code == 200
    published = pool.get("/v1/status").json()["published_size"]
    tile = pool.get(f"/tile/entries/000.p/{published}")
    assert tile.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_a_bundle_that_something_never_was(pool: RunningPool) -> None:
    assert pool.get(f"/v1/bundles/{'ab' * 32}?absent=1").status_code == 200
    assert pool.get(f"/v1/bundles/{'ab' * 32}").status_code == 404
    assert pool.get(f"/v1/bundles/{'ab' * 32}?absent=0").status_code == 400


def test_the_latest_round_is_certified_and_over_the_log(pool: RunningPool) -> None:
    found = pool.get("/v1/rounds/latest").json()
    assert (found["certified"], found["attested"], found["quorum"]) == (True, 1, 1)
    assert found["log_size"] <= found["index"] < pool.get("/v1/status").json()["size"]


def metric(pool: RunningPool, name: str) -> float:
    """The value of one sample."""
    lines = pool.get("/metrics").text.splitlines()
    (value,) = [float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + " ")]
    return value


def test_requests_in_flight_share_commits(pool: RunningPool) -> None:
    """Group commit: 64 requests at once need fewer commits, and nobody waits for company."""
    before = metric(pool, "creditledger_commit_seconds_count")
    with ThreadPoolExecutor(32) as threads:
        sent = [[registration(pool.ledger_id, f"shared-{number}")] for number in range(64)]
        outcomes = list(threads.map(pool.outcomes, sent))
    commits = metric(pool, "creditledger_commit_seconds_count") - before
    assert len({one[0]["index"] for one in outcomes}) == 64
    assert commits < 60, commits
    began = metric(pool, "creditledger_commit_seconds_count")
    for number in range(4):
        pool.outcomes([registration(pool.ledger_id, f"alone-{number}")])
    assert metric(pool, "creditledger_commit_seconds_count") >= began + 4


def test_what_is_counted(pool: RunningPool) -> None:
    logged = metric(pool, 'creditledger_submissions_total{outcome="logged"}')
    refused = metric(pool, 'creditledger_submissions_total{outcome="refused"}')
    sent = [registration(pool.ledger_id, "counted"), registration(b"\7" * 32, "foreign")]
    pool.outcomes(sent)
    assert metric(pool, 'creditledger_submissions_total{outcome="logged"}') == logged + 1
    assert metric(pool, 'creditledger_submissions_total{outcome="refused"}') == refused + 1
    assert metric(pool, 'creditledger_requests_total{method="POST",route="/v1/records",status="200"}') > 0
    sums = {
        name: metric(pool, f'creditledger_credits_micro{{state="{name}"}}')
        for name in ("granted", "available", "overdrawn", "held", "unvested", "burned")
    }
    parts = sums["available"] - sums["overdrawn"] + sums["held"] + sums["unvested"] + sums["burned"]
    assert parts == sums["granted"] > 0
    pool.get("/no/such/\u2603?token=secret")
    assert "secret" not in pool.get("/metrics").text


def test_what_it_says_of_itself_holds_for_whatever_is_sent(pool: RunningPool) -> None:
    """Every answer to generated requests is one that /openapi.json tells of."""
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, given, settings
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    @schemathesis.serializer("application/msgpack")
    def as_bytes(context: Any, value: Any) -> bytes:
        return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")

    schema = schemathesis.openapi.from_url(f"{pool.url}/openapi.json")
    examples = int(os.environ.get("CREDITLEDGER_SCHEMA_EXAMPLES", "12"))

    for operation in schema.get_all_operations():
        found = operation.ok()
        tried = 0

        @settings(
            max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None
        )
        @given(case=found.as_strategy())
        def check(case: Any) -> None:
            nonlocal tried
            tried += 1
            # That a body is canonical is more than a schema can say.
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        check()
        assert tried >= 1, found.label
    assert pool.get("/healthz").json()["ok"]

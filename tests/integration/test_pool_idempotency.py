"""`Idempotency-Key`: the same request has the same answer, whatever happened in between."""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cli_pools import Stage, ask
from creditledger.records.transfer import Transfer
from ledger_pools import grant, registration, signed, signer
from pool_processes import MSGPACK, RunningPool, envelope, serving


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return Stage(tmp_path_factory.mktemp("keyed"))


@pytest.fixture(scope="module")
def pool(stage: Stage) -> Iterator[RunningPool]:
    with serving(stage.pool) as started:
        yield started


def test_the_same_request_again_has_the_same_bytes(pool: RunningPool) -> None:
    sent = [registration(pool.ledger_id, "once"), grant(pool.ledger_id, "once", 1), b"\xc1"]
    first = pool.post(sent, idempotency_key="k1")
    again = pool.post(sent, idempotency_key="k1")
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")


def test_another_request_under_the_key_is_a_conflict_and_changes_nothing(pool: RunningPool) -> None:
    pool.post([registration(pool.ledger_id, "holder")], idempotency_key="k2")
    size = pool.get("/v1/status").json()["size"]
    other = [registration(pool.ledger_id, "thief")]
    refused = pool.post(other, idempotency_key="k2")
    assert (refused.status_code, refused.json()["error"]) == (409, "ConflictError")
    assert refused.headers["content-type"] == "application/problem+json"
    assert pool.get("/v1/accounts/thief").status_code == 404
    assert pool.get("/v1/status").json()["size"] == size
    assert pool.post(other, idempotency_key="k2b").status_code == 200


def test_a_refusal_is_kept_too_whatever_has_changed_since(pool: RunningPool) -> None:
    """Too little credit, by the same request for ever; as a new request, the id has failed."""
    pool.post([registration(pool.ledger_id, "poor"), registration(pool.ledger_id, "rich")])
    poor, rich = signer("poor"), signer("rich").public_key
    record = Transfer(id=b"\1" * 16, payer=poor.public_key, payee=rich, amount_micro=7)
    sent = [signed(pool.ledger_id, record, poor)]
    first = pool.post(sent, idempotency_key="k3")
    assert first.json()["outcomes"][0]["error"] == "InsufficientCreditError"
    assert pool.outcomes(sent)[0]["error"] == "FailedIdError"
    assert pool.post(sent, idempotency_key="k3").content == first.content


def test_what_is_no_request_is_not_kept(pool: RunningPool) -> None:
    """Nothing was tried: there is no effect for an answer to go with."""
    body = grant(pool.ledger_id, "nobody", 5).encode()
    for _ in range(2):
        headers = {"content-type": MSGPACK, "idempotency-key": "k6"}
        answer = pool.client.post("/v1/holds", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]) == (400, "MalformedRecordError")
        assert "idempotent-replayed" not in answer.headers


@pytest.mark.parametrize("key", ["", "a b", "x" * 65, "\u00fc"])
def test_a_key_is_visible_ascii_of_bounded_length(pool: RunningPool, key: str) -> None:
    content = envelope([registration(pool.ledger_id, "shy")])
    headers = [(b"content-type", MSGPACK.encode()), (b"idempotency-key", key.encode())]
    refused = pool.client.post("/v1/records", content=content, headers=headers)
    assert (refused.status_code, refused.json()["error"]) == (400, "MalformedRecordError")
    assert pool.post([registration(pool.ledger_id, "shy")], idempotency_key="x" * 64).status_code == 200


def test_many_at_once_under_one_key_are_logged_once_and_answered_alike(pool: RunningPool) -> None:
    sent = [registration(pool.ledger_id, "crowd")]
    before = pool.get("/v1/status").json()["size"]
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: pool.post(sent, idempotency_key="k4"), range(32)))
    assert {answer.content for answer in answers} == {answers[0].content}
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    assert answers[0].json()["outcomes"][0]["index"] >= before


def test_of_two_requests_at_once_under_one_key_one_wins(pool: RunningPool) -> None:
    def send(name: str) -> int:
        return pool.post([registration(pool.ledger_id, name)], idempotency_key="k5").status_code

    names = [f"racer-{number}" for number in range(8)]
    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(send, names))
    assert sorted(statuses) == [200] + [409] * 7
    known = [pool.get(f"/v1/accounts/{name}").status_code for name in names]
    assert known == [200 if status == 200 else 404 for status in statuses]


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_an_answer_is_kept_across_an_end(tmp_path: Path, end: signal.Signals) -> None:
    """In the commit of its effect: who has the effect has the answer."""
    stage = Stage(tmp_path)
    with serving(stage.pool) as pool:
        sent = [registration(pool.ledger_id, "kept"), b"\xc1"]
        first = pool.post(sent, idempotency_key="restart")
        pool.end(end)
    with serving(stage.pool) as pool:
        again = pool.post(sent, idempotency_key="restart")
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
        assert pool.post([b"\xc1"], idempotency_key="restart").status_code == 409
    assert ask("fsck", stage.pool)["ok"]

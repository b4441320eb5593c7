"""Front ends of one database: the sequencer dies, another goes on; quickly what `tests.failover` does."""

import shutil
import signal
import time
from pathlib import Path

from creditledger.errors import BusyError
from creditledger.ledger.clock import system_clock
from creditledger.ledger.postgres_session import DatabaseUrl
from creditledger.ledger.staging import Staging, StagingKey
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records.entry import Submission
from creditledger.service.pool.staged_request import StagedRequest, decode_outcomes
from failover.failover_campaign import failover
from ledger_pools import found, grant, registration, signer
from pool_processes import serving
from postgres_server import new_schema


def test_a_killed_sequencer_loses_nothing_that_was_acknowledged(tmp_path: Path, postgres: str) -> None:
    """No index is given twice either, and another front end takes over within five seconds."""
    found = failover(tmp_path, postgres, seconds=18, kill_every=3)
    assert found.wrong() == []
    assert found.kills >= 2


def test_a_request_sent_to_two_front_ends_is_one_entry(tmp_path: Path, postgres: str) -> None:
    """Whichever integrates it, both say the same; so does a key used at the other."""
    with found(tmp_path / "a", clock=system_clock, store=new_schema(postgres)) as ledger:
        ledger_id = ledger.id
        ledger.append(registration(ledger_id, "alice"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    with serving(tmp_path / "a") as one, serving(tmp_path / "b") as other:
        submission = grant(ledger_id, "alice", 5, 7)
        assert one.outcomes([submission]) == other.outcomes([submission])
        keyed = [grant(ledger_id, "alice", 5, 8), registration(ledger_id, "bob"), b"nothing"]
        first = one.post(keyed, idempotency_key="k1")
        second = other.post(keyed, idempotency_key="k1")
        assert (second.status_code, second.content) == (first.status_code, first.content)
        assert second.headers["idempotent-replayed"] == "true"
        assert other.post([grant(ledger_id, "alice", 5, 9)], idempotency_key="k1").status_code == 409
        assert one.end(signal.SIGTERM)[0] == 0
        (outcome,) = other.outcomes([grant(ledger_id, "alice", 5, 9)])
        assert "index" in outcome
        assert other.get("/healthz").json()["backends"]["store"] == "postgresql"
        assert other.end(signal.SIGTERM)[0] == 0


def test_a_row_that_no_front_end_sealed_is_not_believed(tmp_path: Path, postgres: str) -> None:
    """Somebody who can write the table marks a forged signature as checked."""
    url = new_schema(postgres)
    with found(tmp_path / "a", clock=system_clock, store=url) as ledger:
        ledger.append(registration(ledger.id, "alice"))
        honest = registration(ledger.id, "bob")
        forged = Submission(record=honest.record, signature=bytes(64))
        key = StagingKey(ledger.operator_signer(), ledger.id)
        size = ledger.size
    row = StagedRequest(submissions=(forged,), keys=(signer("bob").public_key,)).encode()
    with serving(tmp_path / "a") as pool:
        staging = Staging(DatabaseUrl.parse(url))
        outcomes = [outcome_of(staging, body) for body in (bytes(32) + row, key.seal(row)[:-1], b"")]
        assert [type(outcome) for outcome in outcomes] == [BusyError] * 3
        assert pool.get("/v1/status").json()["size"] == size
        sealed = key.seal(StagedRequest(submissions=(honest,), keys=(b"",)).encode())
        assert isinstance(outcome_of(staging, sealed), Acknowledgement)
        staging.close()


def outcome_of(staging: Staging, body: bytes) -> Outcome:
    (number,) = staging.stage([body])
    for _ in range(200):
        for content in staging.fetch([number]).values():
            return decode_outcomes(content)[0]
        time.sleep(0.05)
    raise AssertionError("nobody answered")

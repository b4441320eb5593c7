"""Front ends of one database: the sequencer dies, another goes on; quickly what `tests.failover` does."""

import shutil
import signal
from pathlib import Path

from creditledger.ledger.clock import system_clock
from failover.failover_campaign import FRONT_ENDS, failover
from ledger_pools import found, grant, registration
from pool_processes import serving
from postgres_server import new_schema


def test_a_killed_sequencer_loses_nothing_that_was_acknowledged(tmp_path: Path, postgres: str) -> None:
    """No index is given twice either, and another front end takes over within five seconds."""
    found = failover(tmp_path, postgres, seconds=16, kill_every=3.5)
    assert found.wrong() == []
    assert found.kills >= FRONT_ENDS


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

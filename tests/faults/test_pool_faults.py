"""A served pool on a disk that fills, and killed amid appends: what it acknowledged is there."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cli_pools import Stage, ask
from creditledger.ledger.ledger import Ledger
from creditledger.transparency.checkpoint import parse_checkpoint_note
from ledger_pools import registration
from pool_processes import RunningPool, envelope, packed, serving

WAIT_SECONDS = 20.0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MiB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    try:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", place], capture_output=True, check=False
        )
    except OSError as error:
        pytest.skip(f"nothing can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr.decode()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill_up(ballast: Path) -> None:
    """Leave no byte."""
    with ballast.open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                for _ in range(1 << 13):
                    file.write(bytes(size))


def until(what: Any) -> Any:
    """The first true thing that ``what`` says in a while."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it never came")


def test_a_full_disk_is_507_while_reads_go_on_and_room_mends_it(small_disk: Path) -> None:
    """S6. Nothing is acknowledged that is not there; no restart is needed."""
    stage = Stage(small_disk)
    ballast = small_disk / "ballast"
    with serving(stage.pool, "--interval", 1) as pool:
        (first,) = pool.outcomes([registration(pool.ledger_id, "before")])
        until(lambda: pool.get("/v1/status").json()["published_size"] > first["index"])
        fill_up(ballast)
        sent = [registration(pool.ledger_id, f"amid-{number}") for number in range(64)]
        refused = until(lambda: (said := pool.post(sent, idempotency_key="k")).status_code != 200 and said)
        assert (refused.status_code, refused.json()["error"]) == (507, "StorageError"), refused.text
        assert int(refused.headers["retry-after"]) >= 1
        for path in ("/v1/accounts/before", "/checkpoint", "/v1/status", "/v1/bundles/alice", "/policy"):
            assert pool.get(path).status_code == 200, path
        assert pool.get("/v1/accounts/amid-0").status_code == 404
        health = pool.get("/healthz")
        assert (health.status_code, health.json()["state"]) == (503, "full")
        assert pool.post(sent, idempotency_key="k").status_code == 507
        ballast.unlink()
        answered = until(lambda: (said := pool.post(sent, idempotency_key="k")).status_code == 200 and said)
        indices = [one["index"] for one in answered.json()["outcomes"]]
        assert indices == list(range(indices[0], indices[0] + 64))
        assert pool.outcomes([registration(pool.ledger_id, "before")]) == [first]
        until(lambda: pool.get("/healthz").json()["ok"])
        assert pool.end()[0] == 0
    assert ask("fsck", stage.pool)["ok"]


class Appender(threading.Thread):
    """Appends one record after another, and remembers what it was promised."""

    def __init__(self, pool: RunningPool, number: int) -> None:
        super().__init__()
        self._url, self._ledger_id, self._number = pool.url, pool.ledger_id, number
        self.promised: dict[int, str] = {}

    def run(self) -> None:
        client = httpx2.Client(base_url=self._url, trust_env=False, timeout=10)
        with contextlib.suppress(httpx2.HTTPError), client:
            for count in range(100_000):
                body = envelope([registration(self._ledger_id, f"p{self._number}-{count}")])
                answer = client.post("/v1/records", content=body, headers=packed({}))
                (outcome,) = answer.json()["outcomes"]
                self.promised[outcome["index"]] = outcome["leaf_hash"]


@pytest.mark.parametrize("round", range(int(os.environ.get("CREDITLEDGER_POOL_KILLS", "3"))))
def test_killed_amid_appends_nothing_acknowledged_is_lost(tmp_path: Path, round: int) -> None:
    """I1: kill -9 at any moment."""
    stage = Stage(tmp_path)
    with serving(stage.pool, "--interval", 1) as pool:
        appenders = [Appender(pool, number) for number in range(4)]
        for appender in appenders:
            appender.start()
        until(lambda: all(appender.promised for appender in appenders))
        time.sleep(0.37 * round)
        pool.end(signal.SIGKILL)
        for appender in appenders:
            appender.join(30)
    promised = {index: leaf for appender in appenders for index, leaf in appender.promised.items()}
    assert len(promised) == sum(len(appender.promised) for appender in appenders) >= 4
    with Ledger.open(stage.pool) as ledger, ledger.snapshot() as snapshot:
        assert {index: snapshot.log.node(0, index).hex() for index in promised} == promised
    assert ask("fsck", stage.pool)["ok"]


def test_told_to_end_amid_appends_it_answers_what_it_logs(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    with serving(stage.pool, "--interval", 3600) as pool:
        appenders = [Appender(pool, number) for number in range(4)]
        for appender in appenders:
            appender.start()
        until(lambda: all(appender.promised for appender in appenders))
        code, _ = pool.end(signal.SIGTERM)
        for appender in appenders:
            appender.join(30)
    promised = {index: leaf for appender in appenders for index, leaf in appender.promised.items()}
    assert code == 0
    with Ledger.open(stage.pool) as ledger, ledger.snapshot() as snapshot:
        assert {index: snapshot.log.node(0, index).hex() for index in promised} == promised
        assert parse_checkpoint_note(ledger.checkpoint()).size == snapshot.log.size

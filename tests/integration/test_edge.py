"""A node on a small board that is offline for a week: 512 MiB, half a core, no torch.

Source: specs/minting.md §10."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli_pools import ask
from cli_workshop import Workshop, workshop
from creditledger.ledger.clock import system_clock
from creditledger.ledger.ledger import Ledger
from creditledger.records.entry import Entry
from creditledger.records.receipt import Batch, Receipt
from edge_limits import Board, small_board
from edge_process import DAY_MS, edge_node
from network_gate import NetworkGate, network_gate
from pool_processes import serving

__all__ = ["workshop"]

ORDERS_A_DAY = 3
MEMORY_KIB_MAX = 128 * 1024
IN_A_WEEK = f"""
import time
now = time.time_ns
time.time_ns = lambda: now() + {7 * DAY_MS} * 1_000_000
"""
"""The server's machine once the week is over."""


@pytest.fixture
def board() -> Iterator[Board]:
    with small_board() as found:
        print(found.how)
        yield found


@pytest.fixture
def gate(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NetworkGate]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("CREDITLEDGER_POLICY", str(workshop.stage.policy))
    with network_gate() as found:
        yield found


def orders_for(workshop: Workshop, count: int) -> list[Path]:
    """Jobs of one window that do not expire meanwhile."""
    stage = workshop.stage
    words = ["--model", "tiny", "--plan", stage / "plan", "--positions", 256, "--max-price", "1credits"]
    words += ["--expires", system_clock() + 30 * DAY_MS, "--key", stage / "alice.key"]
    for number in range(count):
        ask("order", stage.pool, *words, "-o", stage / f"edge {number}")
    return [stage / f"edge {number}" for number in range(count)]


def logged(pool: Path) -> list[str]:
    """Digests of all receipts in the log, as often as they are there."""
    with Ledger.open(pool, read_only=True) as ledger, ledger.snapshot() as snapshot:
        records = [Entry.decode(snapshot.log.entry_bytes(index)).record for index in range(snapshot.log.size)]
        bodies = [body for one in records if isinstance(one, Batch) for body in snapshot.log.bodies(one)]
        return [Receipt.decode(body).digest(ledger.id).hex() for body in bodies]


def test_a_week_offline_then_everything_once(workshop: Workshop, gate: NetworkGate, board: Board) -> None:
    """It starts anew every day, dies every other, and what it had written down is logged once."""
    stage, model = workshop.stage, workshop.model.description.digest
    orders = orders_for(workshop, 7 * ORDERS_A_DAY + 1)
    key = stage / "n1.key"
    with serving(stage.pool, "--interval", 1) as pool:
        gate.turn("fast", behind=pool.address)
        with edge_node(board, gate.url, key, model, orders[:1]) as node:
            minted = node.minted(1)
            node.line()
            assert node.delivered()["refused"] == 0
            node.end()
    gate.turn("dead")
    for day in range(1, 8):
        today = orders[1 + (day - 1) * ORDERS_A_DAY :][:ORDERS_A_DAY]
        with edge_node(board, gate.url, key, model, today, day=day) as node:
            minted += node.minted(ORDERS_A_DAY)
            took = node.line()
            assert took["rss_kib"] < MEMORY_KIB_MAX
            assert set(took["failures"]) <= {"BusyError"}
            if day % 2:
                ended = node.end()
                assert ended["waiting"] >= day
                assert not ended["torch"]
    assert len(logged(stage.pool)) == 1
    with serving(stage.pool, "--interval", 1, program=IN_A_WEEK) as pool:
        gate.turn("fast", behind=pool.address)
        with edge_node(board, gate.url, key, model, [], day=7) as node:
            node.line()
            assert node.delivered()["refused"] == 0
            ended = node.end()
            assert ended["rss_kib"] < MEMORY_KIB_MAX
    found = logged(stage.pool)
    assert len(minted) == 7 * ORDERS_A_DAY + 1
    assert sorted(found) == sorted(minted)
    brought = [path for path in (stage.pool / "evidence").iterdir() if "-by-" in path.name]
    assert len(brought) == len(minted)


def test_the_board_is_as_small_as_it_says(board: Board) -> None:
    """Else the test above shows nothing."""
    greedy = "b = bytearray(600 << 20); b[::4096] = b'x' * len(b[::4096])"
    died = subprocess.run(
        [sys.executable, "-c", greedy], preexec_fn=board.enter, capture_output=True, check=False
    )
    assert died.returncode != 0
    busy = (
        "import time\nb = time.monotonic()\nwhile time.monotonic() < b + 1: pass\nprint(time.process_time())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", busy], preexec_fn=board.enter, stdout=subprocess.PIPE
    ) as process:
        with board.keep(process.pid):
            while process.poll() is None:
                time.sleep(0.01)
        assert process.stdout is not None
        assert 0.1 < float(process.stdout.read()) < 0.75

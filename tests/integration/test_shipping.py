"""A node ships to a pool behind a URL: evidence first, once, whatever dies meanwhile, and never in the way.

Source: specs/minting.md §10."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli_pools import ask, cli, environment
from cli_workshop import Workshop, workshop
from creditledger import Minter
from creditledger.ledger.ledger import Ledger
from creditledger.minting.shipping import Shipping
from creditledger.records.entry import Entry
from creditledger.records.receipt import Batch, Receipt
from creditledger.redemption.order import Order
from fakes.tiny_llama import SHAPE, inputs_of
from network_gate import NetworkGate, Weather, network_gate
from pool_processes import serving

__all__ = ["workshop"]

QUICK = Shipping(interval_s=0.1, retry_s_max=0.2, close_s=5)
WINDOWS = 3


@pytest.fixture
def home(workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("CREDITLEDGER_POLICY", str(workshop.stage.policy))
    return tmp_path


@pytest.fixture
def gate() -> Iterator[NetworkGate]:
    with network_gate() as found:
        yield found


def ordered(workshop: Workshop, name: str) -> Order:
    """A job of a few windows, logged before anything is served."""
    stage = workshop.stage
    words = ["--model", "tiny", "--plan", stage / "plan", "--positions", 256 * WINDOWS]
    words += ["--max-price", "1credits", "--key", stage / "alice.key", "-o", stage / name]
    ask("order", stage.pool, *words)
    return Order.decode((stage / name).read_bytes())


def node(workshop: Workshop, gate: NetworkGate, shipping: Shipping = QUICK) -> Minter:
    key = workshop.stage / "n1.key"
    return Minter(gate.url, key=key, model=workshop.model.description, shipping=shipping)


def mint(minter: Minter, order: Order, layer_start: int = 0) -> list[Receipt]:
    rows = inputs_of(SHAPE, 256 * WINDOWS, seed=5)
    with minter.session(order.work_order(layer_start)) as session:
        for start in range(0, len(rows), 256):
            window = rows[start : start + 256]
            session.record(inputs=window, outputs=window, positions=range(start, start + 256))
    return session.receipts


def until(is_so: Callable[[], object], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def logged(pool: Path) -> list[bytes]:
    """Digests of all receipts in the log of a ledger's directory, as often as they are there."""
    with Ledger.open(pool, read_only=True) as ledger, ledger.snapshot() as snapshot:
        entries = [Entry.decode(snapshot.log.entry_bytes(index)) for index in range(snapshot.log.size)]
        batches = [entry.record for entry in entries if isinstance(entry.record, Batch)]
        bodies = [body for batch in batches for body in snapshot.log.bodies(batch)]
        return [Receipt.decode(body).digest(ledger.id) for body in bodies]


def is_brought(workshop: Workshop, receipt: Receipt) -> bool:
    name = f"{receipt.input_root.hex()}-by-{receipt.node.hex()}"
    return (workshop.stage.pool / "evidence" / name).exists()


def test_what_is_minted_arrives_by_itself(workshop: Workshop, gate: NetworkGate, home: Path) -> None:
    """Nobody flushes. Once it is logged, its inputs are where a validator looks."""
    order = ordered(workshop, "by itself")
    with serving(workshop.stage.pool, "--interval", 1) as pool:
        gate.turn("fast", behind=pool.address)
        minter = node(workshop, gate)
        receipts = mint(minter, order)
        digests = {one.digest(pool.ledger_id) for one in receipts}
        until(lambda: digests <= set(logged(workshop.stage.pool)))
        assert all(is_brought(workshop, one) for one in receipts)
        minter.close()
        assert (minter.waiting, minter.failures, minter.refused) == (0, {}, [])
        told = json.loads(cli("shipping", gate.url, "--json").out)
        assert (told["waiting"], told["refused"], told["error"], told["missing_inputs"]) == (0, 0, "", 0)
        assert told["delivered"] >= 1
        assert (told["last_delivered_unix_ms"] or 0) > 0
        kept = Path(told["outbox"]).parent / "evidence"
        assert {path.name for path in kept.iterdir()} == {one.input_root.hex() for one in receipts}


def test_the_owner_sees_what_waits_while_the_pool_is_away(
    workshop: Workshop, gate: NetworkGate, home: Path
) -> None:
    order = ordered(workshop, "away")
    assert cli("shipping", workshop.stage.pool).out == "shipping: none\n"
    with serving(workshop.stage.pool, "--interval", 1) as pool:
        gate.turn("fast", behind=pool.address)
        minter = node(workshop, gate)
        gate.turn("dead")
        mint(minter, order)
        until(lambda: json.loads(cli("shipping", gate.url, "--json").out)["error"])
        told = json.loads(cli("shipping", gate.url, "--json").out)
        assert (told["error"], told["delivered"], told["last_delivered_unix_ms"]) == ("BusyError", 0, None)
        assert told["waiting"] >= 1
        assert told["waiting_bytes"] > 0
        gate.turn("fast")
        until(lambda: minter.waiting == 0)
        minter.close()
        assert json.loads(cli("shipping", gate.url, "--json").out)["error"] == ""


def test_a_server_that_is_killed_over_and_over_gets_each_batch_once(
    workshop: Workshop, gate: NetworkGate, home: Path
) -> None:
    """The port stays, the server dies at any moment; the node never does more than wait."""
    orders = [ordered(workshop, f"killed {number}") for number in range(4)]
    with serving(workshop.stage.pool, "--interval", 1) as pool:
        gate.turn("fast", behind=pool.address)
        ledger_id = pool.ledger_id
        minter = node(workshop, gate)
    before = len(logged(workshop.stage.pool))
    minted: list[Receipt] = []
    for order in orders:
        with serving(workshop.stage.pool, "--interval", 1) as pool:
            gate.turn("fast", behind=pool.address)
            minted += mint(minter, order)
            minter.flush()
            time.sleep(0.25)
            pool.process.send_signal(signal.SIGKILL)
            pool.process.wait()
        minted += mint(minter, order, 2)
    with serving(workshop.stage.pool, "--interval", 1) as pool:
        gate.turn("fast", behind=pool.address)
        minter.flush()
        until(lambda: minter.waiting == 0)
        minter.close()
    found = logged(workshop.stage.pool)
    assert len(found) == before + len(minted) == before + 4 * 2 * WINDOWS
    assert {one.digest(ledger_id) for one in minted} <= set(found)
    assert minter.refused == []


NODE = """
import sys, time
from pathlib import Path
from creditledger import Minter
from creditledger.minting.shipping import Shipping
from creditledger.redemption.order import Order
from fakes.tiny_llama import SHAPE, inputs_of

url, key, model, seconds, *orders = sys.argv[1:]
minter = Minter(url, key=key, model=bytes.fromhex(model), shipping=Shipping(interval_s=0.05, retry_s_max=0.2))
rows = inputs_of(SHAPE, 256, seed=5)
for path in orders:
    with minter.session(Order.decode(Path(path).read_bytes()).work_order(0)) as session:
        session.record(inputs=rows, outputs=rows, positions=range(256))
    digests = [receipt.digest(minter._link.ledger_id).hex() for receipt in session.receipts]
    minter.flush()  # on return they are in the outbox: from here on nothing may lose them
    print(*digests, flush=True)
    time.sleep(float(seconds))
minter.close()
print(minter.waiting, len(minter.refused), flush=True)
"""


def test_a_node_that_is_killed_loses_nothing_that_it_wrote_down(
    workshop: Workshop, gate: NetworkGate, home: Path
) -> None:
    """Killed while it signs, brings and submits; what it was amid of is delivered once by the next run."""
    stage, promised = workshop.stage, []
    orders = [ordered(workshop, f"died {number}") for number in range(12)]
    with serving(stage.pool, "--interval", 1) as pool:
        gate.turn("fast", behind=pool.address)
        start = [
            sys.executable,
            "-c",
            NODE,
            gate.url,
            stage / "n1.key",
            workshop.model.description.digest.hex(),
        ]
        for run in range(4):
            files = [stage / f"died {number}" for number in range(3 * run, 3 * run + 3)]
            last = run == 3
            words = [*map(str, start), "0.01" if last else "0.15", *map(str, files)]
            process = subprocess.Popen(
                words, stdout=subprocess.PIPE, env=node_environment(), stderr=subprocess.PIPE
            )
            assert process.stdout is not None
            for _ in range(1 + run % 3) if not last else range(3):
                line = process.stdout.readline()
                assert line, process.communicate()
                promised += line.decode().split()
            if last:
                assert process.stdout.readline() == b"0 0\n"
            else:
                time.sleep(0.03 * run)
                process.kill()
            process.communicate(timeout=60)
        found = [digest.hex() for digest in logged(stage.pool)]
    assert len(promised) >= 8
    assert set(promised) <= set(found)
    assert len(found) == len(set(found))
    assert len(orders) == 12


def node_environment() -> dict[str, str]:
    """With the suite's own modules importable."""
    found = environment()
    return found | {"PYTHONPATH": str(Path(__file__).parents[1]) + ":" + found["PYTHONPATH"]}


def test_a_pool_that_is_silent_or_away_takes_no_time_of_the_nodes(
    workshop: Workshop, gate: NetworkGate, home: Path
) -> None:
    """A request hangs for half a minute; a session is opened, recorded and closed meanwhile as ever."""
    weathers: tuple[Weather, ...] = ("fast", "slow", "dead")
    orders = {name: [ordered(workshop, f"{name} {turn}") for turn in range(3)] for name in weathers}
    with serving(workshop.stage.pool, "--interval", 1) as pool:
        gate.turn("fast", behind=pool.address)
        minter = node(workshop, gate)
        took: dict[str, list[float]] = {name: [] for name in orders}
        for turn in range(3):
            for weather in weathers:
                gate.turn(weather)
                taken = gate.taken
                minter.flush()
                if turn:
                    until(lambda taken=taken: gate.taken > taken or minter.waiting == 0, seconds=5)
                began = time.perf_counter()
                mint(minter, orders[weather][turn])
                minter.flush()
                took[weather].append(time.perf_counter() - began)
        gate.turn("fast")
        until(lambda: minter.waiting == 0)
        minter.close()
    fast = min(took["fast"])
    print({name: [round(1_000 * one, 1) for one in found] for name, found in took.items()})
    for weather in ("slow", "dead"):
        assert min(took[weather]) < 3 * fast + 0.2, took
        assert max(took[weather]) < 5, took

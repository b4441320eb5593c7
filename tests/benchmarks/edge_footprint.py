"""What a node takes on a small board: ``python -m tests.benchmarks.edge_footprint``.

Memory, disk and processor time of minting and shipping, what the network's state costs whoever mints, and
whether every wheel of the node's side exists for aarch64 (that part asks the package index)."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from cli_pools import ask
from cli_workshop import Workshop, make_workshop
from edge_limits import Board, small_board
from edge_process import edge_node
from fakes.tiny_llama import SHAPE
from network_gate import NetworkGate, Weather, network_gate
from pool_processes import serving

ROOT: Final = Path(__file__).parents[2]
HIDDEN: Final = 1024
WINDOWS: Final = 8
PLATFORM: Final = "manylinux2014_aarch64"
NODE_NEEDS: Final = ("httpx2",)
"""Of the extra ``service``, what a node needs; the rest is the server's."""


def main() -> int:
    """Print the table; 1 if a wheel is missing."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=8, help="of 8 windows, per state of the network")
    parser.add_argument("--no-wheels", action="store_true", help="ask no package index")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, small_board() as board, network_gate() as gate:
        os.environ["XDG_STATE_HOME"] = f"{folder}/state"
        shape = replace(SHAPE, hidden=HIDDEN, heads=8, head_dim=128)
        (Path(folder) / "pool").mkdir()
        workshop = make_workshop(Path(folder) / "pool", shape=shape)
        os.environ["CREDITLEDGER_POLICY"] = str(workshop.stage.policy)
        print(f"limits: {board.how}; hidden size {HIDDEN}, windows of 256 positions")
        _measure(workshop, gate, board, given.jobs)
    return 0 if given.no_wheels else _wheels()


def _measure(workshop: Workshop, gate: NetworkGate, board: Board, jobs: int) -> None:
    weathers: tuple[Weather, ...] = ("fast", "slow", "dead")
    orders = {weather: _orders(workshop, weather, jobs) for weather in weathers}
    stage, model = workshop.stage, workshop.model.description.digest
    with serving(stage.pool, "--interval", 1) as pool:
        gate.turn("fast", behind=pool.address)
        for weather in weathers:
            with edge_node(board, gate.url, stage / "n1.key", model, []) as node:
                idle = node.line()
                node.end()
            words = [f"{order}:{256 * WINDOWS}:{HIDDEN}" for order in orders[weather]]
            turn = partial(gate.turn, weather)
            with edge_node(board, gate.url, stage / "n1.key", model, words, opened=turn) as node:
                node.minted(jobs)
                took = node.line()
                disk = _disk(Path(os.environ["XDG_STATE_HOME"]))
                gate.turn("fast")
                done = node.delivered()
                ended = node.end()
            _print(weather, jobs * WINDOWS, idle, took, done, ended, disk)


def _print(
    weather: str,
    receipts: int,
    idle: dict[str, Any],
    took: dict[str, Any],
    done: dict[str, Any],
    ended: dict[str, Any],
    disk: dict[str, list[int]],
) -> None:
    peaks = " / ".join(f"{one['rss_kib'] / 1024:.0f}" for one in (idle, took, ended))
    wall, processor, delivery = (
        f"{1000 * seconds / receipts:.1f}" for seconds in (took["wall_s"], took["cpu_s"], done["cpu_s"])
    )
    print(f"service {weather}, {receipts} receipts")
    print(f"  memory: at most {peaks} MiB, opened / minted / delivered")
    print(f"  minting: {wall} ms a receipt, {processor} ms of processor; delivery {delivery} ms of processor")
    if disk["batches"]:
        print(f"  disk: {sum(disk['batches']) / receipts:,.0f} bytes a receipt in batches that wait")
    print(f"  disk: {statistics.mean(disk['inputs']):,.0f} bytes a receipt of inputs, kept sealed")


def _disk(state: Path) -> dict[str, list[int]]:
    """Bytes of what waits and of what is kept, file by file."""
    homes = list(state.glob("creditledger/copies/*/nodes/*"))
    return {
        "batches": [path.stat().st_size for home in homes for path in home.glob("outbox/*.submission")],
        "inputs": [path.stat().st_size for home in homes for path in home.glob("evidence/*")],
    }


def _orders(workshop: Workshop, name: str, jobs: int) -> list[Path]:
    stage = workshop.stage
    words = ["--model", "tiny", "--plan", stage / "plan", "--positions", 256 * WINDOWS]
    words += ["--max-price", "1credits", "--key", stage / "alice.key"]
    for number in range(jobs):
        ask("order", stage.pool, *words, "-o", stage / f"{name} {number}")
    return [stage / f"{name} {number}" for number in range(jobs)]


def _wheels() -> int:
    """Download every wheel that a node's install would take on aarch64; 1 if one does not exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    service = project["optional-dependencies"]["service"]
    native = project["optional-dependencies"]["native"]
    needed = [*project["dependencies"], *(one for one in service if one.startswith(NODE_NEEDS))]
    is_whole = _download("the node's side", needed)
    _download("with fast BLS (optional)", [*needed, *native])
    return 0 if is_whole else 1


def _download(what: str, needed: list[str]) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        words = ["download", "--quiet", "--dest", folder, "--only-binary=:all:", "--platform", PLATFORM]
        done = subprocess.run(
            [sys.executable, "-m", "pip", *words, "--python-version", version, *needed],
            capture_output=True,
            text=True,
            check=False,
        )
        wheels = sorted(Path(folder).iterdir())
        if done.returncode:
            print(f"wheels, {what}: not all exist for {PLATFORM}: {done.stderr.strip().splitlines()[-1]}")
            return False
        size = sum(path.stat().st_size for path in wheels)
        native = sum("aarch64" in path.name for path in wheels)
        print(f"wheels, {what}: all {len(wheels)} exist for {PLATFORM} ({native} of them compiled), ", end="")
        print(f"{size / 2**20:.0f} MiB")
        return True


if __name__ == "__main__":
    sys.exit(main())

"""A node on a small board, as a program: ``python edge_node.py URL KEY MODEL AHEAD_MS ORDER...``

It opens its pool and waits for a line on stdin; then it mints one window of each order, says what is written
down after each, delivers when told to, and ends with its stdin. Its clock runs ``AHEAD_MS`` ahead. No torch
and no model: rows come from elsewhere."""

import json
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np

from creditledger import Minter
from creditledger.activations.bf16 import from_bf16_bits, to_bf16_bits
from creditledger.ledger.clock import system_clock
from creditledger.minting.shipping import Shipping
from creditledger.redemption.order import Order

HIDDEN = 128


def main(url: str, key: str, model: str, ahead_ms: str, *orders: str) -> None:
    """Mint, then say what it took; ``orders``: files, each perhaps with ``:POSITIONS:HIDDEN``."""
    minter = Minter(
        url,
        key=key,
        model=bytes.fromhex(model),
        clock=lambda: system_clock() + int(ahead_ms),
        shipping=Shipping(interval_s=0.2, retry_s_max=0.5),
    )
    ledger_id = minter._link.ledger_id
    shapes = [_shape(order) for order in orders]
    for positions, hidden in shapes:  # the model's work, and not the node's
        _windows(positions, hidden)
    _say({"opened": True})
    sys.stdin.readline()
    began, cpu_began = time.perf_counter(), time.process_time()
    for order, (positions, hidden) in zip(orders, shapes, strict=True):
        work = Order.decode(Path(order.partition(":")[0]).read_bytes()).work_order(0)
        with minter.session(work) as session:
            for number, rows in enumerate(_windows(positions, hidden)):
                at = range(256 * number, 256 * number + 256)
                session.record(inputs=rows, outputs=rows, positions=at)
        receipts = session.receipts
        minter.flush()  # on return they are in the outbox: from here on nothing may lose them
        _say({"minted": [receipt.digest(ledger_id).hex() for receipt in receipts]})
    took = {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu_began}
    _say(took | {"rss_kib": _peak_kib(), "failures": minter.failures})
    for line in sys.stdin:
        if line.strip() == "deliver":
            cpu_began = time.process_time()
            while minter.waiting:
                time.sleep(0.02)
            _say({"waiting": 0, "refused": len(minter.refused), "cpu_s": time.process_time() - cpu_began})
    minter.close()
    _say({"rss_kib": _peak_kib(), "torch": "torch" in sys.modules, "waiting": minter.waiting})


def _shape(order: str) -> tuple[int, int]:
    positions, _, hidden = (order.partition(":")[2] or f"256:{HIDDEN}").partition(":")
    return int(positions), int(hidden)


def _peak_kib() -> int:
    # Not getrusage: its peak is that of whoever forked this process, too.
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))


@cache
def _windows(positions: int, hidden: int) -> list[np.ndarray]:
    return [_rows(start, hidden) for start in range(0, positions, 256)]


def _rows(start: int, hidden: int) -> np.ndarray:
    chance = np.random.default_rng(start)
    return from_bf16_bits(to_bf16_bits(chance.standard_normal((256, hidden)).astype(np.float32)))


def _say(told: object) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""A node on a small board, as a program: ``python edge_node.py URL KEY MODEL AHEAD_MS ORDER...``

It mints one window of each order, says what is written down after each, delivers when told to on stdin, and
ends with it. Its clock runs ``AHEAD_MS`` ahead. No torch and no model: rows come from elsewhere."""

import json
import resource
import sys
import time
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
    began, seconds = time.process_time(), 0.0
    for order in orders:
        path, _, shape = order.partition(":")
        positions, _, hidden = (shape or f"256:{HIDDEN}").partition(":")
        work = Order.decode(Path(path).read_bytes()).work_order(0)
        for_wall = time.perf_counter()
        with minter.session(work) as session:
            for start in range(0, int(positions), 256):
                rows = _rows(start, int(hidden))
                session.record(inputs=rows, outputs=rows, positions=range(start, start + 256))
        receipts = session.receipts
        minter.flush()  # on return they are in the outbox: from here on nothing may lose them
        seconds += time.perf_counter() - for_wall
        _say({"minted": [receipt.digest(ledger_id).hex() for receipt in receipts]})
    cpu = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _say({"rss_kib": peak, "cpu_s": cpu, "wall_s": seconds, "failures": minter.failures})
    for line in sys.stdin:
        if line.strip() == "deliver":
            while minter.waiting:
                time.sleep(0.02)
            _say({"waiting": 0, "refused": len(minter.refused)})
    minter.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _say({"rss_kib": peak, "torch": "torch" in sys.modules, "waiting": minter.waiting})


def _rows(start: int, hidden: int) -> np.ndarray:
    chance = np.random.default_rng(start)
    return from_bf16_bits(to_bf16_bits(chance.standard_normal((256, hidden)).astype(np.float32)))


def _say(told: object) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What a commitment costs: bytes, and time beside one layer's decode. Source: specs/check.md §1-3."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from creditledger.activations.bf16 import round_bf16, to_bf16_bits
from creditledger.activations.delivered import delivered_root
from creditledger.activations.sketch import sketch, sketch_bytes
from creditledger.records.receipt import WINDOW

BLOCK: Final = 32
WIDTHS: Final = {1024: (2816, 0.35, "0.63 ms"), 4096: (14336, 1.0, "7.6 ms")}
"""Hidden size: inner size of the feed-forward part, goal in ms per 32 tokens, TOPLOC's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostRow:
    """One cost."""

    case: str
    ours: str
    toploc: str
    goal: str
    met: bool


def cost_rows() -> list[CostRow]:
    """Bytes and times, the best of many: what the machine can do when nobody else uses it."""
    rows = [_bytes_row()]
    for hidden, (ff, goal_ms, toploc) in WIDTHS.items():
        minted, decoded = mint_ms(hidden), decode_ms(hidden, ff)
        share = minted / (BLOCK * decoded)
        rows.append(
            CostRow(
                case=f"mint, 32 tokens, hidden {hidden}",
                ours=f"{minted:.2f} ms, {share:.2%} of one layer's decode ({decoded:.1f} ms a token)",
                toploc=toploc,
                goal=f"<= {goal_ms:g} ms",
                met=minted <= goal_ms,
            )
        )
    return rows


def mint_ms(hidden: int) -> float:
    """Root and sketch of a receipt of 256 tokens, per 32 of them."""
    values = round_bf16(np.random.default_rng(0).standard_normal((WINDOW, hidden), dtype=np.float32))
    rows, exponents = to_bf16_bits(values), np.zeros(hidden, np.int8)

    def commit() -> None:
        root = delivered_root(rows, boundary_key=bytes(32), first_position=0)
        sketch(rows, seed=root, exponents=exponents)

    return _best_ms(commit, times=60) * BLOCK / WINDOW


def decode_ms(hidden: int, ff: int) -> float:
    """One token through the seven products of one layer: float32 in numpy, all else left out.

    Keys and values are a quarter as wide, as grouped heads have them."""
    inner = {
        "query": hidden,
        "key": hidden // 4,
        "value": hidden // 4,
        "output": hidden,
        "gate": ff,
        "up": ff,
    }
    weights = [np.full((width, hidden), 1e-3, np.float32) for width in inner.values()]
    down, row, wide = (np.full(shape, 1e-3, np.float32) for shape in ((hidden, ff), hidden, ff))

    def decode() -> None:
        for weight in weights:
            weight @ row
        down @ wide

    return _best_ms(decode, times=5)


def _bytes_row() -> CostRow:
    rows = to_bf16_bits(np.ones((WINDOW, 64), np.float32))
    root = delivered_root(rows, boundary_key=bytes(32), first_position=0)
    sketched = sketch_bytes(sketch(rows, seed=root, exponents=np.zeros(64, np.int8)))
    size = (len(root) + len(sketched)) * BLOCK / WINDOW
    return CostRow(
        case="bytes per 32 tokens, root and sketch",
        ours=f"{size:g}",
        toploc="258",
        goal="<= 132",
        met=size <= 132,
    )


def _best_ms(work: Callable[[], None], *, times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken) * 1000

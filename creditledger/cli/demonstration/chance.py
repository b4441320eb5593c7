"""Random bytes that a seed repeats, one stream per purpose. Source: specs/cli.md §14."""

import hashlib
import os
from collections.abc import Callable


def stream(seed: int | None, purpose: str) -> Callable[[int], bytes]:
    """A source of random bytes for ``purpose``: the system's, or the seed's own stream for it."""
    if seed is None:
        return os.urandom
    state = hashlib.sha256(f"creditledger demo {seed} {purpose}".encode()).digest()
    drawn = 0

    def draw(count: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_256(state + drawn.to_bytes(8, "big")).digest(count)

    return draw


def number_below(draw: Callable[[int], bytes], most: int) -> int:
    """An integer in ``0..most-1``; the bias of 64 bits is beside the point here."""
    return int.from_bytes(draw(8), "big") % most

"""How a node may cheat, and what that costs and shows. Source: specs/simulation.md §2."""

from dataclasses import dataclass
from typing import Final

MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """What a node does with its receipts; shares are parts per million."""

    name: str
    share_ppm: int = MILLION
    """Of its receipts so many are fake, once it has begun. 0 for an honest node."""
    milk: int = 0
    """Honest receipts first, and again after every confirmed failure: to earn trust, then spend it."""
    cost_ppm: int = 20_000
    """What a fake receipt costs, of its value."""
    detection_ppm: int = 950_000
    """How likely one honest check refutes a fake."""
    hides_data: bool = False
    """Whoever checks a fake is shown no data, instead of something to refute."""
    renames: bool = False
    """A suspended node comes back under a new name instead of waiting for the slash."""
    washes: bool = False
    """The node's own client orders and pays the work."""


HONEST: Final = Strategy(name="honest", share_ppm=0)

"""Many lives under one seed, on as many processors as there are. Source: specs/simulation.md §3."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from creditledger.quantities import AMOUNT_MAX
from creditledger.records.parameters import Parameters
from creditledger.simulation.career import Career, Tally
from creditledger.simulation.chance import UniformHashes, life_key
from creditledger.simulation.life import Life
from creditledger.simulation.scenario import Scenario
from creditledger.simulation.strategy import HONEST, Strategy
from creditledger.simulation.world import World

_CHUNK: Final = 50
Show: TypeAlias = Callable[[str, int, int], None]
"""What is going on, how much of it is done, of how much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lives:
    """Some nodes of one scenario, all cheats or all honest."""

    world: World
    parameters: Parameters
    scenario: Scenario
    seed: int
    nodes: range
    is_cheating: bool

    @property
    def strategy(self) -> Strategy:
        """What they do."""
        return self.scenario.strategy if self.is_cheating else HONEST

    def career(self, node: int) -> Career:
        """One of them, before it begins."""
        return Career(
            world=self.world,
            strategy=self.strategy,
            key=life_key(self.seed, node),
            collusion=self.scenario.collusion(self.world),
        )

    def chunks(self) -> "list[Lives]":
        """The same nodes, a few at a time."""
        starts = range(self.nodes.start, self.nodes.stop, _CHUNK)
        return [replace(self, nodes=range(start, min(start + _CHUNK, self.nodes.stop))) for start in starts]


@dataclass(slots=True, kw_only=True)
class Lived:
    """What some lives came to."""

    tally: Tally = field(default_factory=Tally)
    traces: list[bytes] = field(default_factory=list)
    """SHA-256 over each life's decisions, by node."""

    def add(self, other: "Lived") -> None:
        """Count later nodes in."""
        self.tally.add(other.tally)
        self.traces += other.traces


def live(lives: Lives) -> Lived:
    """Live them one after another."""
    lived = Lived()
    rules = lives.scenario.pool_rules(lives.world, lives.parameters)
    slash = lives.scenario.slash_micro if not lives.strategy.share_ppm else AMOUNT_MAX
    for node in lives.nodes:
        career = lives.career(node)
        hashes = UniformHashes(life_key(lives.seed, node), lives.world)
        Life(career, rules, hashes, slash_micro=slash).play()
        lived.tally.add(career.tally)
        lived.traces.append(career.trace.digest())
    return lived


Mapper: TypeAlias = Callable[[Callable[[Lives], Lived], Sequence[Lives]], Iterator[Lived]]


@contextmanager
def processors() -> Iterator[Mapper]:
    """A `map` over all processors; the order, and so the outcome, is that of the arguments."""
    count = os.cpu_count() or 1
    if count == 1:
        yield map
        return
    with ProcessPoolExecutor(max_workers=count) as pool:
        yield pool.map


def live_all(lives: Lives, mapper: Mapper, show: Show) -> Lived:
    """All of them, in order."""
    total, chunks = Lived(), lives.chunks()
    for lived in mapper(live, chunks):
        total.add(lived)
        show(lives.scenario.name, len(total.traces), len(lives.nodes))
    return total

"""Every scenario under one seed: a row each, a check of the world against the fold, and one hash over all
decisions. Source: specs/simulation.md."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from fractions import Fraction
from typing import Final

from creditledger.credits import tariff
from creditledger.credits.ballot import FIRST_WITH_CONFIRMERS
from creditledger.errors import RefusedError
from creditledger.records.parameters import Parameters
from creditledger.simulation.career import Tally
from creditledger.simulation.folded_pool import FoldedPool
from creditledger.simulation.life import Life
from creditledger.simulation.population import Lived, Lives, Mapper, Show, live_all, processors
from creditledger.simulation.scenario import NOBODY, SCENARIOS, Scenario
from creditledger.simulation.strategy import HONEST
from creditledger.simulation.world import World

RATIO_MAX: Final = Fraction(95, 100)
"""Of an honest node's profit: a strategy that earns more is too close."""
CONTROL_SHARE: Final = 10
"""Pools with other rules get one in so many of the nodes,"""
SMALL_POOL: Final = 25
"""but so many, if there are."""
FIRST_RULE_SET: Final = FIRST_WITH_CONFIRMERS


class Verdict(Enum):
    """Whether cheating pays."""

    PAYS = "pays"
    CLOSE = "close"
    DOES_NOT_PAY = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What a scenario came to."""

    scenario: str
    is_control: bool
    nodes: int
    receipts: int
    overhead: Fraction
    """Checks for each receipt of the pool."""
    honest_profit_micro: Fraction
    """Per receipt."""
    cheat_profit_micro: Fraction | None
    """Per receipt; None where nobody cheated."""
    accepted_fakes: Fraction
    """Of all receipts of the pool."""
    honest_loss: Fraction
    """Share of what honest receipts are worth, less the levy, that their nodes did not get."""
    latency_p99: int | None
    """Fakes that 99 of 100 streaks do not pass before a failure is confirmed; None without any."""

    @property
    def ratio(self) -> Fraction | None:
        """The cheats' profit as a share of the honest nodes'."""
        if self.cheat_profit_micro is None or self.honest_profit_micro <= 0:
            return None
        return self.cheat_profit_micro / self.honest_profit_micro

    @property
    def verdict(self) -> Verdict | None:
        """Whether cheating so pays; None where nobody cheated."""
        if self.ratio is None:
            return None
        if self.ratio > RATIO_MAX:
            return Verdict.PAYS if self.ratio > 1 else Verdict.CLOSE
        return Verdict.DOES_NOT_PAY


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldCheck:
    """The pool whose lives were also folded."""

    row: Row
    entries: int
    trace: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a simulation found."""

    rows: tuple[Row, ...]
    fold: FoldCheck | None
    trace: bytes
    """SHA-256 over every decision: the same seed, world and parameters, the same bytes."""


def simulate(
    world: World,
    parameters: Parameters,
    *,
    seed: int,
    fold_receipts: int,
    scenarios: Sequence[Scenario] = SCENARIOS,
    show: Show = lambda what, done, of: None,
) -> Report:
    """First nobody cheats, then each of ``scenarios``; before that ``fold_receipts`` of each node go
    through the fold (none for 0). Raises RefusedError for parameters of another rule set or
    that the fold refuses."""
    _require_rules(parameters)
    # What the rules refuse at the first entry is refused before anything is lived.
    FoldedPool(replace(world, receipts=0), parameters, (), seed=seed).play()
    run = _Run(world=world, parameters=world.parameters(parameters), seed=seed, show=show)
    fold = None
    if fold_receipts:
        fold = check_fold(replace(world, receipts=fold_receipts), parameters, seed=seed, show=show)
    with processors() as mapper:
        rows = run.rows(scenarios, mapper)
    run.trace.update(b"" if fold is None else fold.trace)
    return Report(rows=rows, fold=fold, trace=run.trace.digest())


def _require_rules(parameters: Parameters) -> None:
    """Later rule sets check work as the first with confirmers does."""
    if parameters.rule_set < FIRST_RULE_SET:
        raise RefusedError(
            "an older rule set is not simulated",
            expected=f"rule set {FIRST_RULE_SET} or later",
            found=str(parameters.rule_set),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One simulation under way."""

    world: World
    parameters: Parameters
    seed: int
    show: Show
    trace: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def rows(self, scenarios: Sequence[Scenario], mapper: Mapper) -> tuple[Row, ...]:
        """Nobody cheats; then every scenario, with the same honest lives where its rules are the same."""
        cheats, nodes = self.world.adversaries, self.world.nodes
        would_cheat = self._live(NOBODY, range(cheats), mapper)
        honest = self._live(NOBODY, range(cheats, nodes), mapper)
        everybody = Lived()
        everybody.add(would_cheat)
        everybody.add(honest)
        rows = [_row(self.world, self.parameters, NOBODY, everybody.tally, None)]
        for scenario in scenarios:
            run = self._smaller() if scenario.changes_honest_lives else self
            rows.append(run._try(scenario, honest, mapper))
        return tuple(rows)

    def _smaller(self) -> "_Run":
        nodes = max(self.world.nodes // CONTROL_SHARE, min(self.world.nodes, SMALL_POOL))
        return replace(self, world=replace(self.world, nodes=nodes))

    def _try(self, scenario: Scenario, honest: Lived, mapper: Mapper) -> Row:
        cheats, nodes = self.world.adversaries, self.world.nodes
        if scenario.changes_honest_lives:
            honest = self._live(scenario, range(cheats, nodes), mapper, is_cheating=False)
        if not scenario.strategy.share_ppm:
            return _row(self.world, self.parameters, scenario, honest.tally, None)
        cheating = self._live(scenario, range(cheats), mapper)
        return _row(self.world, self.parameters, scenario, honest.tally, cheating.tally)

    def _live(self, scenario: Scenario, nodes: range, mapper: Mapper, *, is_cheating: bool = True) -> Lived:
        lives = Lives(
            world=self.world,
            parameters=self.parameters,
            scenario=scenario,
            seed=self.seed,
            nodes=nodes,
            is_cheating=is_cheating,
        )
        lived = live_all(lives, mapper, self.show)
        self.trace.update(scenario.name.encode() + b"".join(lived.traces))
        return lived


def check_fold(world: World, parameters: Parameters, *, seed: int, show: Show) -> FoldCheck:
    """A pool with all strategies at once, through the fold; then the same lives in the world.

    Raises AssertionError unless they are the same, decision for decision."""
    rules = world.parameters(parameters)
    tried = [scenario for scenario in SCENARIOS if not scenario.changes_honest_lives]
    lives = [
        Lives(
            world=world,
            parameters=rules,
            scenario=tried[node % len(tried)] if node < world.adversaries else NOBODY,
            seed=seed,
            nodes=range(node, node + 1),
            is_cheating=True,
        )
        for node in range(world.nodes)
    ]
    careers = [life.career(node) for node, life in enumerate(lives)]
    pool = FoldedPool(world, parameters, careers, seed=seed)
    pool.play(lambda done, of: show("through the fold, rounds", done, of))
    honest, cheating, trace = Tally(), Tally(), hashlib.sha256()
    for node, folded in enumerate(pool.lives):
        career = lives[node].career(node)
        Life(career, lives[node].scenario.pool_rules(world, rules), folded.hashes).play()
        if career.trace.digest() != folded.career.trace.digest() or career.tally != folded.career.tally:
            raise AssertionError(f"node {node} lived otherwise through the fold: {career.strategy.name}")
        (cheating if career.strategy.share_ppm else honest).add(career.tally)
        trace.update(career.trace.digest())
    scenario = Scenario(name="all, through the fold", strategy=HONEST)
    row = _row(world, rules, scenario, honest, cheating)
    return FoldCheck(row=row, entries=pool.entries, trace=trace.digest())


def _row(
    world: World, parameters: Parameters, scenario: Scenario, honest: Tally, cheating: Tally | None
) -> Row:
    both = Tally()
    both.add(honest)
    both.add(cheating or Tally())
    worth = world.price_micro(1) - tariff.levy(world.price_micro(1), parameters.levy_ppm)
    streaks = sorted(both.latencies)
    return Row(
        scenario=scenario.name,
        is_control=scenario.is_control,
        nodes=world.nodes,
        receipts=both.receipts,
        overhead=Fraction(both.checks, both.receipts or 1),
        honest_profit_micro=_profit(honest),
        cheat_profit_micro=_profit(cheating) if cheating is not None and cheating.fakes else None,
        accepted_fakes=Fraction(both.accepted_fakes, both.receipts or 1),
        honest_loss=1 - Fraction(honest.income_micro, honest.receipts * worth or 1),
        latency_p99=streaks[len(streaks) * 99 // 100] if streaks else None,
    )


def _profit(tally: Tally) -> Fraction:
    """Per receipt."""
    return Fraction(tally.income_micro - tally.cost_micro - tally.spent_micro, tally.receipts or 1)

"""What is tried: the strategies of cheats, and pools without defences, where cheating must be seen to pay.

Source: specs/simulation.md §2."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from creditledger.quantities import AMOUNT_MAX
from creditledger.records.parameters import Parameters
from creditledger.simulation.career import Collusion
from creditledger.simulation.pool_rules import FlatRate, FreeSilence, OneOverN, PoolRules
from creditledger.simulation.strategy import HONEST, MILLION, Strategy
from creditledger.simulation.world import World


class Rules(Enum):
    """By which rules a pool checks its nodes."""

    POOL = PoolRules
    ONE_OVER_N = OneOverN
    FLAT = FlatRate
    FREE_SILENCE = FreeSilence


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One way to cheat a pool; by default one with the parameters that are tried."""

    name: str
    strategy: Strategy
    is_control: bool = False
    """A pool that lacks a defence: here the cheat must win, or the simulation is blind."""
    rules: Rules = Rules.POOL
    changes: tuple[tuple[str, int], ...] = ()
    """Parameters that differ: field and value."""
    colluding_ppm: int = 0
    """Share of the committee, rounded up, that upholds what the cheats fake."""
    accusing_ppm: int = 0
    """Share of the committee, rounded up, that refutes what honest nodes did."""
    slash_micro: int = AMOUNT_MAX
    """What a suspended honest node loses: all that is unvested, unless the quorum looked again."""

    def collusion(self, world: World) -> Collusion:
        """Who of the committee does not judge by what it sees."""
        share = self.colluding_ppm or self.accusing_ppm
        return Collusion(
            members=frozenset(range(-(-world.members * share // MILLION))),
            uphold_fakes=self.colluding_ppm > 0,
            refute_honest=self.accusing_ppm > 0,
        )

    def pool_rules(self, world: World, parameters: Parameters) -> PoolRules:
        """The rules over ``parameters``, as far as this scenario keeps them."""
        changed = parameters.replace(**dict(self.changes))
        rules: type[PoolRules] = self.rules.value
        return rules(changed, receipt_micro=world.price_micro(1))

    @property
    def changes_honest_lives(self) -> bool:
        """Whether an honest node lives otherwise here than where nobody cheats."""
        return bool(self.changes or self.accusing_ppm or self.rules is not Rules.POOL)


NOBODY: Final = Scenario(name="nobody cheats", strategy=HONEST)
_MILK_300: Final = Strategy(name="milk 300", milk=300)
_NOTHING_UNVESTED: Final = (("vesting_micro", 0), ("vesting_ms", 0))


def _share(percent: int) -> Scenario:
    name = f"cheat on {percent} %"
    return Scenario(name=name, strategy=Strategy(name=name, share_ppm=percent * 10_000))


def _milk(receipts: int) -> Scenario:
    name = f"milk {receipts}, then cheat"
    return Scenario(name=name, strategy=Strategy(name=name, milk=receipts))


def _colluding(percent: int) -> Scenario:
    return Scenario(
        name=f"milk 300, {percent} % collude",
        strategy=_MILK_300,
        colluding_ppm=percent * 10_000,
    )


def _by(strategy: Strategy) -> Scenario:
    return Scenario(name=strategy.name, strategy=strategy)


SCENARIOS: Final = (
    _by(Strategy(name="always cheat")),
    _share(1),
    _share(5),
    _share(20),
    _milk(100),
    _milk(300),
    _milk(1000),
    _colluding(20),
    _colluding(33),
    _colluding(50),
    _by(Strategy(name="milk 300, cheaper model", milk=300, cost_ppm=350_000, detection_ppm=600_000)),
    _by(Strategy(name="milk 300, checks see 30 %", milk=300, detection_ppm=300_000)),
    _by(Strategy(name="milk 300, new names", milk=300, renames=True)),
    _by(Strategy(name="milk 300, show no data", milk=300, hides_data=True)),
    _by(Strategy(name="pay oneself for nothing", hides_data=True, washes=True)),
    Scenario(
        name="20 % of validators accuse",
        strategy=HONEST,
        accusing_ppm=200_000,
        slash_micro=1,
    ),
    Scenario(
        name="control: no vesting",
        strategy=_MILK_300,
        is_control=True,
        changes=_NOTHING_UNVESTED,
    ),
    Scenario(
        name="control: BOINC's 1/n",
        strategy=Strategy(name="milk 10", milk=10),
        is_control=True,
        rules=Rules.ONE_OVER_N,
        changes=_NOTHING_UNVESTED,
    ),
    Scenario(
        name="control: flat 2 %",
        strategy=Strategy(name="always cheat"),
        is_control=True,
        rules=Rules.FLAT,
        changes=(*_NOTHING_UNVESTED, ("check_floor_ppm", 20_000)),
    ),
    Scenario(
        name="control: silence is free",
        strategy=Strategy(name="no data", milk=300, hides_data=True),
        is_control=True,
        rules=Rules.FREE_SILENCE,
    ),
)
"""Threats B.5 and its negative controls, in the order of the table."""

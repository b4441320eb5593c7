"""Lives in the world: one trace for one seed, checks as the closed form has them, what strategies earn."""

import os
from dataclasses import replace
from fractions import Fraction

import pytest

from creditledger.credits.duty import CERTAIN_PPM
from creditledger.ledger.founding import default_parameters
from creditledger.simulation.chance import Coins, UniformHashes, life_key
from creditledger.simulation.pool_rules import Account, PoolRules
from creditledger.simulation.population import Lived, Lives, live
from creditledger.simulation.scenario import NOBODY, SCENARIOS, Scenario
from creditledger.simulation.simulation import RATIO_MAX, Row, Verdict, simulate
from creditledger.simulation.strategy import MILLION
from creditledger.simulation.world import World

NODES = int(os.environ.get("CREDITLEDGER_SIM_NODES", "50"))
WORLD = World(nodes=10, receipts=60)
DEFAULTS = default_parameters(WORLD.committee, quorum=WORLD.quorum)
RULES = WORLD.parameters(DEFAULTS)


def lived(scenario: Scenario, nodes: int, world: World = WORLD) -> Lived:
    """Nodes of one scenario, all cheats or all honest as it says, one after another."""
    return live(
        Lives(world=world, parameters=RULES, scenario=scenario, seed=5, nodes=range(nodes), is_cheating=True)
    )


def test_one_seed_gives_one_trace() -> None:
    """By however many processors; and another seed, population or rule gives another."""
    runs = [
        simulate(WORLD, DEFAULTS, seed=1, fold_receipts=2),
        simulate(WORLD, DEFAULTS, seed=1, fold_receipts=2),
        simulate(WORLD, DEFAULTS, seed=2, fold_receipts=2),
        simulate(replace(WORLD, receipts=62), DEFAULTS, seed=1, fold_receipts=2),
        simulate(WORLD, DEFAULTS.replace(check_floor_ppm=500_000), seed=1, fold_receipts=2),
    ]
    assert runs[0] == runs[1]
    assert len({run.trace for run in runs}) == 4


def test_a_life_depends_on_its_node_alone() -> None:
    """So it does not matter with whom, or where, it is lived."""
    alone = live(
        Lives(world=WORLD, parameters=RULES, scenario=NOBODY, seed=5, nodes=range(3, 4), is_cheating=True)
    )
    assert lived(NOBODY, 5).traces[3] == alone.traces[0]


def test_honest_nodes_are_checked_as_often_as_their_rates_say() -> None:
    """Two for each receipt of probation, then the rate; and a second look at a tenth of what one upheld."""
    world = replace(WORLD, receipts=2_000, mismatch_ppm=0)
    rules = PoolRules(RULES, receipt_micro=world.receipt_micro)
    expected = Fraction(0)
    for round_index in range(world.rounds):
        rate = rules.rate(Account(settled_micro=round_index * world.price_micro(2)))
        share = Fraction(rate, CERTAIN_PPM * world.members)
        by_one = world.members * share * (1 - share) ** (world.members - 1)
        looked = by_one * Fraction(1, 10)
        expected += 2 * (2 if rate == CERTAIN_PPM else world.members * share + looked)
    found = lived(NOBODY, 20, world).tally
    assert found.checks == pytest.approx(float(expected) * 20, rel=0.05)
    assert found.income_micro == found.receipts * (world.price_micro(1) * 99 // 100)


def test_no_strategy_pays_and_every_control_does() -> None:
    """E1, E3, E4, E5, E6, E10, E16, and B.5 with its negative controls, at the defaults."""
    report = simulate(World(nodes=NODES), DEFAULTS, seed=1, fold_receipts=0)
    for row in report.rows:
        print(row.scenario, row.ratio and float(row.ratio), float(row.accepted_fakes), float(row.honest_loss))
    listed = [row for row in report.rows if row.ratio is not None and not row.is_control]
    assert {row.scenario: row.verdict for row in listed} == {
        row.scenario: Verdict.DOES_NOT_PAY for row in listed
    }
    assert len(listed) == 15
    controls = [row for row in report.rows if row.is_control]
    assert {row.scenario: row.verdict for row in controls} == {row.scenario: Verdict.PAYS for row in controls}
    assert len(controls) == 4
    assert report.rows[0].overhead < Fraction(8, 100)
    assert report.rows[0].honest_loss < (Fraction(5, 10_000) if NODES >= 1_000 else Fraction(1, 100))


def test_accusers_are_seen() -> None:
    """E17: a fifth of the committee that refutes everything is too much for two of three."""
    accused = next(scenario for scenario in SCENARIOS if scenario.accusing_ppm)
    assert lived(accused, 3).tally.failures > 10
    assert lived(NOBODY, 3).tally.failures == 0


def test_coins_and_hashes_fall_as_often_as_they_should() -> None:
    """A million times ``ppm``, within four standard deviations; always and never too."""
    coins = Coins(life_key(1, 1))
    for ppm in (1_000, 500_000, 950_000):
        count = sum(coins.falls(ppm, b"check", receipt) for receipt in range(20_000))
        assert abs(count - 20_000 * ppm / MILLION) < 4 * (20_000 * ppm * (MILLION - ppm)) ** 0.5 / MILLION
    assert not any(coins.falls(0, b"check", receipt) for receipt in range(100))
    assert all(coins.falls(MILLION, b"check", receipt) for receipt in range(100))
    hashes = UniformHashes(life_key(1, 1), WORLD)
    for round_index in range(WORLD.rounds):
        rows = [hashes.new(round_index, 2 * round_index + place) for place in (0, 1)]
        least = min(int.from_bytes(found, "big") for row in rows for found in row.values())
        assert hashes.lowest(round_index) == least


@pytest.mark.parametrize(
    ("cheat", "verdict"),
    [(94, Verdict.DOES_NOT_PAY), (95, Verdict.DOES_NOT_PAY), (96, Verdict.CLOSE), (101, Verdict.PAYS)],
)
def test_a_verdict_is_by_what_an_honest_node_earns(cheat: int, verdict: Verdict) -> None:
    assert row(cheat).verdict is verdict
    assert row(cheat).ratio == Fraction(cheat, 100)
    assert Fraction(95, 100) == RATIO_MAX


def row(cheat: int | None) -> Row:
    return Row(
        scenario="a row",
        is_control=False,
        nodes=1,
        receipts=1,
        overhead=Fraction(0),
        honest_profit_micro=Fraction(100),
        cheat_profit_micro=None if cheat is None else Fraction(cheat),
        accepted_fakes=Fraction(0),
        honest_loss=Fraction(0),
        latency_p99=None,
    )


def test_where_nobody_cheats_there_is_no_verdict() -> None:
    assert (row(None).ratio, row(None).verdict) == (None, None)

"""The world against the real fold: the same lives, decision for decision, to the micro-credit."""

from dataclasses import replace

import pytest

from creditledger.credits import reading
from creditledger.credits.standing import Probation
from creditledger.errors import RefusedError
from creditledger.ledger.founding import default_parameters
from creditledger.records.parameters import LevyUse, Parameters
from creditledger.simulation.career import Career, Collusion
from creditledger.simulation.chance import life_key
from creditledger.simulation.folded_pool import FoldedLife, FoldedPool
from creditledger.simulation.life import Life
from creditledger.simulation.pool_rules import Account, PoolRules
from creditledger.simulation.simulation import check_fold, simulate
from creditledger.simulation.strategy import HONEST, Strategy
from creditledger.simulation.world import World

WORLD = World(nodes=20, receipts=30, mismatch_ppm=20_000, confirmed_ppm=200_000)
"""Short lives, in which checks often err: every rule is met."""
DEFAULTS = default_parameters(WORLD.committee, quorum=WORLD.quorum)
SHORT = DEFAULTS.replace(probation_micro=6 * WORLD.receipt_micro, vesting_micro=12 * WORLD.receipt_micro)
STRATEGIES = (
    HONEST,
    Strategy(name="always"),
    Strategy(name="a fifth", share_ppm=200_000),
    Strategy(name="milk", milk=10),
    Strategy(name="silent", milk=8, hides_data=True),
    Strategy(name="hardly seen", milk=6, detection_ppm=400_000),
    Strategy(name="renames", renames=True),
    Strategy(name="milks and renames", milk=8, renames=True),
    Strategy(name="washes", hides_data=True, washes=True),
    Strategy(name="colludes", milk=6),
)


def careers(world: World) -> list[Career]:
    """Two lives of every strategy; the last has friends on the committee."""
    return [
        Career(
            world=world,
            strategy=STRATEGIES[node % len(STRATEGIES)],
            key=life_key(7, node),
            collusion=Collusion(members=frozenset(range(8 if node % len(STRATEGIES) == 9 else 0))),
        )
        for node in range(world.nodes)
    ]


@pytest.fixture(scope="module")
def pool() -> FoldedPool:
    """Every strategy, folded."""
    folded = FoldedPool(WORLD, SHORT, careers(WORLD), seed=7)
    folded.play()
    return folded


def relived(career: Career, folded: FoldedLife) -> Life:
    """The same life in the world, under the seeds and digests of the folded log."""
    life = Life(career, PoolRules(SHORT, receipt_micro=WORLD.receipt_micro), folded.hashes)
    life.play()
    return life


@pytest.mark.parametrize("node", range(WORLD.nodes))
def test_a_life_in_the_world_is_the_life_in_the_log(pool: FoldedPool, node: int) -> None:
    """Balances, standing, probation, rate and every decision on the way, under every name of the node."""
    folded = pool.lives[node]
    life = relived(careers(WORLD)[node], folded)
    assert [of_world(account) for account in life.accounts] == [of_log(pool, name) for name in folded.names]
    assert life.career.tally == folded.career.tally
    assert life.career.trace.digest() == folded.career.trace.digest()


def of_world(account: Account) -> tuple[int | bool | Probation, ...]:
    rules = PoolRules(SHORT, receipt_micro=WORLD.receipt_micro)
    return (
        account.available_micro,
        account.unvested_micro,
        account.settled_micro,
        account.cusum_micro,
        account.is_alarmed,
        account.is_suspended,
        account.probation,
        rules.rate(account),
    )


def of_log(pool: FoldedPool, name: bytes) -> tuple[int | bool | Probation, ...]:
    account, standing = reading.account_state(pool.view, name), reading.node_standing(pool.view, name)
    return (
        account.available_micro,
        account.unvested_micro,
        standing.settled_micro,
        standing.cusum_micro,
        bool(standing.alarmed),
        bool(account.suspended),
        reading.node_probation(pool.view, name),
        reading.check_rate_ppm(pool.view, name),
    )


def test_these_lives_meet_every_rule(pool: FoldedPool) -> None:
    """Else the agreement would say little."""
    tallies = [life.career.tally for life in pool.lives]
    assert sum(tally.failures for tally in tallies) > 50
    assert sum(tally.accepted_fakes for tally in tallies) > 0
    assert sum(tally.spent_micro for tally in tallies) > 0
    rates = {reading.check_rate_ppm(pool.view, life.names[-1]) for life in pool.lives}
    assert (min(rates) < 250_000, max(rates)) == (True, 1_000_000)
    assert any(reading.account_state(pool.view, life.names[-1]).available_micro for life in pool.lives)
    assert any(len(life.names) > 3 for life in pool.lives)


def test_a_world_with_another_rule_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of every run can fail: here the world forgets second looks."""
    world = replace(WORLD, nodes=10, receipts=20)

    def run() -> None:
        for seed in range(3, 6):
            assert check_fold(world, SHORT, seed=seed, show=lambda what, done, of: None).row.nodes == 10

    run()
    monkeypatch.setattr("creditledger.simulation.life._second_look", lambda left: None)
    # Not in every short world does a second look find anything.
    with pytest.raises(AssertionError, match="lived otherwise through the fold"):
        run()


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (DEFAULTS.replace(rule_set=2), "an older rule set is not simulated"),
        (DEFAULTS.replace(levy_use=LevyUse.MEMBERS), "members that anybody may become"),
    ],
)
def test_rules_of_another_pool_are_refused(rules: Parameters, found: str) -> None:
    world = replace(WORLD, nodes=5, receipts=2)
    assert simulate(world, DEFAULTS, seed=1, fold_receipts=2, scenarios=()).fold is not None
    with pytest.raises(RefusedError, match=found):
        simulate(world, rules, seed=1, fold_receipts=2, scenarios=())

"""What befalls one account: slashes, vesting, rates of pools without defence; signatures that are hashes."""

from collections import deque
from dataclasses import replace

import pytest

from creditledger.credits.ballot import Ballot
from creditledger.credits.context import committee_of
from creditledger.credits.duty import CERTAIN_PPM
from creditledger.credits.standing import Probation
from creditledger.errors import CertificateError, SignatureError
from creditledger.ledger.founding import default_parameters
from creditledger.records.verdict import Outcome, Reason
from creditledger.simulation.career import Career, Collusion
from creditledger.simulation.chance import life_key
from creditledger.simulation.hashed_keys import HashedSignatures, aggregate_of, member_key, signature_of
from creditledger.simulation.pool_rules import Account, FlatRate, FreeSilence, OneOverN, PoolRules
from creditledger.simulation.scenario import SCENARIOS
from creditledger.simulation.strategy import HONEST, Strategy
from creditledger.simulation.world import World
from creditledger.transparency.certificate import encode_bitmap

WORLD = World()
RULES = default_parameters(WORLD.committee, quorum=WORLD.quorum)
NOTHING = Ballot(due=2, upheld=0, refuted=0, no_data=0, unsure=0)


def account() -> Account:
    lots = deque([(2, 0, 100, 10), (3, 0, 200, 20), (4, 0, 300, 30)])
    return Account(unvested_micro=60, settled_micro=300, lots=lots)


@pytest.mark.parametrize(
    ("amount", "unvested", "lots"),
    [(0, 60, [10, 20, 30]), (1, 59, [10, 20, 29]), (35, 25, [10, 15]), (60, 0, []), (10**9, 0, [])],
)
def test_a_slash_burns_the_newest_lots_and_readmits(amount: int, unvested: int, lots: list[int]) -> None:
    slashed = account()
    slashed.is_suspended = slashed.awaits_slash = True
    slashed.slash(amount)
    assert slashed.unvested_micro == unvested
    assert [lot[3] for lot in slashed.lots] == lots
    assert (slashed.is_suspended, slashed.awaits_slash, slashed.probation.from_micro) == (False, False, 300)


@pytest.mark.parametrize(("suspended", "vested"), [(False, 30), (True, 0)])
def test_lots_vest_in_order_and_not_while_suspended(suspended: bool, vested: int) -> None:
    """The third settled too recently by value, whatever the round."""
    vesting = account()
    vesting.is_suspended = suspended
    vesting.vest(RULES.replace(vesting_micro=100, vesting_ms=0), round_number=9, now_unix_ms=0)
    assert (vesting.available_micro, vesting.unvested_micro) == (vested, 60 - vested)


def test_the_pools_rules_suspend_and_the_controls_do_not() -> None:
    """Two refutals, and two that saw no data (E10); a mismatch makes the next checks certain."""
    for failed, is_silence in ((replace(NOTHING, refuted=2), False), (replace(NOTHING, no_data=2), True)):
        for rules in (PoolRules, OneOverN, FlatRate, FreeSilence):
            judged = Account(settled_micro=10**12)
            rules(RULES, receipt_micro=1).judge(judged, NOTHING, failed)
            held = rules is PoolRules or (rules is FreeSilence and not is_silence)
            assert judged.is_suspended is held
    pool = PoolRules(RULES, receipt_micro=1)
    doubted = Account(settled_micro=10**12)
    assert pool.rate(doubted) == RULES.check_floor_ppm
    pool.judge(doubted, NOTHING, replace(NOTHING, refuted=1))
    assert (pool.rate(doubted), doubted.is_suspended) == (CERTAIN_PPM, False)


@pytest.mark.parametrize(("value", "rate"), [(60_000_000, 20_000), (60_000_001, CERTAIN_PPM)])
def test_a_receipt_above_the_always_check_value_is_checked(value: int, rate: int) -> None:
    mature = Account(settled_micro=10**12)
    assert PoolRules(RULES, receipt_micro=value).rate(mature) == rate


def test_one_over_n_counts_what_was_upheld_in_a_row() -> None:
    rules, node = OneOverN(RULES, receipt_micro=1), Account(probation=Probation())
    upheld = replace(NOTHING, due=1, upheld=1)
    rates = []
    for _ in range(12):
        rates.append(rules.rate(node))
        rules.judge(node, replace(NOTHING, due=1), upheld)
    assert rates == [CERTAIN_PPM] * 10 + [100_000, 90_909]
    rules.judge(node, NOTHING, replace(NOTHING, refuted=1))
    assert rules.rate(node) == CERTAIN_PPM


@pytest.mark.parametrize(
    ("strategy", "collusion", "is_fake", "said"),
    [
        (Strategy(name="seen", detection_ppm=10**6), Collusion(), True, Outcome.REFUTED),
        (Strategy(name="unseen", detection_ppm=0), Collusion(), True, Outcome.UPHELD),
        (Strategy(name="silent", hides_data=True), Collusion(), True, Outcome.INCONCLUSIVE),
        (
            Strategy(name="friend", detection_ppm=10**6),
            Collusion(members=frozenset([3])),
            True,
            Outcome.UPHELD,
        ),
        (HONEST, Collusion(members=frozenset([3]), refute_honest=True), False, Outcome.REFUTED),
        (HONEST, Collusion(members=frozenset([4]), refute_honest=True), False, Outcome.UPHELD),
    ],
)
def test_what_a_validator_says(
    strategy: Strategy, collusion: Collusion, is_fake: bool, said: Outcome
) -> None:
    """Member 3 about one receipt, where honest work is never mistaken."""
    world = replace(WORLD, mismatch_ppm=0)
    career = Career(world=world, strategy=strategy, key=life_key(1, 1), collusion=collusion)
    finding = career.finds(3, 0, is_fake=is_fake, refuted=0)
    assert finding.outcome is said
    assert (finding.reason is Reason.NO_DATA) is strategy.hides_data


def test_milk_begins_anew_after_a_failure() -> None:
    """And the streak of fakes is what the failure ended."""
    career = Career(
        world=WORLD, strategy=Strategy(name="milk", milk=3), key=life_key(1, 1), collusion=Collusion()
    )
    assert [career.work(0), career.work(1), career.work(2)] == [[False] * 2, [False, True], [True] * 2]
    career.failed()
    assert career.work(3) == [False, False]
    assert career.tally.latencies == [3]
    assert career.tally.cost_micro == 5 * 36_000_000 + 3 * 1_200_000


def test_a_hashed_signature_holds_for_its_key_message_and_quorum_alone() -> None:
    verifier, key = HashedSignatures(), member_key(0)
    verifier.ed25519(key, b"m", signature_of(key, b"m"))
    verifier.bls(key, b"m", signature_of(key, b"m", 96))
    for check, wrong in ((verifier.ed25519, signature_of(key, b"n")), (verifier.bls, bytes(96))):
        with pytest.raises(SignatureError):
            check(key, b"m", wrong)
    committee = committee_of(WORLD.parameters(RULES))
    for count in (WORLD.quorum, WORLD.quorum - 1):
        bitmap = encode_bitmap(frozenset(range(count)), size=WORLD.members)
        aggregate = aggregate_of([signature_of(member_key(member), b"m", 96) for member in range(count)])
        if count == WORLD.quorum:
            verifier.certificate(committee, b"m", bitmap, aggregate)
        else:
            with pytest.raises(CertificateError, match="no quorum"):
                verifier.certificate(committee, b"m", bitmap, aggregate)


def test_a_share_of_the_committee_is_rounded_up() -> None:
    found = {
        scenario.name: len(scenario.collusion(WORLD).members)
        for scenario in SCENARIOS
        if scenario.colluding_ppm or scenario.accusing_ppm
    }
    assert list(found.values()) == [4, 6, 8, 4]


@pytest.mark.parametrize("value", [1, 999, 60_000_000, 10**10])
def test_every_receipt_of_the_world_is_worth_what_it_should(value: int) -> None:
    world = replace(WORLD, receipt_micro=value)
    assert [world.price_micro(count) for count in range(4)] == [0, value, 2 * value, 3 * value]

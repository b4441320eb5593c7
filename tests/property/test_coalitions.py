"""Nobody earns by paying itself: every random pool is lived twice, with and without a coalition's own deals.

Threats E6 and E20. ``CREDITLEDGER_COALITIONS`` sets how many histories of each levy use are lived."""

import os
from typing import Final

import pytest

from coalition_lives import KEYS, SEATS, Deal, History, Life, Period, random_history
from creditledger.credits import levies
from creditledger.credits.conduct import conduct_of
from creditledger.credits.pool import parameters_of
from creditledger.credits.rounds import RoundInfo, attestation_signatures
from creditledger.credits.state import State
from creditledger.quantities import AMOUNT_MAX
from creditledger.records.parameters import LevyUse

HISTORIES: Final = int(os.environ.get("CREDITLEDGER_COALITIONS", "8"))


def gain(history: History) -> int:
    """What the coalition has more, in micro-credits, for its deals with itself.

    What members are owed is theirs, and comes back when they are active. Where work vests by later work, a
    coalition may hasten both, and so escape a penalty: `test_paying_oneself_hastens_what_is_ones_own`."""
    honest = [period.without(history.coalition) for period in history.periods]
    life = Life(history=history).live(history.periods)
    lived = Life(history=history).live(honest)
    found, instead = life.wealth(), lived.wealth()
    more = found.owned + found.owed - instead.owned - instead.owed - _dust(history, lived)
    return more + (found.penalties - instead.penalties if history.vesting_micro else 0)


def _dust(history: History, life: Life) -> int:
    """What no division among the seats paid out yet, below one micro-credit for each."""
    return min(SEATS - 1, life.left_in_pool()) if history.use == LevyUse.VALIDATORS else 0


@pytest.mark.parametrize("use", LevyUse)
def test_no_coalition_gains_from_paying_itself(use: LevyUse) -> None:
    gains, dealt, deals, jobs = [], 0, 0, 0
    for seed in range(HISTORIES):
        history = random_history(seed, use)
        gains.append(gain(history))
        all_deals = [deal for period in history.periods for deal in period.deals]
        dealt += any(deal.is_within(history.coalition) for deal in all_deals)
        deals += len(all_deals)
        jobs += sum(deal.kind == "job" for deal in all_deals)
    assert max(gains) <= 0, [seed for seed, found in enumerate(gains) if found > 0]
    assert dealt > HISTORIES // 3
    if use == LevyUse.BURN:
        assert min(gains) < 0
    print(f"\n{use.name.lower()}: {HISTORIES} histories, {deals} deals, {jobs} jobs, best gain {max(gains)}")


def _job(payer: str, payee: str) -> Deal:
    return Deal(kind="job", payer=payer, payees=(payee,), size=700)


def test_paying_oneself_hastens_what_is_ones_own() -> None:
    """Levies on what others paid come back sooner to who becomes active by washing: its own, and no more."""
    wash, paid = _job("c0", "n0"), _job("c1", "n0")
    history = History(
        use=LevyUse.MEMBERS,
        levy_ppm=100_000,
        vesting_micro=400_000,
        periods=(Period(deals=(paid,)), *(Period(deals=(wash, wash)) for _ in range(3))),
        coalition=frozenset({"c0", "n0"}),
    )
    found = Life(history=history).live(history.periods).wealth()
    honest = Life(history=history).live([period.without(history.coalition) for period in history.periods])
    instead = honest.wealth()
    assert found.owned - instead.owned == instead.owed - found.owed > 0
    assert (found.owed, honest.left_in_pool()) == (0, instead.owed)
    assert gain(history) == 0


def uncapped(own: levies.MemberLevies) -> int:
    """Equal shares, whatever was taken from whom."""
    return AMOUNT_MAX


def by_work(own: levies.MemberLevies) -> int:
    """Parts as large as one's work, as far as the pool allows."""
    return own.vested_micro


def per_verdict(state: State, info: RoundInfo, available: int) -> dict[bytes, int]:
    """Validators paid by how many verdicts they gave: a coalition with a seat makes work for it."""
    committee = parameters_of(state, info.round.parameters).committee
    given = {key.bls_key: conduct_of(state, key.bls_key).checks for key in committee}
    total = sum(given.values()) or 1
    return {
        KEYS[f"p{seat}"]: available * given[committee[seat].bls_key] // total
        for seat in attestation_signatures(state, info.round.number)
    }


@pytest.mark.parametrize(
    ("use", "name", "wrong"),
    [
        (LevyUse.MEMBERS, "_owed", uncapped),
        (LevyUse.MEMBERS, "_owed", by_work),
        (LevyUse.VALIDATORS, "_of_validators", per_verdict),
    ],
)
def test_under_wrong_rules_paying_oneself_pays(
    monkeypatch: pytest.MonkeyPatch, use: LevyUse, name: str, wrong: object
) -> None:
    """That the test above can fail."""
    monkeypatch.setattr(levies, name, wrong)
    assert any(gain(random_history(seed, use)) > 1_000 for seed in range(60))

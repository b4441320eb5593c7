"""Whether cheating pays, in closed form: the table of known cases, and each question's two sides."""

from fractions import Fraction

import pytest

from creditledger.ledger.founding import default_parameters
from creditledger.records.parameters import Admission, LevyUse, Parameters
from creditledger.simulation.economics import (
    RECEIPT_MICRO,
    Answer,
    Assumptions,
    Finding,
    break_even_rate,
    examine,
    owned_chance,
    safety,
    streak_jobs,
)
from ledger_pools import validator_seat

DEFAULTS = default_parameters([validator_seat()], quorum=1)
ASSUMED = Assumptions()


def seated(members: int, quorum: int) -> Parameters:
    """The defaults under a committee of so many."""
    seats = tuple(validator_seat().replace(bls_key=bytes([number]) * 48) for number in range(members))
    return DEFAULTS.replace(committee=seats, quorum=quorum)


COMMITTEE = seated(7, 6)


def answer_to(question: str, parameters: Parameters, assumed: Assumptions | None = None) -> Answer:
    (found,) = [answer for answer in examine(parameters, assumed) if question in answer.question]
    return found


@pytest.mark.parametrize(
    ("receipts", "percent", "margin"), [(50, 1.2, 1.7), (100, 0.60, 3.3), (0, 61, 0.0328)]
)
def test_break_even_rates_for_what_is_unvested(receipts: int, percent: float, margin: float) -> None:
    rules = DEFAULTS.replace(vesting_micro=receipts * RECEIPT_MICRO)
    found = break_even_rate(rules, ASSUMED, value_micro=RECEIPT_MICRO)
    assert float(found) * 100 == pytest.approx(percent, rel=0.01)
    assert float(safety(rules, ASSUMED, value_micro=RECEIPT_MICRO)) == pytest.approx(margin, rel=0.03)


@pytest.mark.parametrize(
    ("members", "quorum", "fifth", "third"),
    [(7, 5, 4.7e-3, 4.3e-2), (16, 11, 3.3e-5, 3.7e-3), (31, 21, 1.1e-8, 8.0e-5)],
)
def test_how_likely_a_committee_is_owned(members: int, quorum: int, fifth: float, third: float) -> None:
    for colluding, chance in ((Fraction(1, 5), fifth), (Fraction(33, 100), third)):
        found = owned_chance(members=members, quorum=quorum, colluding=colluding)
        assert float(found) == pytest.approx(chance, rel=0.03)


def test_a_streak_at_two_percent() -> None:
    assert streak_jobs(DEFAULTS, ASSUMED) == pytest.approx(240, abs=1)
    assert streak_jobs(DEFAULTS.replace(check_floor_ppm=0), ASSUMED) == float("inf")


def test_the_defaults_hold() -> None:
    assert {answer.finding for answer in examine(COMMITTEE)} == {Finding.GOOD, Finding.THIN}
    assert answer_to("usual receipt", COMMITTEE).finding is Finding.GOOD
    assert answer_to("streak", COMMITTEE).finding is Finding.THIN
    assert answer_to("streak", COMMITTEE.replace(vesting_micro=140 * RECEIPT_MICRO)).finding is Finding.GOOD


@pytest.mark.parametrize(
    ("question", "floor_ppm", "finding"),
    [
        ("usual", 20_000, Finding.GOOD),
        ("usual", 10_000, Finding.THIN),
        ("usual", 6_046, Finding.THIN),
        ("usual", 6_044, Finding.BROKEN),
    ],
)
def test_a_floor_at_the_break_even_rate(question: str, floor_ppm: int, finding: Finding) -> None:
    rules = COMMITTEE.replace(check_floor_ppm=floor_ppm)
    assert answer_to(question, rules).finding is finding


@pytest.mark.parametrize(
    ("receipts", "finding"), [(1, Finding.GOOD), (3, Finding.THIN), (4, Finding.BROKEN), (0, Finding.BROKEN)]
)
def test_the_largest_receipt_that_is_not_always_checked(receipts: int, finding: Finding) -> None:
    """The margin falls with the value: at 2 % and 100 receipts unvested it is gone at 3.4 usual ones."""
    rules = COMMITTEE.replace(always_check_micro=receipts * RECEIPT_MICRO)
    assert answer_to("largest", rules).finding is finding


def test_without_an_always_check_value_everything_is_checked_or_it_is_broken() -> None:
    rules = COMMITTEE.replace(always_check_micro=0, check_floor_ppm=1_000_000)
    assert answer_to("largest", rules).finding is Finding.GOOD


def test_validators_who_look_away_eat_the_margin() -> None:
    half = Assumptions(colluding=Fraction(1, 2))
    assert answer_to("usual", COMMITTEE, half).finding is Finding.THIN
    assert answer_to("usual", COMMITTEE, Assumptions(colluding=Fraction(3, 4))).finding is Finding.BROKEN


@pytest.mark.parametrize(
    ("admission", "use", "finding"),
    [
        (Admission.OPEN, LevyUse.MEMBERS, Finding.BROKEN),
        (Admission.APPROVAL, LevyUse.MEMBERS, Finding.GOOD),
        (Admission.OPEN, LevyUse.BURN, Finding.GOOD),
    ],
)
def test_a_levy_goes_back_to_admitted_members_only(
    admission: Admission, use: LevyUse, finding: Finding
) -> None:
    rules = COMMITTEE.replace(admission=admission, levy_use=use)
    assert answer_to("levy goes", rules).finding is finding


@pytest.mark.parametrize(
    ("use", "colluding", "cost", "finding"),
    [
        (LevyUse.BURN, 50, 10_000, Finding.GOOD),
        (LevyUse.VALIDATORS, 0, 10_000, Finding.GOOD),
        (LevyUse.VALIDATORS, 25, 7_500, Finding.GOOD),
        (LevyUse.MEMBERS, 0, 0, Finding.THIN),
    ],
)
def test_washing_costs_what_does_not_come_back(
    use: LevyUse, colluding: int, cost: int, finding: Finding
) -> None:
    assumed = Assumptions(colluding=Fraction(colluding, 100))
    answer = answer_to("paying oneself", COMMITTEE.replace(levy_use=use), assumed)
    assert (answer.finding, answer.found) == (finding, f"costs {cost} ppm of the amount")
    free = answer_to("paying oneself", COMMITTEE.replace(levy_use=use, levy_ppm=0), assumed)
    assert free.finding is Finding.THIN


@pytest.mark.parametrize(
    ("members", "quorum", "finding"),
    [(7, 6, Finding.GOOD), (7, 5, Finding.THIN), (6, 3, Finding.BROKEN), (1, 1, Finding.THIN)],
)
def test_a_quorum_is_a_majority_that_nobody_owns(members: int, quorum: int, finding: Finding) -> None:
    assert answer_to("quorum", seated(members, quorum)).finding is finding

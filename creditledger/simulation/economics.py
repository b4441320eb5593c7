"""Whether cheating pays under a pool's parameters, in closed form. Source: specs/parameters.md §3."""

from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from math import comb, inf, log
from typing import Final

from creditledger.quantities import MicroCredit
from creditledger.records.parameters import Admission, LevyUse, Parameters

_MILLION: Final = 1_000_000
RECEIPT_MICRO: Final = 60 * _MILLION
"""What a usual receipt is worth, unless somebody knows better: a minute of the reference class."""
SAFETY_MIN: Final = 3
"""How many times the break-even rate a pool should check."""
OWNED_MAX: Final = Fraction(1, 1_000)
"""How likely a committee may be owned by a fifth of all validators."""


class Finding(Enum):
    """What a question about parameters was answered."""

    GOOD = "good"
    THIN = "thin"
    """It holds, with less margin than it should have."""
    BROKEN = "broken"
    """Cheating pays, or the rule cannot do what it is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What is taken for granted about those who would cheat; shares of a receipt's price."""

    receipt_micro: MicroCredit = RECEIPT_MICRO
    """What a usual receipt is worth."""
    honest_cost: Fraction = Fraction(60, 100)
    cheating_cost: Fraction = Fraction(2, 100)
    detection: Fraction = Fraction(95, 100)
    """How likely one check refutes work that was not done."""
    colluding: Fraction = Fraction(0)
    """Share of validators who look away."""

    @property
    def gain(self) -> Fraction:
        """What one cheated receipt saves, of its price."""
        return self.honest_cost - self.cheating_cost

    @property
    def caught(self) -> Fraction:
        """How likely one check ends a cheat."""
        return self.detection * (1 - self.colluding)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One question about parameters, and what they give."""

    question: str
    finding: Finding
    found: str
    wanted: str


def break_even_rate(parameters: Parameters, assumed: Assumptions, *, value_micro: int) -> Fraction:
    """The check rate below which it pays to fake a receipt of this value.

    Its gain is what the work would have cost; a cheat that is caught loses this receipt's pay and all
    that is unvested. Source: specs/parameters.md §3."""
    at_stake = assumed.caught * (value_micro + parameters.vesting_micro)
    return assumed.gain * value_micro / at_stake if at_stake else Fraction(_MILLION)


def safety(parameters: Parameters, assumed: Assumptions, *, value_micro: int) -> Fraction:
    """How many times the break-even rate the floor is, for a receipt of this value."""
    floor = Fraction(parameters.check_floor_ppm, _MILLION)
    return floor / break_even_rate(parameters, assumed, value_micro=value_micro)


def streak_jobs(parameters: Parameters, assumed: Assumptions) -> float:
    """How many receipts one in a hundred cheats gets through before a check ends it."""
    seen = float(Fraction(parameters.check_floor_ppm, _MILLION) * assumed.caught)
    return inf if seen <= 0 else 1.0 if seen >= 1 else log(0.01) / log(1 - seen)


def owned_chance(*, members: int, quorum: int, colluding: Fraction) -> Fraction:
    """How likely a committee drawn at random has a quorum of colluders."""
    return sum(
        (
            comb(members, count) * colluding**count * (1 - colluding) ** (members - count)
            for count in range(quorum, members + 1)
        ),
        start=Fraction(0),
    )


def examine(parameters: Parameters, assumed: Assumptions | None = None) -> list[Answer]:
    """Every question of specs/parameters.md §3, answered for these parameters."""
    taken = assumed or Assumptions()
    return [
        _usual_receipt(parameters, taken),
        _largest_receipt(parameters, taken),
        _streak(parameters, taken),
        _newcomer(parameters, taken),
        _washing(parameters, taken),
        _levy(parameters),
        _committee(parameters),
    ]


def _usual_receipt(parameters: Parameters, assumed: Assumptions) -> Answer:
    times = safety(parameters, assumed, value_micro=assumed.receipt_micro)
    even = break_even_rate(parameters, assumed, value_micro=assumed.receipt_micro)
    return Answer(
        question="faking a usual receipt",
        finding=_margin(times),
        found=f"checked at {parameters.check_floor_ppm} ppm, {_decimal(times)} times the break-even rate",
        wanted=f"more than {_ppm(even)} ppm, better {_ppm(even * SAFETY_MIN)}",
    )


def _largest_receipt(parameters: Parameters, assumed: Assumptions) -> Answer:
    question = "faking the largest receipt that is not always checked"
    if parameters.always_check_micro == 0:
        return Answer(
            question=question,
            finding=Finding.GOOD if parameters.check_floor_ppm == _MILLION else Finding.BROKEN,
            found="no receipt is always checked for its value",
            wanted="an always-check value",
        )
    largest = parameters.always_check_micro
    times = safety(parameters, assumed, value_micro=largest)
    return Answer(
        question=question,
        finding=_margin(times),
        found=f"worth {largest} micro-credits, checked at {_decimal(times)} times its break-even rate",
        wanted=f"worth at most {_largest_micro(parameters, assumed)} micro-credits",
    )


def _largest_micro(parameters: Parameters, assumed: Assumptions) -> int:
    """The value up to which the floor deters: where the break-even rate is the floor."""
    seen = Fraction(parameters.check_floor_ppm, _MILLION) * assumed.caught
    if seen >= assumed.gain:
        return 2**63 - 1
    return int(seen * parameters.vesting_micro / (assumed.gain - seen))


def _streak(parameters: Parameters, assumed: Assumptions) -> Answer:
    jobs = streak_jobs(parameters, assumed)
    covered = Fraction(parameters.vesting_micro, assumed.receipt_micro) / assumed.gain
    return Answer(
        question="a lucky streak of fakes",
        finding=Finding.GOOD if covered >= jobs else Finding.THIN,
        found=f"what is unvested pays for {int(covered)} fakes",
        wanted=f"{jobs:.0f}, which one cheat in a hundred gets through",
    )


def _newcomer(parameters: Parameters, assumed: Assumptions) -> Answer:
    receipts = parameters.probation_micro // assumed.receipt_micro
    return Answer(
        question="starting over under a new name",
        finding=Finding.GOOD if receipts >= 10 else Finding.THIN,
        found=f"the first {receipts} usual receipts of a node are all checked",
        wanted="at least 10",
    )


def _washing(parameters: Parameters, assumed: Assumptions) -> Answer:
    lost = _lost_share(LevyUse(parameters.levy_use), assumed)
    cost = int(parameters.levy_ppm * lost)
    return Answer(
        question="paying oneself for nothing",
        finding=Finding.GOOD if cost else Finding.THIN,
        found=f"costs {cost} ppm of the amount",
        wanted="a levy that does not come back",
    )


def _lost_share(use: LevyUse, assumed: Assumptions) -> Fraction:
    """How much of a levy on its own pay a coalition does not see again."""
    if use == LevyUse.MEMBERS:
        return Fraction(0)
    return 1 - assumed.colluding if use == LevyUse.VALIDATORS else Fraction(1)


def _levy(parameters: Parameters) -> Answer:
    is_returned = parameters.levy_use == LevyUse.MEMBERS
    is_broken = is_returned and parameters.admission == Admission.OPEN
    return Answer(
        question="where the levy goes",
        finding=Finding.BROKEN if is_broken else Finding.GOOD,
        found=f"{LevyUse(parameters.levy_use).name.lower()}, "
        f"admission {Admission(parameters.admission).name.lower()}",
        wanted="not to members whom nobody admitted: one person would be many",
    )


def _committee(parameters: Parameters) -> Answer:
    members, quorum = len(parameters.committee), parameters.quorum
    owned = owned_chance(members=members, quorum=quorum, colluding=Fraction(1, 5))
    is_split = 2 * quorum <= members
    return Answer(
        question="a quorum that lies",
        finding=Finding.BROKEN if is_split else Finding.GOOD if owned <= OWNED_MAX else Finding.THIN,
        found=f"{quorum} of {members}; one chance in {int(1 / owned)} if a fifth of all validators collude",
        wanted=f"more than half, and one chance in {int(1 / OWNED_MAX)}",
    )


def _margin(times: Fraction) -> Finding:
    return Finding.GOOD if times >= SAFETY_MIN else Finding.THIN if times > 1 else Finding.BROKEN


def _ppm(rate: Fraction) -> int:
    return -(-rate.numerator * _MILLION // rate.denominator)


def _decimal(times: Fraction) -> str:
    return f"{float(times):.1f}"

"""What one node does, and what those who check it find: the decisions that no rule of the pool makes.

The world and the folded pool ask the same career, so they live the same life.

Source: specs/simulation.md §2."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from creditledger.activations.cusum import CUSUM_STEP_MAX_MICRO
from creditledger.records.verdict import Outcome, Reason
from creditledger.simulation.chance import Coins
from creditledger.simulation.strategy import Strategy
from creditledger.simulation.world import World

_STEPS: Final = {
    Outcome.UPHELD: -CUSUM_STEP_MAX_MICRO,
    Outcome.REFUTED: CUSUM_STEP_MAX_MICRO,
    Outcome.INCONCLUSIVE: 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One verdict to be."""

    outcome: Outcome
    reason: Reason

    @property
    def step_micro(self) -> int:
        """Its CUSUM step: as far as it goes, either way."""
        return _STEPS[self.outcome]

    @property
    def codes(self) -> tuple[int, int]:
        """Outcome and reason as plain numbers."""
        return int(self.outcome), int(self.reason)

    @property
    def is_refuting(self) -> bool:
        """Whether it refutes."""
        return self.outcome is Outcome.REFUTED


_UPHELD: Final = Finding(outcome=Outcome.UPHELD, reason=Reason.MATCH)
_REFUTED: Final = Finding(outcome=Outcome.REFUTED, reason=Reason.RATIO)
_NO_DATA: Final = Finding(outcome=Outcome.INCONCLUSIVE, reason=Reason.NO_DATA)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collusion:
    """Members of the committee that do not judge by what they see."""

    members: frozenset[int] = frozenset()
    uphold_fakes: bool = True
    refute_honest: bool = False


@dataclass(slots=True, kw_only=True)
class Tally:
    """What a life came to; amounts in micro-credits."""

    receipts: int = 0
    fakes: int = 0
    checks: int = 0
    cost_micro: int = 0
    spent_micro: int = 0
    """By a coalition on its own work."""
    income_micro: int = 0
    """Vested at the end, or still to vest."""
    accepted_fakes: int = 0
    """Fakes in settled jobs that no check stopped."""
    failures: int = 0
    latencies: list[int] = field(default_factory=list)
    """Fakes of each streak until a confirmed failure ended it."""

    def add(self, other: "Tally") -> None:
        """Count another life in."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class Trace:
    """Every decision of one life, in order."""

    __slots__ = ("_digest",)

    def __init__(self) -> None:
        self._digest = sha256()

    def note(self, event: bytes, *values: int) -> None:
        """Add one decision: a letter and the numbers that say what it was, none of them an enum's member."""
        self._digest.update(b"%s%r" % (event, values))

    def digest(self) -> bytes:
        """SHA-256 over all of them, 32 bytes."""
        return self._digest.digest()


class Career:
    """One node's life, whatever its names."""

    __slots__ = ("_coins", "_collusion", "_streak", "_worked", "strategy", "tally", "trace", "world")

    def __init__(self, *, world: World, strategy: Strategy, key: bytes, collusion: Collusion) -> None:
        self.world, self.strategy = world, strategy
        self.tally, self.trace = Tally(), Trace()
        self._coins, self._collusion = Coins(key), collusion
        self._worked = self._streak = 0

    def work(self, round_index: int) -> list[bool]:
        """The round's receipts: True for each fake."""
        first = round_index * self.world.receipts_a_round
        fakes = [self._is_fake(first + place) for place in range(self.world.receipts_a_round)]
        faked, tally = sum(fakes), self.tally
        tally.receipts += len(fakes)
        tally.fakes += faked
        self._streak += faked
        tally.cost_micro += self.world.cost_micro(self.world.honest_cost_ppm) * (len(fakes) - faked)
        if faked:
            tally.cost_micro += self.world.cost_micro(self.strategy.cost_ppm) * faked
        return fakes

    def finds(self, member: int, receipt: int, *, is_fake: bool, refuted: int) -> Finding:
        """What ``member`` says about a receipt that ``refuted`` others refuted before."""
        if member in self._collusion.members:
            if is_fake and self._collusion.uphold_fakes:
                return _UPHELD
            if not self.strategy.share_ppm and self._collusion.refute_honest:
                return _REFUTED
        if is_fake:
            if self.strategy.hides_data:
                return _NO_DATA
            share = self.strategy.detection_ppm
        else:
            share = self.world.confirmed_ppm if refuted else self.world.mismatch_ppm
        return _REFUTED if self._coins.falls(share, b"check", receipt, member) else _UPHELD

    def failed(self) -> None:
        """A failure was confirmed: the next streak begins with honest work again."""
        self.tally.failures += 1
        if self._streak:
            self.tally.latencies.append(self._streak)
        self._worked = self._streak = 0

    def settled(self, amount_micro: int, charged_micro: int, accepted_fakes: int) -> None:
        """A job was settled: what the node was paid for it, and what it cost the client."""
        self.tally.accepted_fakes += accepted_fakes
        if self.strategy.washes:
            self.tally.spent_micro += charged_micro

    def _is_fake(self, receipt: int) -> bool:
        self._worked += 1
        if self._worked <= self.strategy.milk or not self.strategy.share_ppm:
            return False
        return self._coins.falls(self.strategy.share_ppm, b"fake", receipt)

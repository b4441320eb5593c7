"""The simulated world: who lives in it, and what work and checks are like. Source: specs/simulation.md §1."""

from dataclasses import dataclass
from typing import Final

from creditledger.credits import tariff
from creditledger.quantities import MicroCredit, Millisecond
from creditledger.records.parameters import Member, ModelTerms, Parameters
from creditledger.records.receipt import WINDOW
from creditledger.simulation.economics import RECEIPT_MICRO
from creditledger.simulation.hashed_keys import member_key, possession
from creditledger.simulation.strategy import MILLION

DAY_MS: Final = 86_400_000
START_MS: Final = 1_800_000_000_000
FIRST_ROUND: Final = 2
"""Round 1 funds the client."""
_MODEL: Final = bytes(31) + b"\x01"
_FLOPS: Final = 6 * WINDOW
"""Of one receipt: a layer of ``hidden = ff = 1`` without attention, so that all are worth the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Population, work and error rates; shares are parts per million."""

    nodes: int = 10_000
    adversarial_ppm: int = 200_000
    receipts: int = 2_000
    """Of each node, if it is never suspended."""
    receipts_a_round: int = 2
    """One job of so many windows for each node in each round."""
    round_ms: Millisecond = DAY_MS
    """So long that nothing but rounds and later value keeps a lot from vesting."""
    members: int = 16
    quorum: int = 11
    receipt_micro: MicroCredit = RECEIPT_MICRO
    honest_cost_ppm: int = 600_000
    """What a receipt costs to earn honestly, of its value."""
    mismatch_ppm: int = 1_000
    """How likely one check refutes honest work."""
    confirmed_ppm: int = 20_000
    """How likely a check does, once another did."""

    @property
    def rounds(self) -> int:
        """How long everybody lives."""
        return self.receipts // self.receipts_a_round

    @property
    def adversaries(self) -> int:
        """How many nodes cheat: those of lowest number."""
        return self.nodes * self.adversarial_ppm // MILLION

    def now(self, round_index: int) -> int:
        """The time of everything in the round with this index, counted from 0."""
        return START_MS + round_index * self.round_ms

    def cost_micro(self, share_ppm: int) -> int:
        """A share of a receipt's value."""
        return self.receipt_micro * share_ppm // MILLION

    @property
    def model(self) -> ModelTerms:
        """The one model: every receipt of it earns ``receipt_micro``, rounded down."""
        return ModelTerms(
            model=_MODEL,
            name="simulated",
            layers=1,
            hidden=1,
            ff=1,
            heads=0,
            kv_heads=0,
            head_dim=0,
            micro_per_tflop=-(-self.receipt_micro * tariff.FLOPS_PER_TFLOP // _FLOPS),
        )

    @property
    def committee(self) -> tuple[Member, ...]:
        """Its members, whose keys are hashes."""
        return tuple(
            Member(
                bls_key=member_key(index),
                proof_of_possession=possession(index),
                audit_key=(index + 1).to_bytes(32, "big"),
            )
            for index in range(self.members)
        )

    def parameters(self, base: Parameters) -> Parameters:
        """``base`` with this world's committee and model in place of its own."""
        return base.replace(
            committee=self.committee,
            quorum=self.quorum,
            models=(self.model,),
            profiles=(),
        )

    def price_micro(self, receipts: int) -> int:
        """What so many receipts of one job earn, by the tariff."""
        flops = tariff.span_flops(self.model, 1, 0, receipts * WINDOW)
        return tariff.span_price(self.model, flops)

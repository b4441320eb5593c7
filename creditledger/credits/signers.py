"""The signers of a round, who may be asked to check a receipt beside those that were drawn for it.

Source: specs/credits.md §9 and §12."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from creditledger.credits.docket import drawn_for
from creditledger.credits.duty import draw_hash
from creditledger.credits.pool import parameters_of
from creditledger.credits.rounds import round_info
from creditledger.credits.state import State
from creditledger.records.parameters import Parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A validator that signed a round."""

    member: int
    """Its index on the committee of the round in which it would be asked."""
    key: bytes
    """Its BLS key: an index is of one committee, a key outlasts it."""
    seed: bytes
    """32 bytes, of the round it signed."""


def signers_of(parameters: Parameters, seeds: Mapping[int, bytes]) -> list[Signer]:
    """The signers of a round, ascending, who are asked in it. ``seeds``: by member index."""
    return [
        Signer(member=member, key=parameters.committee[member].bls_key, seed=seed)
        for member, seed in sorted(seeds.items())
    ]


def never_asked(state: State, signers: Iterable[Signer], receipt: bytes) -> list[Signer]:
    """Those of ``signers`` that had no duty to check this receipt, in whatever round."""
    asked = {_key_of(state, *place) for place in drawn_for(state, receipt)}
    return [signer for signer in signers if signer.key not in asked]


def lowest(signers: Iterable[Signer], receipt: bytes) -> Signer | None:
    """The signer of lowest hash for this receipt; None if there is none."""
    return min(signers, key=lambda signer: (draw_hash(signer.seed, receipt), signer.key), default=None)


def _key_of(state: State, number: int, member: int) -> bytes:
    """The BLS key of a round's member: that member may have another index in the next round."""
    info = round_info(state, number)
    if info is None:
        raise AssertionError("a round has duties and was never logged")
    return parameters_of(state, info.round.parameters).committee[member].bls_key

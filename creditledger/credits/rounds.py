"""Rounds as they stand in the log: which was logged where, who attested, what was certified.

Source: specs/credits.md §8."""

from typing import Final

from creditledger.credits.pool import tip_of
from creditledger.credits.state import State
from creditledger.quantities import Digest, LeafIndex, UnixMillisecond
from creditledger.records.record import Fields
from creditledger.records.round import Round

_ROUND: Final = b"k/"
_ATTESTATION: Final = b"z/"


class RoundInfo(Fields):
    """A logged round and its certificate, if it has one."""

    round: Round
    digest: Digest
    index: LeafIndex
    certificate_index: LeafIndex = 0
    """Where its certificate stands; 0 while it has none."""
    certified_unix_ms: UnixMillisecond = 0
    """The certificate entry's time; 0 while there is none."""

    @property
    def is_certified(self) -> bool:
        """Whether a certificate was logged."""
        return self.certificate_index > 0


def round_info(state: State, number: int) -> RoundInfo | None:
    """The round with this number, or None."""
    return state.row(RoundInfo, _ROUND + number.to_bytes(8, "big"))


def put_round_info(state: State, info: RoundInfo) -> None:
    """Set what is known of a round."""
    state.put_row(_ROUND + info.round.number.to_bytes(8, "big"), info)


def latest_round(state: State) -> RoundInfo | None:
    """The round logged last, or None."""
    return round_info(state, tip_of(state).round)


def latest_certified_round(state: State) -> RoundInfo | None:
    """The certified round with the highest number, or None."""
    return round_info(state, tip_of(state).certified_round)


def put_attestation(state: State, round_number: int, member: int, signature: bytes) -> None:
    """Keep a member's signature of a round."""
    state.view.put(_attestation_key(round_number, member), signature)


def attestation_signatures(state: State, round_number: int) -> dict[int, bytes]:
    """The signatures logged for a round, by member index, ascending."""
    prefix = _ATTESTATION + round_number.to_bytes(8, "big")
    return {
        int.from_bytes(key[len(prefix) :], "big"): signature for key, signature in state.view.scan(prefix)
    }


def _attestation_key(round_number: int, member: int) -> bytes:
    return _ATTESTATION + round_number.to_bytes(8, "big") + member.to_bytes(2, "big")

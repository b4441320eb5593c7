"""Who must check which receipts of a round, and how far each member has come with it.

Source: specs/credits.md §9."""

from dataclasses import dataclass
from typing import Final

from creditledger.credits.state import State, decode_row
from creditledger.quantities import ZERO_DIGEST, Code, Count, Digest, LeafIndex
from creditledger.records.record import Fields

_MEMBER: Final = b"v/"
_DUTY: Final = b"y/"


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberDuty(Fields):
    """One member's duty in one round, from the draw to the reveal."""

    due: Count
    """Receipts drawn for it."""
    committed: Code = 0
    commitment: Digest = ZERO_DIGEST
    reveal_index: LeafIndex = 0
    """Where the reveal stands; 0 before it."""


def add_duty(state: State, round_number: int, member: int, receipt: bytes) -> None:
    """Put one drawn receipt on the docket."""
    state.view.put(_DUTY + _round_member(round_number, member) + receipt, b"")


def duties_of(state: State, round_number: int, member: int) -> list[bytes]:
    """The receipts that ``member`` must check for a round, ascending by digest."""
    prefix = _DUTY + _round_member(round_number, member)
    return [key[len(prefix) :] for key, _ in state.view.scan(prefix)]


def member_duty(state: State, round_number: int, member: int) -> MemberDuty | None:
    """How far a member has come; None if nothing was drawn for it."""
    return state.row(MemberDuty, _MEMBER + _round_member(round_number, member))


def put_member_duty(state: State, round_number: int, member: int, duty: MemberDuty) -> None:
    """Set how far a member has come."""
    state.put_row(_MEMBER + _round_member(round_number, member), duty)


def members_on_duty(state: State, round_number: int) -> dict[int, MemberDuty]:
    """All members with duties in a round."""
    prefix = _MEMBER + round_number.to_bytes(8, "big")
    return {
        int.from_bytes(key[len(prefix) :], "big"): decode_row(MemberDuty, encoded)
        for key, encoded in state.view.scan(prefix)
    }


def _round_member(round_number: int, member: int) -> bytes:
    return round_number.to_bytes(8, "big") + member.to_bytes(2, "big")

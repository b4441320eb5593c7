"""Who must check which receipts of a round, how far each member has come, and which rounds are open.

Source: specs/credits.md §9."""

from collections.abc import Mapping
from typing import Final

from creditledger.credits.state import State, decode_row
from creditledger.quantities import ZERO_DIGEST, Code, Count, Digest, LeafIndex
from creditledger.records.record import Fields

_MEMBER: Final = b"v/"
_DUTY: Final = b"y/"
_DRAWN: Final = b"Y/"
_OPEN: Final = b"K/"


class MemberDuty(Fields):
    """One member's duty in one round, from the draw to the reveal."""

    due: Count
    """Receipts drawn for it."""
    committed: Code = 0
    commitment: Digest = ZERO_DIGEST
    reveal_index: LeafIndex = 0
    """Where the reveal stands; 0 before it."""
    missed: Code = 0
    """1 once it was overdue and its checks passed on: nothing of it is accepted any more."""

    @property
    def is_open(self) -> bool:
        """Whether it is neither revealed nor missed."""
        return not self.reveal_index and not self.missed


def add_duty(state: State, round_number: int, member: int, receipt: bytes) -> None:
    """Put one receipt on the docket: drawn for the member in that round, or passed on to it then."""
    place = _round_member(round_number, member)
    state.view.put(_DUTY + place + receipt, b"")
    state.view.put(_DRAWN + receipt + place, b"")


def duties_of(state: State, round_number: int, member: int) -> list[bytes]:
    """The receipts that ``member`` must check for a round, ascending by digest."""
    prefix = _DUTY + _round_member(round_number, member)
    return [key[len(prefix) :] for key, _ in state.view.scan(prefix)]


def drawn_for(state: State, receipt: bytes) -> list[tuple[int, int]]:
    """(round, member) of every duty to check ``receipt``, ascending, those that passed on included."""
    prefix = _DRAWN + receipt
    places = [key[len(prefix) :] for key, _ in state.view.scan(prefix)]
    return [(int.from_bytes(place[:8], "big"), int.from_bytes(place[8:], "big")) for place in places]


def open_round(state: State, round_number: int, due: Mapping[int, int], *, signers: bytes) -> None:
    """Begin a round's duties, if there are any. ``due``: receipts by member; ``signers``: the certificate's
    bitmap, which says who can step in."""
    for member, count in due.items():
        put_member_duty(state, round_number, member, MemberDuty(due=count))
    if due:
        state.view.put(_OPEN + round_number.to_bytes(8, "big"), signers)


def open_rounds(state: State) -> dict[int, bytes]:
    """The rounds with open duties, ascending, each with the bitmap of its signers."""
    return {int.from_bytes(key[len(_OPEN) :], "big"): signers for key, signers in state.view.scan(_OPEN)}


def close_if_done(state: State, round_number: int) -> None:
    """Take a round off the open ones once all its members have revealed or missed."""
    if not any(duty.is_open for duty in members_on_duty(state, round_number).values()):
        state.view.delete(_OPEN + round_number.to_bytes(8, "big"))


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

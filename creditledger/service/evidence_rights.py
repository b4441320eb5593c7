"""Whose key may bring evidence, and whose may see it, by the ledger. Source: specs/service.md §6.1."""

from typing import Final, Protocol

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import RoleError
from creditledger.ledger.ledger import Ledger
from creditledger.records.registration import Role

ROUNDS_BACK: Final = 32
"""A member of a committee of so many rounds back may still have duties."""


class EvidenceRights(Protocol):
    """Each method raises RoleError where the key may not."""

    def require_member(self, key: bytes) -> None:
        """``key``: of a committee whose checks may still be due, 48 bytes."""

    def bringer(self, key: bytes) -> bytes:
        """The account, a node's or client's, that ``key`` signs for now."""

    def require_accuser(self, key: bytes, receipt: bytes, *, round_number: int, member: int) -> None:
        """``key``: that member's of that round's committee, and the receipt's check was its duty."""

    def require_accused(self, key: bytes, receipt: bytes) -> None:
        """``key``: with which the receipt's node signs now."""


class LedgerRights:
    """`EvidenceRights` by the state of a ledger. For many threads."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._committees: tuple[int, frozenset[bytes]] = (-1, frozenset())

    def require_member(self, key: bytes) -> None:
        with self._ledger.read() as state:
            size = reading.tip(state).size
            known, keys = self._committees
            if known != size:
                keys = _committee_keys(state)
                self._committees = (size, keys)
        if key not in keys:
            raise RoleError("only the committee sees this", expected="a member's key", found=key.hex())

    def bringer(self, key: bytes) -> bytes:
        with self._ledger.read() as state:
            account = reading.account_of_key(state, key)
            found = reading.account_state(state, account)
        if found is None or found.role not in (Role.NODE, Role.CLIENT):
            raise RoleError("only nodes and clients bring this", expected="their key", found=key.hex())
        return account

    def require_accuser(self, key: bytes, receipt: bytes, *, round_number: int, member: int) -> None:
        with self._ledger.read() as state:
            info = reading.round_numbered(state, round_number)
            terms = None if info is None else reading.parameters_with(state, info.round.parameters)
            seats = () if terms is None else terms.committee
            is_seat = member < len(seats) and seats[member].bls_key == key
            if not is_seat or receipt not in reading.duties_of(state, member, round_number):
                raise RoleError(
                    "only who must check a receipt refutes it",
                    expected=f"the key of member {member}, on duty in round {round_number}",
                    found=key.hex(),
                )

    def require_accused(self, key: bytes, receipt: bytes) -> None:
        with self._ledger.read() as state:
            found = reading.receipt_state(state, receipt)
            keys = [] if found is None else reading.keys_of(state, found.node)
            if not keys or keys[-1][1] != key:
                raise RoleError("only the accused and the committee see this", found=key.hex())


def _committee_keys(state: StateView) -> frozenset[bytes]:
    """Of the parameters in force, and of those that the last rounds name."""
    latest = reading.latest_round(state)
    last = 0 if latest is None else latest.round.number
    infos = [reading.round_numbered(state, number) for number in range(max(1, last - ROUNDS_BACK), last + 1)]
    named = {info.round.parameters for info in infos if info is not None}
    terms = [reading.parameters_in_force(state)]
    terms += [found for found in (reading.parameters_with(state, one) for one in named) if found is not None]
    return frozenset(member.bls_key for each in terms for member in each.committee)

"""An account's statement: every entry that moved its credits, with the exact balance after it.

Source: specs/redemption.md §8."""

from dataclasses import dataclass
from typing import Final

from creditledger.credits.fold import FoldContext, apply_entry
from creditledger.credits.reading import account_state
from creditledger.credits.state import MemoryState
from creditledger.errors import UnknownIdError
from creditledger.ledger.ledger import Ledger
from creditledger.records.entry import Entry
from creditledger.records.kinds import Kind
from creditledger.records.record import Record
from creditledger.records.state import AccountState
from creditledger.records.transfer import CreditLine, Grant, Slash
from creditledger.transparency.certificate import Committee


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLine:
    """One entry's effect on one account, in micro-credits."""

    index: int
    time_unix_ms: int
    kind: Kind
    """Of the entry: what waits for a round moves credits with that round's certificate."""
    digest: bytes
    """The record's id, 32 bytes."""
    available_change: int
    """May be negative; an overdraft counts as negative credits."""
    held_change: int
    unvested_change: int
    balance: AccountState
    """After the entry."""

    @property
    def available_after(self) -> int:
        """Spendable credits without the credit line; negative while overdrawn."""
        return _available(self.balance)


def statement(ledger: Ledger, account: bytes) -> list[StatementLine]:
    """The lines of ``account`` (32-byte id) in log order: all that changed its state, and every grant,
    credit line and slash on the day it was announced.

    Replays the log on an empty state; signatures are not checked again, since the ledger admitted nothing
    unsigned. Raises UnknownIdError for an account that was never registered."""
    lines: list[StatementLine] = []
    state = MemoryState()
    before: AccountState | None = None
    with ledger.snapshot() as snapshot:
        for index in range(snapshot.log.size):
            entry = Entry.decode(snapshot.log.entry_bytes(index))
            context = FoldContext(
                ledger_id=ledger.id,
                index=index,
                log_root=lambda at=index: snapshot.log.root_at(at),  # type: ignore[misc]
                verifier=_ADMITTED,
            )
            apply_entry(state, entry, snapshot.log.bodies(entry.record), context)
            after = account_state(state, account)
            if after is not None and (after != before or _announces(entry.record, account)):
                lines.append(_line(index, entry, ledger.id, before, after))
            before = after
    if before is None:
        raise UnknownIdError("no such account", found=account.hex())
    return lines


class _Admitted:
    """Takes every signature for good: for entries that a ledger has admitted already."""

    def ed25519(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Never raises."""

    def bls(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """Never raises."""

    def certificate(self, committee: Committee, statement: bytes, bitmap: bytes, aggregate: bytes) -> None:
        """Never raises."""


_ADMITTED: Final = _Admitted()


def _announces(record: Record, account: bytes) -> bool:
    if isinstance(record, Grant | CreditLine):
        return record.account == account
    return isinstance(record, Slash) and record.node == account


def _line(
    index: int, entry: Entry, ledger_id: bytes, before: AccountState | None, after: AccountState
) -> StatementLine:
    return StatementLine(
        index=index,
        time_unix_ms=entry.time_unix_ms,
        kind=entry.record.KIND,
        digest=entry.record.digest(ledger_id),
        available_change=_available(after) - (_available(before) if before else 0),
        held_change=after.held_micro - (before.held_micro if before else 0),
        unvested_change=after.unvested_micro - (before.unvested_micro if before else 0),
        balance=after,
    )


def _available(state: AccountState) -> int:
    return state.available_micro - state.overdrawn_micro

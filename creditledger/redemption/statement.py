"""An account's statement: every entry that moved its credits, why, and the exact balance after it.

Source: specs/redemption.md §8."""

from collections.abc import Iterator
from dataclasses import dataclass

from creditledger.credits.reading import account_state
from creditledger.errors import UnknownIdError
from creditledger.ledger.ledger import Ledger
from creditledger.records.kinds import Kind
from creditledger.records.state import AccountState
from creditledger.redemption.movements import Movement, movements
from creditledger.redemption.reason import Reason, names_account, reason_of


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
    reason: Reason
    counterpart_name: str | None
    """Of `reason`'s counterpart, where it has one."""

    @property
    def available_after(self) -> int:
        """Spendable credits without the credit line; negative while overdrawn."""
        return _available(self.balance)


def statement(ledger: Ledger, account: bytes) -> list[StatementLine]:
    """The lines of ``account`` (32-byte id) in log order: all that changed its state, and every grant,
    credit line, slash and clawback on the day it was announced.

    Replays the log once. Raises UnknownIdError for an account that was never registered."""
    lines = list(_lines(ledger, account))
    if not lines:
        raise UnknownIdError("no such account", found=account.hex())
    return lines


def _lines(ledger: Ledger, account: bytes) -> Iterator[StatementLine]:
    before: AccountState | None = None
    for movement in movements(ledger):
        after = account_state(movement.after, account)
        if after is not None and (after != before or names_account(movement.entry.record, account)):
            yield _line(movement, before, after)
        before = after


def _line(movement: Movement, before: AccountState | None, after: AccountState) -> StatementLine:
    reason = reason_of(movement, after.account)
    other = None if reason.counterpart is None else account_state(movement.after, reason.counterpart)
    return StatementLine(
        index=movement.index,
        time_unix_ms=movement.entry.time_unix_ms,
        kind=movement.entry.record.KIND,
        digest=movement.digest,
        available_change=_available(after) - (_available(before) if before else 0),
        held_change=after.held_micro - (before.held_micro if before else 0),
        unvested_change=after.unvested_micro - (before.unvested_micro if before else 0),
        balance=after,
        reason=reason,
        counterpart_name=None if other is None else other.name,
    )


def _available(state: AccountState) -> int:
    return state.available_micro - state.overdrawn_micro

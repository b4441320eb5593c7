"""What was spent, by whom and on which day, and what came back of it: caps and budgets count these.

Source: specs/credits.md §13."""

from collections.abc import Iterator
from typing import Final

from creditledger.credits.state import State, decode_row
from creditledger.quantities import (
    ZERO_DIGEST,
    AccountId,
    Count,
    Digest,
    MicroCredit,
    UnixMillisecond,
)
from creditledger.records.account import DAYS_MAX
from creditledger.records.record import Fields

DAY_MS: Final = 86_400_000
WHOLE_ACCOUNT: Final = ZERO_DIGEST
"""In the place of a delegate: all that the account spends."""

_DELEGATION: Final = b"G/"
_DAY: Final = b"S/"
_SPENT: Final = b"H/"


class DelegationState(Fields):
    """What an account last said a delegate may hold at a queue, and what the delegate holds or has spent."""

    account: AccountId
    delegate: AccountId
    queue: AccountId
    cap_micro: MicroCredit
    used_micro: MicroCredit
    until_unix_ms: UnixMillisecond


class SpentHold(Fields):
    """Whose spending a hold counts as, and on which day."""

    hold: Digest
    account: AccountId
    delegate: AccountId
    """`WHOLE_ACCOUNT`: nobody's but the account's."""
    queue: AccountId
    day: Count


def day_of(time_unix_ms: int) -> int:
    """The UTC day, counted from 1970-01-01."""
    return time_unix_ms // DAY_MS


def delegation_of(state: State, account: bytes, delegate: bytes, queue: bytes) -> DelegationState | None:
    """The delegation, revoked or expired ones included, or None."""
    return state.row(DelegationState, _DELEGATION + account + delegate + queue)


def delegations_of(state: State, account: bytes) -> list[DelegationState]:
    """All that an account ever delegated, by delegate and queue, revoked and expired ones included."""
    return [decode_row(DelegationState, row) for _, row in state.view.scan(_DELEGATION + account)]


def put_delegation(state: State, row: DelegationState) -> None:
    """Set a delegation."""
    state.put_row(_DELEGATION + row.account + row.delegate + row.queue, row)


def note_hold(state: State, spent: SpentHold, amount_micro: int) -> None:
    """Count a new hold: for its account, and for its delegate, whose delegation must be there."""
    state.put_row(_SPENT + spent.hold, spent)
    add_spent(state, spent.account, WHOLE_ACCOUNT, spent.day, amount_micro)
    if spent.delegate != WHOLE_ACCOUNT:
        add_spent(state, spent.account, spent.delegate, spent.day, amount_micro)
        _change_used(state, spent, amount_micro)


def give_back(state: State, hold: bytes, amount_micro: int) -> None:
    """Of this hold (32-byte digest) so much came back: it counts no longer, on the day of the hold and under
    its delegation. A hold that was never counted (before rule set 4) changes nothing."""
    spent = state.row(SpentHold, _SPENT + hold)
    if spent is None or amount_micro == 0:
        return
    add_spent(state, spent.account, WHOLE_ACCOUNT, spent.day, -amount_micro)
    if spent.delegate != WHOLE_ACCOUNT:
        add_spent(state, spent.account, spent.delegate, spent.day, -amount_micro)
        _change_used(state, spent, -amount_micro)


def _change_used(state: State, spent: SpentHold, amount_micro: int) -> None:
    row = delegation_of(state, spent.account, spent.delegate, spent.queue)
    if row is None:
        raise AssertionError("a delegate's hold without its delegation")
    put_delegation(state, row.replace(used_micro=row.used_micro + amount_micro))


def add_spent(state: State, account: bytes, delegate: bytes, day: int, amount_micro: int) -> None:
    """Change what was spent on a day. What comes back of a day that is kept no more changes nothing."""
    key = _day_key(account, delegate, day)
    known = state.view.get(key)
    if known is None:
        if amount_micro < 0:
            return
        _forget_before(state, account, delegate, day - DAYS_MAX + 1)
    total = int.from_bytes(known or b"", "big") + amount_micro
    # Not an amount: transfers to and fro may add up to more than there is.
    state.view.put(key, total.to_bytes(16, "big"))


def spent_micro(state: State, account: bytes, delegate: bytes, *, until_day: int, days: int) -> int:
    """What was spent on ``until_day`` and the ``days - 1`` days before it."""
    first = until_day - days + 1
    return sum(amount for day, amount in _days(state, account, delegate) if first <= day <= until_day)


def _forget_before(state: State, account: bytes, delegate: bytes, first_day: int) -> None:
    old = [day for day, _ in _days(state, account, delegate) if day < first_day]
    for day in old:
        state.view.delete(_day_key(account, delegate, day))


def _days(state: State, account: bytes, delegate: bytes) -> Iterator[tuple[int, int]]:
    """(day, amount) of every day that is kept, ascending: at most `DAYS_MAX`."""
    prefix = _DAY + account + delegate
    for key, total in state.view.scan(prefix):
        yield int.from_bytes(key[len(prefix) :], "big"), int.from_bytes(total, "big")


def _day_key(account: bytes, delegate: bytes, day: int) -> bytes:
    return _DAY + account + delegate + day.to_bytes(8, "big")

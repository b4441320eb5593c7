"""What an account says of itself: who spends for it, how much, whether it is listed, and that it closes.

Source: specs/records.md §7."""

from typing import ClassVar, Final

from creditledger.errors import MalformedRecordError
from creditledger.quantities import AccountId, ClientId, Code, Count, MicroCredit, UnixMillisecond
from creditledger.records.kinds import Kind
from creditledger.records.record import Record

DAYS_MAX: Final = 366
"""The longest that a budget looks back."""


class Delegation(Record):
    """Somebody else may spend for the account: up to a cap, until a time, at one queue."""

    KIND: ClassVar[Kind] = Kind.DELEGATION

    account: AccountId
    delegate: AccountId
    """A member's account, or a key that is nobody's account: a machine's."""
    cap_micro: MicroCredit
    """Of everything ever held under it, less what came back; 0 takes the delegation back."""
    until_unix_ms: UnixMillisecond
    queue: AccountId


class Budget(Record):
    """How much may be spent over some days, by the whole account or by one delegate of it."""

    KIND: ClassVar[Kind] = Kind.BUDGET

    id: ClientId
    account: AccountId
    delegate: AccountId
    """Zero: all that the account spends."""
    limit_micro: MicroCredit
    days: Count
    """Today, in UTC, and the days before it that count."""
    notice_micro: MicroCredit
    """Below this readers say that little is left."""

    def check_rules(self) -> None:
        if not 1 <= self.days <= DAYS_MAX:
            raise MalformedRecordError(
                "a budget is over some days", expected=f"1..{DAYS_MAX}", found=str(self.days)
            )


class Closing(Record):
    """The account is empty and never used again."""

    KIND: ClassVar[Kind] = Kind.CLOSING

    account: AccountId


class Listing(Record):
    """Whether leaderboards name the account."""

    KIND: ClassVar[Kind] = Kind.LISTING

    id: ClientId
    account: AccountId
    listed: Code

    def check_rules(self) -> None:
        if self.listed > 1:
            raise MalformedRecordError("listed is not 0 or 1", found=str(self.listed))

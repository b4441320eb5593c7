"""Double entry: what one log entry moved between accounts, as signed amounts that sum to zero.

Source: specs/credits.md §4."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from creditledger.credits.account import totals_of
from creditledger.credits.state import MAP, Overlay, State, StateView
from creditledger.records.state import AccountState, account_key


class Part(StrEnum):
    """Where credits are: a part of somebody's account, or one of the system's own."""

    AVAILABLE = "available"
    """An overdraft counts as negative credits."""
    HELD = "held"
    """In escrow: still the holder's, and not to be spent."""
    UNVESTED = "unvested"
    GRANTS = "grants"
    """The system's: where credits come from, so it falls."""
    BURNED = "burned"
    """The system's: where credits end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """One amount in or out of one place, in micro-credits."""

    account: bytes | None
    """32 bytes; None for the system's own. The levy pool has an id like any account."""
    part: Part
    amount_micro: int
    """Above 0 for credits that come in, below for those that go."""


_ACCOUNTS: Final = MAP + account_key(b"")


def postings(before: StateView, changes: Overlay) -> tuple[Posting, ...]:
    """What ``changes``, an overlay over ``before`` into which entries were folded, moved.

    Ascending by account, the system's own last. They sum to zero. Source: specs/credits.md §4."""
    found = []
    for key in sorted(key for key in changes.changes if key.startswith(_ACCOUNTS)):
        account = key[len(_ACCOUNTS) :]
        old, new = (_parts_at(view, key) for view in (before, changes))
        found += [_posting(account, part, new[part] - old[part]) for part in new]
    old_totals, new_totals = (totals_of(State(view)) for view in (before, changes))
    found.append(_posting(None, Part.GRANTS, old_totals.granted_micro - new_totals.granted_micro))
    found.append(_posting(None, Part.BURNED, new_totals.burned_micro - old_totals.burned_micro))
    return tuple(posting for posting in found if posting.amount_micro)


def _posting(account: bytes | None, part: Part, amount_micro: int) -> Posting:
    return Posting(account=account, part=part, amount_micro=amount_micro)


def account_parts(account: AccountState) -> dict[Part, int]:
    """What an account has, by part, in micro-credits; an overdraft is negative."""
    return {
        Part.AVAILABLE: account.available_micro - account.overdrawn_micro,
        Part.HELD: account.held_micro,
        Part.UNVESTED: account.unvested_micro,
    }


def _parts_at(view: StateView, key: bytes) -> dict[Part, int]:
    encoded = view.get(key)
    if encoded is None:
        return dict.fromkeys((Part.AVAILABLE, Part.HELD, Part.UNVESTED), 0)
    return account_parts(AccountState.decode(encoded))

"""Closing and listing: accounts that end, and that leaderboards leave out. Source: specs/credits.md §13."""

from collections.abc import Iterator
from typing import Final

from creditledger.credits.account import CLOSED
from creditledger.credits.holds import hold_of, live_holds_until
from creditledger.credits.jobs import job_of, unsettled_jobs
from creditledger.credits.pending import concerned, pending_records
from creditledger.credits.state import State
from creditledger.credits.step import Step
from creditledger.errors import RefusedError
from creditledger.quantities import AMOUNT_MAX
from creditledger.records.account import Closing, Listing
from creditledger.records.state import AccountState, account_key

_UNLISTED: Final = b"X/"


def apply_closing(step: Step, closing: Closing) -> None:
    """By the account, once nothing is left in it and nothing is on its way to it. For ever."""
    account = step.require_actor(closing.account)
    wrong = next((what for holds, what in _rules(step.state, account) if not holds), None)
    if wrong is not None:
        raise RefusedError("the account cannot be closed yet", expected=wrong, found=account.name)
    step.state.put_entry(account_key(account.account), account.replace(suspended=CLOSED))


def _rules(state: State, account: AccountState) -> Iterator[tuple[bool, str]]:
    """Each condition: whether it holds, and what it asks for."""
    own = account.account
    yield account.available_micro == 0, "nothing available"
    yield account.overdrawn_micro == 0, "nothing overdrawn"
    yield account.held_micro == 0, "nothing held"
    yield account.unvested_micro == 0, "nothing unvested"
    yield account.credit_line_micro == 0, "a credit line of 0"
    yield own not in _awaited(state), "nothing about it that waits for a round"
    yield own not in _engaged(state), "no open hold at it, no job under way with it"


def _awaited(state: State) -> Iterator[bytes]:
    """The accounts about which something waits for a round."""
    for _, record in pending_records(state):
        yield from concerned(state, record)


def _engaged(state: State) -> Iterator[bytes]:
    """The queues of live holds and the nodes of unsettled jobs."""
    for digest in live_holds_until(state, AMOUNT_MAX):
        yield hold_of(state, digest).queue
    for job in unsettled_jobs(state):
        for span in job_of(state, job).plan:
            yield span.node


def apply_listing(step: Step, listing: Listing) -> None:
    """By the account; the latest one counts. Without any it is listed."""
    step.require_actor(listing.account)
    step.claim_id(listing.account, listing.id)
    if listing.listed:
        step.state.view.delete(_UNLISTED + listing.account)
    else:
        step.state.view.put(_UNLISTED + listing.account, b"")


def is_listed(state: State, account: bytes) -> bool:
    """Whether leaderboards may name the account."""
    return state.view.get(_UNLISTED + account) is None

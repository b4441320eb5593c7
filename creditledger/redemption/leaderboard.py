"""Who did how much verified work: work that was checked as the rules say, and settled.

Source: specs/redemption.md §12."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from creditledger.credits import reading
from creditledger.credits.account import CLOSED, SUSPENDED
from creditledger.credits.state import StateView
from creditledger.ledger.ledger import Ledger
from creditledger.quantities import AccountId, MicroCredit
from creditledger.records.entry import Entry
from creditledger.records.registration import Role
from creditledger.records.state import AccountState
from creditledger.records.transfer import Settlement
from creditledger.redemption.utc_time import week_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Rank:
    """One account's place."""

    rank: int
    """From 1; equal work, equal rank."""
    account: AccountId
    name: str
    role: Role
    verified_micro: MicroCredit
    """Pay for work that was settled, net of levies, vested or not. Only this counts."""
    metered_micro: MicroCredit | None
    """Earned by captures as a queue: what the queue says it ran. None where only some weeks are told."""
    is_suspended: bool
    is_closed: bool


def ranks(view: StateView, *, roles: Sequence[Role] = (Role.NODE, Role.QUEUE)) -> list[Rank]:
    """Every listed account in one of ``roles`` that ever earned, by verified work, then name."""
    accounts = [account for account in _listed(view) if account.role in roles]
    earned = [account for account in accounts if account.verified_micro or account.metered_micro]
    return _ranked((account, account.verified_micro, account.metered_micro) for account in earned)


def weekly_ranks(view: StateView, work: Mapping[bytes, int]) -> list[Rank]:
    """The listed accounts among those of ``work``: id to verified micro-credits."""
    found = (account for account in _listed(view) if work.get(account.account))
    return _ranked((account, work[account.account], None) for account in found)


def verified_by_week(ledger: Ledger, weeks: Sequence[str]) -> dict[str, dict[bytes, int]]:
    """For each of ``weeks`` (as `utc_time.week_of` names them): account id to the verified micro-credits of
    the settlements logged in it. Reads the log from its end back to the first of the weeks."""
    found: dict[str, dict[bytes, int]] = {week: {} for week in weeks}
    for time_unix_ms, settlement in _settlements(ledger, since=min(weeks, default="")):
        sums = found.get(week_of(time_unix_ms))
        if sums is None:
            continue
        for payment in settlement.payments:
            net = payment.amount_micro - payment.levy_micro
            sums[payment.node] = sums.get(payment.node, 0) + net
    return found


def _settlements(ledger: Ledger, *, since: str) -> Iterator[tuple[int, Settlement]]:
    with ledger.snapshot() as snapshot:
        for index in range(snapshot.log.size - 1, -1, -1):
            entry = Entry.decode(snapshot.log.entry_bytes(index))
            if week_of(entry.time_unix_ms) < since:
                return
            if isinstance(entry.record, Settlement):
                yield entry.time_unix_ms, entry.record


def _listed(view: StateView) -> Iterator[AccountState]:
    return (found for found in reading.all_accounts(view) if reading.is_listed(view, found.account))


def _ranked(rows: Iterable[tuple[AccountState, int, int | None]]) -> list[Rank]:
    ordered = sorted(rows, key=lambda row: (-row[1], row[0].name))
    best: dict[int, int] = {}
    for place, (_, verified, _) in enumerate(ordered, start=1):
        best.setdefault(verified, place)
    return [
        Rank(
            rank=best[verified],
            account=account.account,
            name=account.name,
            role=Role(account.role),
            verified_micro=verified,
            metered_micro=metered,
            is_suspended=account.suspended == SUSPENDED,
            is_closed=account.suspended == CLOSED,
        )
        for account, verified, metered in ordered
    ]

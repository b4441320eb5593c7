"""The pool at a glance: what its accounts have, how its checks came out, how its log grew.

Source: specs/service.md §9."""

from dataclasses import dataclass
from typing import Final

from creditledger.credits import reading
from creditledger.credits.account import Totals
from creditledger.credits.state import StateView
from creditledger.ledger.ledger import Ledger
from creditledger.quantities import Count, MicroCredit
from creditledger.records.entry import Entry
from creditledger.records.registration import Role
from creditledger.validation.standing import NodeStanding

POINTS_MAX: Final = 96
"""Of the growth of a log of any length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolFacts:
    """Sums over all accounts."""

    totals: Totals
    nodes: Count
    clients: Count
    queues: Count
    verified_micro: MicroCredit
    """Ever paid for settled work, net of levies."""
    metered_micro: MicroCredit
    """Ever captured by queues, net of levies."""
    unsettled_jobs: Count
    members: Count
    """Of the committee."""
    quorum: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Checks:
    """Verdicts by outcome."""

    upheld: Count
    refuted: Count
    inconclusive: Count

    @property
    def total(self) -> int:
        """All of them."""
        return self.upheld + self.refuted + self.inconclusive


def pool_facts(state: StateView) -> PoolFacts:
    """Reads every account once."""
    parameters = reading.parameters_in_force(state)
    roles = dict.fromkeys(Role, 0)
    verified = metered = 0
    for account in reading.all_accounts(state):
        roles[Role(account.role)] += 1
        verified += account.verified_micro
        metered += account.metered_micro
    return PoolFacts(
        totals=reading.totals(state),
        nodes=roles[Role.NODE],
        clients=roles[Role.CLIENT],
        queues=roles[Role.QUEUE],
        verified_micro=verified,
        metered_micro=metered,
        unsettled_jobs=len(reading.unsettled_jobs(state)),
        members=len(parameters.committee),
        quorum=parameters.quorum,
    )


def checks_of(nodes: list[NodeStanding]) -> Checks:
    """The sums over nodes."""
    return Checks(
        upheld=sum(node.upheld for node in nodes),
        refuted=sum(node.refuted for node in nodes),
        inconclusive=sum(node.inconclusive for node in nodes),
    )


def growth_of(ledger: Ledger) -> list[tuple[int, int]]:
    """(time in Unix milliseconds, entries by then) at evenly spaced entries, from the first to the last."""
    with ledger.snapshot() as snapshot:
        size = snapshot.log.size
        count = min(size, POINTS_MAX)
        indexes = [0] if count == 1 else [at * (size - 1) // (count - 1) for at in range(count)]
        return [(Entry.decode(snapshot.log.entry_bytes(index)).time_unix_ms, index + 1) for index in indexes]

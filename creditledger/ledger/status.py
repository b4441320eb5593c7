"""How far a ledger has come. Source: specs/cli.md §5."""

from typing import Any

from creditledger.credits import reading
from creditledger.ledger.ledger import Ledger
from creditledger.transparency.checkpoint import parse_checkpoint_note


def status_of(ledger: Ledger) -> dict[str, Any]:
    """How far the log, its publication and its certified rounds have come."""
    with ledger.read() as state:
        tip, parameters = reading.tip(state), reading.parameters_in_force(state)
        latest, certified = reading.latest_round(state), reading.latest_certified_round(state)
        sums = reading.totals(state)
        accounts = sum(1 for _ in reading.all_accounts(state))
        unsettled = len(reading.unsettled_jobs(state))
    return {
        "ledger": ledger.id,
        "origin": ledger.origin,
        "size": tip.size,
        "time_unix_ms": tip.time_unix_ms,
        "published_size": _published_size(ledger),
        "round": None if latest is None else latest.round.number,
        "certified_round": None if certified is None else certified.round.number,
        "certified_size": None if certified is None else certified.round.log_size,
        "committee": len(parameters.committee),
        "quorum": parameters.quorum,
        "accounts": accounts,
        "unsettled_jobs": unsettled,
        "granted_micro": sums.granted_micro,
        "available_micro": sums.available_micro,
        "overdrawn_micro": sums.overdrawn_micro,
        "held_micro": sums.held_micro,
        "unvested_micro": sums.unvested_micro,
        "burned_micro": sums.burned_micro,
    }


def _published_size(ledger: Ledger) -> int:
    return parse_checkpoint_note(ledger.checkpoint()).size

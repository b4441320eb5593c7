"""`balance` and `statement`: what an account has, and what moved it. Source: specs/cli.md §6."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.opening import account_id, reading
from creditledger.cli.options import json_option, ledger_argument
from creditledger.cli.output import emit, emit_rows

if TYPE_CHECKING:
    from creditledger.credits.state import StateView
    from creditledger.records.state import AccountState
    from creditledger.redemption.statement import StatementLine

_COLUMNS: Final = {
    "index": "index",
    "kind": "kind",
    "available_change": "change",
    "available_after": "available",
    "held_after": "held",
    "unvested_after": "unvested",
}
"""What a person is shown of each line: the rest does not fit beside it."""


@click.command()
@ledger_argument
@click.argument("account")
@json_option
def balance(ledger: Path, account: str, as_json: bool) -> None:
    """Show the credits of ACCOUNT, a hex id or registered name, and whether a round certifies them."""
    from creditledger.credits import reading as credits

    with reading(ledger) as opened, opened.read() as state:
        found = account_id(state, account)
        account_state = credits.account_state(state, found)
        if account_state is None:
            raise AssertionError("a named account has no state")
        emit(_balance(account_state) | _certified(state, account_state), as_json=as_json)


def _balance(state: "AccountState") -> dict[str, Any]:
    from creditledger.credits.account import CLOSED, SUSPENDED
    from creditledger.records.registration import Role

    return {
        "account": state.account,
        "name": state.name,
        "role": Role(state.role).name.lower(),
        "available_micro": state.available_micro,
        "overdrawn_micro": state.overdrawn_micro,
        "held_micro": state.held_micro,
        "unvested_micro": state.unvested_micro,
        "credit_line_micro": state.credit_line_micro,
        "verified_micro": state.verified_micro,
        "metered_micro": state.metered_micro,
        "suspended": state.suspended == SUSPENDED,
        "closed": state.suspended == CLOSED,
    }


def _certified(state: "StateView", account: "AccountState") -> dict[str, Any]:
    """As of which entry this is, and whether the latest certified round says the same."""
    from creditledger.credits import reading as credits
    from creditledger.records.state import account_key

    info = credits.latest_certified_round(state)
    certified = None
    if info is not None:
        certified = credits.map_value(state, info.round.map_root, account_key(account.account))
    return {
        "size": credits.tip(state).size,
        "round": None if info is None else info.round.number,
        "round_size": None if info is None else info.round.log_size,
        "certified": certified == account.encode(),
    }


@click.command()
@ledger_argument
@click.argument("account")
@json_option
def statement(ledger: Path, account: str, as_json: bool) -> None:
    """List every entry that moved the credits of ACCOUNT, with the balance after it."""
    from creditledger.credits import reading as credits
    from creditledger.redemption.statement import statement as replay

    with reading(ledger) as opened:
        with opened.read() as state:
            found = account_id(state, account)
            info = credits.latest_certified_round(state)
        rows = [_row(line) for line in replay(opened, found)]
    certified = {
        "account": found,
        "round": None if info is None else info.round.number,
        "round_size": None if info is None else info.round.log_size,
    }
    if as_json:
        emit(certified | {"lines": rows}, as_json=True)
        return
    shown = [{column: row[name] for name, column in _COLUMNS.items()} for row in rows]
    emit_rows(shown, as_json=False, title="statement, in micro-credits")
    emit(certified, as_json=False)


def _row(line: "StatementLine") -> dict[str, Any]:
    return {
        "index": line.index,
        "time_unix_ms": line.time_unix_ms,
        "kind": line.kind.name.lower(),
        "available_change": line.available_change,
        "held_change": line.held_change,
        "unvested_change": line.unvested_change,
        "available_after": line.available_after,
        "held_after": line.balance.held_micro,
        "unvested_after": line.balance.unvested_micro,
        "digest": line.digest,
    }

"""`balance`: what an account has, why not all of it can be spent, and until when. Source: specs/cli.md §6."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.notices import delegate_or_none, notice_rows, tell
from creditledger.cli.opening import account_id, reading
from creditledger.cli.options import json_option, ledger_argument
from creditledger.cli.output import emit, emit_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from creditledger.credits.lots import WaitingLot
    from creditledger.credits.state import StateView
    from creditledger.records.state import AccountState
    from creditledger.redemption.position import OpenHold, Position

ROWS_SHOWN: Final = 20
"""Of holds and lots, in a table; JSON has them all."""


@click.command()
@ledger_argument
@click.argument("account")
@json_option
def balance(ledger: Path, account: str, as_json: bool) -> None:
    """Show the credits of ACCOUNT, a hex id or registered name, and why not all of them can be spent.

    Balance = available + held + unvested; with the credit line, available is what can be spent now."""
    from creditledger.ledger.clock import system_clock
    from creditledger.redemption.position import position_of

    with reading(ledger) as opened, opened.read() as state:
        found = position_of(state, account_id(state, account), now_unix_ms=system_clock())
        certified = _certified(state, found.account)
    if as_json:
        emit(_answer(found) | certified, as_json=True)
        return
    _show(found)
    emit(certified, as_json=False)
    tell(found.notices)


def _answer(position: "Position") -> dict[str, Any]:
    state = position.account
    return {
        **_balance(state),
        "balance_micro": position.balance_micro,
        "spendable_micro": position.spendable_micro,
        "gpu_hours": _gpu_hours(position),
        "holds": [hold_row(hold) for hold in position.holds],
        "lots": [_lot_row(lot, state) for lot in position.lots],
        "budgets": [
            {
                "delegate": delegate_or_none(use.budget.delegate),
                "limit_micro": use.budget.limit_micro,
                "days": use.budget.days,
                "notice_micro": use.budget.notice_micro,
                "spent_micro": use.spent_micro,
                "left_micro": use.left_micro,
            }
            for use in position.budgets
        ],
        "delegations": [
            {
                "delegate": row.delegate,
                "queue": row.queue,
                "cap_micro": row.cap_micro,
                "used_micro": row.used_micro,
                "until_unix_ms": row.until_unix_ms,
            }
            for row in position.delegations
        ],
        "notices": notice_rows(position.notices),
    }


def _balance(state: "AccountState") -> dict[str, Any]:
    from creditledger.credits.account import CLOSED, SUSPENDED
    from creditledger.records.registration import Role

    return {
        "account": state.account,
        "name": state.name,
        "role": Role(state.role).name.lower().replace("_", "-"),
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


def _gpu_hours(position: "Position") -> dict[str, str]:
    from creditledger.redemption.amount import format_gpu_hours

    return {name: format_gpu_hours(micro) for name, micro in _parts(position).items()}


def _parts(position: "Position") -> dict[str, int]:
    return {
        "balance": position.balance_micro,
        "held": position.account.held_micro,
        "unvested": position.account.unvested_micro,
        "available": position.spendable_micro,
    }


def hold_row(hold: "OpenHold") -> dict[str, Any]:
    """One open hold, as specs/cli.md §6 lists it."""
    from creditledger.quantities import ZERO_DIGEST
    from creditledger.records.state import HoldStatus
    from creditledger.records.transfer import DelegatedHold

    state, body = hold.state, hold.body
    return {
        "hold": state.hold,
        "job": None if state.job == ZERO_DIGEST else state.job,
        "queue": None if state.queue == ZERO_DIGEST else state.queue,
        "class": body.hardware,
        "gpus": body.gpus,
        "duration_ms": body.duration_ms,
        "amount_micro": state.amount_micro,
        "captured_micro": state.captured_micro,
        "held_micro": hold.held_micro,
        "status": HoldStatus(state.status).name.lower(),
        "expires_unix_ms": state.expires_unix_ms,
        "delegate": body.delegate if isinstance(body, DelegatedHold) else None,
    }


def _lot_row(waiting: "WaitingLot", account: "AccountState") -> dict[str, Any]:
    return {
        "job": waiting.lot.job,
        "layer_start": waiting.lot.layer_start,
        "amount_micro": waiting.lot.amount_micro,
        "settled_round": waiting.lot.settled_round,
        "settled_unix_ms": waiting.lot.settled_unix_ms,
        "rounds_left": waiting.rounds_left,
        "vests_from_unix_ms": waiting.from_unix_ms,
        "value_left_micro": waiting.value_left_micro,
        "suspended": bool(account.suspended),
    }


def _show(position: "Position") -> None:
    from creditledger.redemption.amount import format_credits

    answer = _answer(position)
    parts = {name: format_credits(micro) for name, micro in _parts(position).items()}
    rows = [{"in": "credits"} | parts, {"in": "GPU-hours"} | answer["gpu_hours"]]
    emit_rows(rows, as_json=False, title=f"{answer['name']} ({answer['role']})")
    emit({name: answer[name] for name in ("account", "suspended", "closed")}, as_json=False)
    for name in ("overdrawn", "credit_line", "verified", "metered"):
        emit({name: format_credits(answer[f"{name}_micro"])}, as_json=False)
    _table("held", [_shown_hold(row) for row in answer["holds"]])
    _table("unvested", [_shown_lot(row) for row in answer["lots"]])
    _table("budgets", [_shown_budget(row) for row in answer["budgets"]])
    _table("delegations", [_shown_delegation(row) for row in answer["delegations"]])


def _table(title: str, rows: "Sequence[dict[str, Any]]") -> None:
    if rows:
        more = f", {ROWS_SHOWN} of {len(rows)}" if len(rows) > ROWS_SHOWN else ""
        emit_rows(rows[:ROWS_SHOWN], as_json=False, title=f"{title}{more}")


def _shown_hold(row: dict[str, Any]) -> dict[str, Any]:
    from creditledger.redemption.amount import format_credits
    from creditledger.redemption.utc_time import moment_text

    job, queue = row["job"], row["queue"]
    return {
        "credits": format_credits(row["held_micro"]),
        "for": f"job {job.hex()[:12]}" if job else f"{row['gpus']} {row['class']} at {queue.hex()[:12]}",
        "captured": format_credits(row["captured_micro"]),
        "until": moment_text(row["expires_unix_ms"]),
    }


def _shown_lot(row: dict[str, Any]) -> dict[str, Any]:
    from creditledger.redemption.amount import format_credits
    from creditledger.redemption.utc_time import moment_text

    waits = [f"{row['rounds_left']} rounds"] if row["rounds_left"] else []
    waits += [f"{format_credits(row['value_left_micro'])} of later work"] if row["value_left_micro"] else []
    waits += ["the end of its suspension"] if row["suspended"] else []
    return {
        "credits": format_credits(row["amount_micro"]),
        "job": row["job"].hex()[:12],
        "settled in round": row["settled_round"],
        "not before": moment_text(row["vests_from_unix_ms"]),
        "waits for": ", ".join(waits) or "a round",
    }


def _shown_budget(row: dict[str, Any]) -> dict[str, Any]:
    from creditledger.redemption.amount import format_credits

    left = row["left_micro"]
    return {
        "of": row["delegate"].hex()[:12] if row["delegate"] else "the account",
        "days": row["days"],
        "spent": format_credits(row["spent_micro"]),
        "left": "no limit" if left is None else format_credits(left),
        "notice": format_credits(row["notice_micro"]),
    }


def _shown_delegation(row: dict[str, Any]) -> dict[str, Any]:
    from creditledger.redemption.amount import format_credits
    from creditledger.redemption.utc_time import moment_text

    return {
        "to": row["delegate"].hex()[:12],
        "queue": row["queue"].hex()[:12],
        "used": format_credits(row["used_micro"]),
        "cap": format_credits(row["cap_micro"]),
        "until": moment_text(row["until_unix_ms"]),
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

"""`balance`: what an account has, why not all of it can be spent, and until when. Source: specs/cli.md §6."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.notices import tell
from creditledger.cli.opening import account_id, reading
from creditledger.cli.options import json_option, ledger_argument
from creditledger.cli.output import emit, emit_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from creditledger.redemption.position import Position

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
    from creditledger.redemption.position_row import certified_row, position_row

    with reading(ledger) as opened, opened.read() as state:
        found = position_of(state, account_id(state, account), now_unix_ms=system_clock())
        certified = certified_row(state, found.account)
    if as_json:
        emit(position_row(found) | certified, as_json=True)
        return
    _show(found)
    emit(certified, as_json=False)
    tell(found.notices)


def _show(position: "Position") -> None:
    from creditledger.redemption.amount import format_credits
    from creditledger.redemption.position_row import parts_of, position_row

    answer = position_row(position)
    parts = {name: format_credits(micro) for name, micro in parts_of(position).items()}
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

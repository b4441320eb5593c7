"""`leaderboard`: who did how much verified work. Source: specs/cli.md §6."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.opening import reading
from creditledger.cli.options import json_option, ledger_argument
from creditledger.cli.output import emit, emit_rows

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Ledger
    from creditledger.redemption.leaderboard import Rank

WEEKS: Final = 4
"""So many are told apart unless somebody asks for more."""
WEEKS_MAX: Final = 520


@click.command()
@ledger_argument
@click.option(
    "--by", "grouping", type=click.Choice(("node", "account", "week")), default="node", show_default=True
)
@click.option("--weeks", type=click.IntRange(1, WEEKS_MAX), help="Only of the last so many ISO weeks, UTC.")
@json_option
def leaderboard(ledger: Path, grouping: str, weeks: int | None, as_json: bool) -> None:
    """Rank nodes or accounts by verified work: settled, after the checks that were drawn for it.

    What queues metered stands beside it and does not count. Who asked not to be listed is left out."""
    with reading(ledger) as opened:
        if grouping == "week":
            names, rows = _by_week(opened, weeks or WEEKS)
        elif weeks is not None:
            names, rows = _of_weeks(opened, grouping, weeks)
        else:
            names, rows = None, _of_all_time(opened, grouping)
    if as_json:
        emit({"by": grouping, "weeks": names, "rows": rows}, as_json=True)
        return
    title = "verified work, in credits" + (f", {names[-1]} to {names[0]}" if names else "")
    emit_rows([_shown(row) for row in rows], as_json=False, title=title)


def _of_all_time(opened: "Ledger", grouping: str) -> list[dict[str, Any]]:
    from creditledger.records.registration import Role
    from creditledger.redemption.leaderboard import ranks

    roles = (Role.NODE,) if grouping == "node" else (Role.NODE, Role.QUEUE, Role.CLIENT)
    with opened.read() as state:
        return [_row(rank, None) for rank in ranks(state, roles=roles)]


def _of_weeks(opened: "Ledger", grouping: str, count: int) -> tuple[list[str], list[dict[str, Any]]]:
    from creditledger.redemption.leaderboard import verified_by_week, weekly_ranks

    names = _last_weeks(count)
    total: dict[bytes, int] = {}
    for work in verified_by_week(opened, names).values():
        for node, micro in work.items():
            total[node] = total.get(node, 0) + micro
    with opened.read() as state:
        return names, [_row(rank, None) for rank in weekly_ranks(state, total)]


def _by_week(opened: "Ledger", count: int) -> tuple[list[str], list[dict[str, Any]]]:
    from creditledger.redemption.leaderboard import verified_by_week, weekly_ranks

    names = _last_weeks(count)
    work = verified_by_week(opened, names)
    with opened.read() as state:
        return names, [_row(rank, week) for week in names for rank in weekly_ranks(state, work[week])]


def _last_weeks(count: int) -> list[str]:
    from creditledger.ledger.clock import system_clock
    from creditledger.redemption.utc_time import last_weeks

    return last_weeks(system_clock(), count)


def _row(rank: "Rank", week: str | None) -> dict[str, Any]:
    return {
        "rank": rank.rank,
        "week": week,
        "account": rank.account,
        "name": rank.name,
        "role": rank.role.name.lower(),
        "verified_micro": rank.verified_micro,
        "metered_micro": rank.metered_micro,
        "suspended": rank.is_suspended,
        "closed": rank.is_closed,
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    from creditledger.redemption.amount import format_credits, format_gpu_hours

    mark = " (suspended)" if row["suspended"] else " (closed)" if row["closed"] else ""
    shown = {
        "rank": row["rank"],
        "name": row["name"] + mark,
        "verified": format_credits(row["verified_micro"]),
    }
    shown["GPU-hours"] = format_gpu_hours(row["verified_micro"])
    if row["metered_micro"] is not None:
        shown["metered"] = format_credits(row["metered_micro"])
    return ({"week": row["week"]} if row["week"] else {}) | shown

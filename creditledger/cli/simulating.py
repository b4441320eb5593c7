"""`sim`: what would cheats earn in a pool under these rules? Source: specs/cli.md §19."""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.options import INPUT_FILE, json_option
from creditledger.cli.output import emit, shown
from creditledger.cli.progress import bars
from creditledger.errors import AmountError

if TYPE_CHECKING:
    from creditledger.records.parameters import Parameters
    from creditledger.simulation.simulation import Report, Row

SEED_MAX = 2**64 - 1
NODES_MIN = 5
"""Of which one cheats."""


@click.command()
@click.option("--seed", type=click.IntRange(0, SEED_MAX), required=True, help="Same seed, same decisions.")
@click.option("--config", type=INPUT_FILE, help="A pool's rules, as `init --parameters` takes them.")
@click.option("--nodes", type=click.IntRange(NODES_MIN, 1_000_000), default=10_000, show_default=True)
@click.option(
    "--receipts", type=click.IntRange(2, 100_000), default=2_000, show_default=True, help="Of each node."
)
@click.option(
    "--fold-receipts",
    type=click.IntRange(0, 10_000),
    default=4,
    show_default=True,
    help="Of each node through the ledger's own fold, where each takes milliseconds; 0 for none.",
)
@click.option("--receipt", metavar="AMOUNT", help="What a receipt is worth (60credits).")
@json_option
def sim(
    seed: int,
    config: Path | None,
    nodes: int,
    receipts: int,
    fold_receipts: int,
    receipt: str | None,
    as_json: bool,
) -> None:
    """Let cheats loose on a pool with its rules, and see what each strategy earns.

    Without --config: the rules that `init` gives a pool. Minutes on one processor at the defaults."""
    from creditledger.redemption.amount import parse_amount
    from creditledger.simulation.economics import RECEIPT_MICRO
    from creditledger.simulation.simulation import simulate
    from creditledger.simulation.world import World

    value = RECEIPT_MICRO if receipt is None else parse_amount(receipt)
    if not value:
        raise AmountError("a receipt is worth something", expected="more than 0", found="0")
    world = World(
        nodes=nodes,
        receipts=receipts,
        receipt_micro=value,
    )
    rules = _rules(world, config)
    with bars(quiet=as_json) as show:
        report = simulate(world, rules, seed=seed, fold_receipts=fold_receipts, show=show)
    _show(report, seed=seed, as_json=as_json)


def _rules(world: Any, config: Path | None) -> "Parameters":
    from creditledger.cli.parameters_file import read_parameters
    from creditledger.ledger.founding import default_parameters

    defaults = default_parameters(world.committee, quorum=world.quorum)
    return defaults if config is None else read_parameters(config).apply(defaults)


def _show(report: "Report", *, seed: int, as_json: bool) -> None:
    rows = [_row(row) for row in report.rows]
    fold = None
    if report.fold is not None:
        fold = {"entries": report.fold.entries, "agrees": True, **_row(report.fold.row)}
    if as_json:
        emit({"seed": seed, "trace": report.trace, "scenarios": rows, "fold": fold}, as_json=True)
        return
    _show_table(rows if fold is None else [*rows, fold])
    emit({"seed": seed, "trace": report.trace}, as_json=False)
    if fold is not None:
        emit({"entries_folded": fold["entries"], "world_agrees_with_fold": fold["agrees"]}, as_json=False)


def _show_table(rows: list[dict[str, Any]]) -> None:
    """Profits in credits for each receipt; narrow enough for 80 columns."""
    from rich.console import Console
    from rich.table import Table

    table = Table(
        box=None, pad_edge=False, collapse_padding=True, title="What cheating earns", title_justify="left"
    )
    for place, name in enumerate(_as_text(rows[0])):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(shown(value) for value in _as_text(row).values()))
    Console().print(table)


def _row(row: "Row") -> dict[str, Any]:
    return {
        "scenario": row.scenario,
        "control": row.is_control,
        "nodes": row.nodes,
        "receipts": row.receipts,
        "overhead_ppm": _ppm(row.overhead),
        "honest_profit_micro": int(row.honest_profit_micro),
        "cheat_profit_micro": None if row.cheat_profit_micro is None else int(row.cheat_profit_micro),
        "ratio_ppm": None if row.ratio is None else _ppm(row.ratio),
        "accepted_fakes_ppm": _ppm(row.accepted_fakes),
        "honest_loss_ppm": _ppm(row.honest_loss),
        "latency_p99": row.latency_p99,
        "verdict": None if row.verdict is None else row.verdict.value,
    }


def _as_text(row: dict[str, Any]) -> dict[str, Any]:
    """The table's columns, for a person."""
    return {
        "scenario": row["scenario"],
        "checks": _percent(row["overhead_ppm"]),
        "honest": _credits(row["honest_profit_micro"]),
        "cheat": _credits(row["cheat_profit_micro"]),
        "ratio": None if row["ratio_ppm"] is None else f"{row['ratio_ppm'] / 1_000_000:.2f}",
        "fakes": _percent(row["accepted_fakes_ppm"]),
        "loss": _percent(row["honest_loss_ppm"], digits=2),
        "p99": row["latency_p99"],
        "pays?": row["verdict"],
    }


def _ppm(share: Fraction) -> int:
    return round(share * 1_000_000)


def _percent(ppm: int, *, digits: int = 1) -> str:
    return f"{ppm / 10_000:.{digits}f}%"


def _credits(micro: int | None) -> str | None:
    return None if micro is None else f"{micro / 1_000_000:.2f}"

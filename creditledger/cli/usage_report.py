"""`report usage`: who used how much of a queue. Source: specs/cli.md §22."""

import re
from pathlib import Path

import click

from creditledger.cli.options import json_option, ledger_argument
from creditledger.cli.output import emit_rows


@click.command("usage")
@ledger_argument
@click.option("--queue", type=click.Choice(["slurm"]), default="slurm", show_default=True)
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), metavar="DIR")
@click.option("--month", metavar="YYYY-MM", help="In UTC. Default: all.")
@click.option("--by", type=click.Choice(["member", "account"]), default="member", show_default=True)
@click.option("--shadow", is_flag=True, help="What would have been charged.")
@click.option("--csv", "as_csv", is_flag=True, help="Answer with CSV on stdout.")
@json_option
def usage(
    ledger: Path,
    queue: str,
    directory: Path | None,
    month: str | None,
    by: str,
    shadow: bool,
    as_csv: bool,
    as_json: bool,
) -> None:
    """GPU-hours by member, month and hardware class, and what they cost."""
    from creditledger.cli.slurm_queue import directory_of
    from creditledger.redemption.queues.slurm import usage as accounting
    from creditledger.redemption.queues.slurm.desk import opened_book
    from creditledger.redemption.queues.slurm.settings import SlurmSettings

    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    if month is not None and not re.fullmatch(r"[0-9]{4}-(0[1-9]|1[0-2])", month, re.ASCII):
        raise click.BadParameter("expected YYYY-MM", param_hint="--month")
    folder = directory_of(ledger, directory)
    settings = SlurmSettings.load(folder)
    with opened_book(folder, settings, is_shadow=shadow) as sales:
        rows = accounting.usage(sales.measured(), month=month, by_member=by == "member")
    if as_csv:
        click.echo(accounting.as_csv(rows), nl=False)
        return
    shown = [
        {
            "month": row.month,
            "account": row.account,
            **({"member": row.member} if by == "member" else {}),
            "class": row.hardware,
            "attempts": row.attempts,
            "gpu_hours": row.gpu_hours,
            "gpu_ms": row.gpu_ms,
            "captured_micro": row.captured_micro,
        }
        for row in rows
    ]
    emit_rows(shown, as_json=as_json, title="Usage" if not shadow else "Usage, not charged")

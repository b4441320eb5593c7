"""`prices`: what GPU time costs, by hardware class. Source: specs/cli.md §9."""

from pathlib import Path

import click

from creditledger.cli.opening import reading
from creditledger.cli.options import json_option, ledger_argument
from creditledger.cli.output import emit, emit_rows

SECONDS_PER_HOUR = 3_600


@click.command()
@ledger_argument
@json_option
def prices(ledger: Path, as_json: bool) -> None:
    """List the hardware classes of the pool with what one GPU of each costs, under the rules in force.

    One credit is one second on one GPU of the reference class."""
    from creditledger.credits import reading as credits
    from creditledger.redemption.amount import format_credits

    with reading(ledger) as opened, opened.read() as state:
        parameters, digest = credits.parameters_in_force(state), credits.parameters_digest(state)
    listed = [(price.name, price.micro_per_gpu_second) for price in parameters.hardware]
    answer = {"sequence": parameters.sequence, "parameters": digest}
    if as_json:
        rows = [
            {"class": name, "micro_per_gpu_second": micro, "micro_per_gpu_hour": micro * SECONDS_PER_HOUR}
            for name, micro in listed
        ]
        emit(answer | {"prices": rows}, as_json=True)
        return
    shown = [
        {
            "class": name,
            "credits per GPU-second": format_credits(micro),
            "credits per GPU-hour": format_credits(micro * SECONDS_PER_HOUR),
        }
        for name, micro in listed
    ]
    emit_rows(shown, as_json=False, title="prices")
    emit(answer, as_json=False)

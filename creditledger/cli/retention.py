"""`forget`: erase what was sealed for checks once nobody may ask for it. Source: specs/cli.md §5."""

from pathlib import Path

import click

from creditledger.cli.opening import writing
from creditledger.cli.options import directory_argument, json_option
from creditledger.cli.output import emit


@click.command()
@directory_argument
@json_option
def forget(ledger: Path, as_json: bool) -> None:
    """Erase sealed sketches and inputs of jobs that are settled or expired and whose window is over.

    Run it once a day. It publishes first, which tells the time, and erases nothing that a check may
    still ask for."""
    from creditledger.ledger.clock import system_clock
    from creditledger.ledger.retention import erase_ended

    with writing(ledger) as opened:
        opened.publish()
        erased = erase_ended(opened, clock=system_clock)
    answer = {name: getattr(erased, name) for name in ("sealed", "evidence", "freed_bytes", "kept")}
    emit(answer, as_json=as_json)

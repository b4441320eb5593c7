"""`canary`: wrong receipts of the pool's own, to see who looks. Source: specs/cli.md §5."""

import os
from pathlib import Path
from typing import Any

import click

from creditledger.cli.opening import writing
from creditledger.cli.options import directory_argument, hex_id, json_option
from creditledger.cli.output import emit
from creditledger.cli.rounds import placed


@click.group()
def canary() -> None:
    """Plant receipts that are wrong on purpose, and open them once they were judged."""


@canary.command()
@directory_argument
@click.argument("receipt", required=False, callback=hex_id(32))
@json_option
def plant(ledger: Path, receipt: bytes | None, as_json: bool) -> None:
    """Commit to RECEIPT, a digest, before a round covers it; without RECEIPT, to nothing.

    Commit in every round, mostly to nothing: then nobody knows when to look."""
    from creditledger.ledger.canaries import Canaries, require_logged

    with writing(ledger) as opened:
        canaries = Canaries(opened.directory.canaries)
        if receipt is None:
            acknowledgement = canaries.plant_nothing(opened, random_bytes=os.urandom)
        else:
            with opened.read() as state:
                require_logged(state, receipt)
            acknowledgement = canaries.plant(opened, receipt, random_bytes=os.urandom)
        answer: dict[str, Any] = {"receipt": receipt}
        emit(answer | placed(opened, acknowledgement), as_json=as_json)


@canary.command("open")
@directory_argument
@json_option
def open_canaries(ledger: Path, as_json: bool) -> None:
    """Open every planted canary whose verdicts are in; settling does so by itself."""
    from creditledger.credits import reading
    from creditledger.ledger.canaries import Canaries

    with writing(ledger) as opened:
        with opened.read() as state:
            acknowledged = Canaries(opened.directory.canaries).open_judged(opened, state)
        with opened.read() as state:
            counts = reading.canary_counts(state)
        answer = {"opened": [one.index for one in acknowledged]}
        emit(answer | {"committed": counts.committed, "opened_ever": counts.opened}, as_json=as_json)

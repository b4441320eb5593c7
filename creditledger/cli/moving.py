"""`move`: a ledger's rows to a store of another kind. Source: specs/cli.md §28."""

from pathlib import Path

import click

from creditledger.cli.options import directory_argument, json_option
from creditledger.cli.output import emit
from creditledger.cli.progress import bars


@click.command()
@directory_argument
@click.option("--store", metavar="URL", help="A PostgreSQL database; without it, LEDGER's own directory.")
@json_option
def move(ledger: Path, store: str | None, as_json: bool) -> None:
    """Move LEDGER's rows between its directory and a database, all of them or none.

    The new rows are read back and compared before the old ones go. Stopped at any moment, the ledger is as it
    was or wholly moved; the same again goes on."""
    from creditledger.ledger.store_move import move_store

    with bars(quiet=as_json) as show:
        moved = move_store(ledger, store, on_rows=lambda done, rows: show("moving rows", done, rows))
    emit(
        {
            "directory": ledger,
            "store": store or "",
            "size": moved.size,
            "root": moved.root,
            "rows": moved.rows,
        },
        as_json=as_json,
    )

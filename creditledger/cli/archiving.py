"""`import`: a ledger out of an archive. Source: specs/cli.md §29."""

from pathlib import Path

import click

from creditledger.cli.options import INPUT_FILE, json_option
from creditledger.cli.output import emit, note
from creditledger.cli.output_file import output_file
from creditledger.cli.progress import bars

TWO_HISTORIES = "the ledger it was exported from must not be written any more: two would go on from here"


@click.command(name="import")
@click.argument("archive", type=INPUT_FILE, metavar="FILE")
@click.argument("ledger", type=click.Path(path_type=Path))
@click.option("--store", metavar="URL", help="A PostgreSQL database; without it, LEDGER's own directory.")
@json_option
def import_(archive: Path, ledger: Path, store: str | None, as_json: bool) -> None:
    """Make LEDGER of what `export --format archive` wrote, keys and all.

    Tree, balances and the signed head are checked before LEDGER is there. Stopped at any moment there is
    nothing, or a whole ledger; the same again goes on."""
    from creditledger.errors import StorageError
    from creditledger.ledger.archive import read_archive

    try:
        file = archive.open("rb")
    except OSError as error:
        raise StorageError(f"{archive} cannot be read: {error.strerror}") from error
    with file, bars(quiet=as_json) as show:
        made = read_archive(file, ledger, store, on_rows=lambda done, rows: show("reading rows", done, rows))
    row = {"directory": ledger, "store": store or "", "size": made.size, "root": made.root, "rows": made.rows}
    emit(row, as_json=as_json)
    if not as_json:
        note(TWO_HISTORIES)


def export_archive(ledger: Path, output: Path, *, as_json: bool) -> None:
    """`export --format archive`: a whole ledger, its private keys included, mode 0600."""
    from creditledger.ledger.archive import write_archive
    from creditledger.ledger.opening import is_copy

    if is_copy(ledger):
        raise click.UsageError("an archive is made of a ledger's own directory, not of a copy")
    with bars(quiet=as_json) as show, output_file(output, mode=0o600) as write:
        held = write_archive(ledger, write, on_rows=lambda done, rows: show("writing rows", done, rows))
    emit(
        {"format": "archive", "file": output, "size": held.size, "root": held.root, "rows": held.rows},
        as_json=as_json,
    )
    if not as_json:
        note("the archive holds the ledger's private keys")

"""`shipping`: what this machine's nodes have on its way to a pool. Source: specs/cli.md §26."""

from pathlib import Path
from typing import Any

import click

from creditledger.cli.options import json_option, ledger_argument
from creditledger.cli.output import emit_rows


@click.command()
@ledger_argument
@click.option(
    "--outbox",
    "outboxes",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="An outbox that lies elsewhere.",
)
@json_option
def shipping(ledger: Path, outboxes: tuple[Path, ...], as_json: bool) -> None:
    """What waits in the outboxes of this machine's nodes, and how its delivery goes. Asks nobody."""
    from creditledger.minting.minter import NODES

    own = sorted((ledger / NODES).glob("*/outbox"))
    emit_rows([_row(outbox) for outbox in (*own, *outboxes)], as_json=as_json, title="shipping")


def _row(outbox: Path) -> dict[str, Any]:
    from creditledger.ledger.directory import disk_errors
    from creditledger.minting.outbox import refused_in, waiting_in
    from creditledger.minting.shipping_report import ShippingReport

    report = ShippingReport.read(outbox)
    sizes = []
    for path in waiting_in(outbox):
        with disk_errors(path):
            # What is delivered meanwhile waits no more.
            sizes += [path.stat().st_size] if path.exists() else []
    return {
        "outbox": outbox,
        "waiting": len(sizes),
        "waiting_bytes": sum(sizes),
        "refused": len(refused_in(outbox)),
        "delivered": report.delivered,
        "last_delivered_unix_ms": report.last_delivered_unix_ms or None,
        "missing_inputs": report.missing_inputs,
        "error": report.error,
        "message": report.message,
        "since_unix_ms": report.since_unix_ms or None,
    }

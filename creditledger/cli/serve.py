"""`serve`: a pool over HTTP, until it is stopped. Source: specs/cli.md §23."""

import socket
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.listening import (
    ends_on_sigterm,
    listen_option,
    ready_option,
    require_service,
    say_ready,
)
from creditledger.cli.opening import cosigners_for
from creditledger.cli.options import json_option
from creditledger.cli.output import emit
from creditledger.errors import CreditLedgerError

CONNECTION_SECONDS: Final = 3_600.0
HEAD_SECONDS: Final = 10.0
HEAD_BYTES_MAX: Final = 32 * 1024
CONNECTIONS_MAX: Final = 512

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Ledger


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@listen_option
@click.option("--interval", type=click.IntRange(1, 3_600), default=5, show_default=True, metavar="SECONDS")
@ready_option
@click.option("--store", metavar="URL", help="The database that DIR's rows lie in, if it has moved.")
@click.option("--publish-to", metavar="PLACE", help="Also publish to a folder or s3://BUCKET/PREFIX.")
@click.option("--endpoint-url", metavar="URL", help="Of PLACE's store, where that is not Amazon's.")
@json_option
def serve(
    directory: Path,
    listen: tuple[str, int],
    interval: int,
    ready_fd: int | None,
    store: str | None,
    publish_to: str | None,
    endpoint_url: str | None,
    as_json: bool,
) -> None:
    """Serve the ledger in DIR over HTTP until stopped: appends, reads, proofs.

    It is the one writer of DIR for as long; of several that serve one database from a directory each, one
    writes at a time. Every SECONDS it expires, settles and certifies what is due.
    Events go to stderr, one JSON object a line."""
    require_service("a server")
    from creditledger.service.http_server import address_of, listening_socket

    with (
        ends_on_sigterm(),
        _opened(directory, store) as ledger,
        listening_socket(*listen) as listening,
    ):

        def announce() -> None:
            emit(_answer(ledger, address_of(listening)), as_json=as_json)
            sys.stdout.flush()
            say_ready(ready_fd, address_of(listening))

        with _carrying(ledger, publish_to, endpoint_url):
            _serve(ledger, listening, interval, announce)


def _carrying(
    ledger: "Ledger", publish_to: str | None, endpoint_url: str | None
) -> AbstractContextManager[object]:
    """What brings each publication to a second place, too. Raises UsageError, StorageError."""
    if publish_to is None:
        if endpoint_url is not None:
            raise click.UsageError("--endpoint-url is of a bucket: name it with --publish-to")
        return nullcontext()
    from creditledger.cli.placing import place_at
    from creditledger.ledger.clock import system_clock
    from creditledger.service.pool.carrying import Carrying
    from creditledger.service.pool.event_log import EventLog

    place = place_at(publish_to, endpoint_url)
    return Carrying(ledger.directory, place, clock=system_clock, events=EventLog(sys.stderr))


def _opened(directory: Path, store: str | None) -> "Ledger":
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.ledger.ledger import Ledger
    from creditledger.ledger.store_place import database_of, move_database

    place = LedgerDirectory(directory).store
    if store is not None:
        move_database(place, store)
    if database_of(place) is None:
        return Ledger.open(directory, cosigners=cosigners_for(directory))
    from creditledger.ledger.standby import StandbyLedger

    return StandbyLedger.open(directory, cosigners=cosigners_for(directory))


def _serve(ledger: "Ledger", listening: socket.socket, interval: int, announce: Any) -> None:
    """Answer until stopped. Raises what the ledger failed with: then nothing more can be promised."""
    from creditledger.ledger.clock import system_clock
    from creditledger.service.http_server import HttpServer
    from creditledger.service.page.page_routes import error_pages, page_routes
    from creditledger.service.pool.event_log import EventLog
    from creditledger.service.pool.gatehouse import Gatehouse
    from creditledger.service.pool.pool_server import PoolServer, pool_app
    from creditledger.service.pool.problems import MEDIA_TYPE, plain_problem

    failures: list[CreditLedgerError] = []

    def fail(error: CreditLedgerError) -> None:
        failures.append(error)
        http.stop()

    pool = PoolServer(ledger, interval_seconds=interval, events=EventLog(sys.stderr), on_failure=fail)
    refusal = plain_problem(400, "not HTTP")
    with Gatehouse(ledger) as gatehouse:
        app = pool_app(
            pool,
            more=[*gatehouse.routes, *page_routes(ledger, clock=system_clock)],
            middleware=[error_pages(ledger), gatehouse.middleware],
            submission_filter=gatehouse.submissions,
        )
        http = HttpServer(
            app,
            on_ready=announce,
            connection_seconds=CONNECTION_SECONDS,
            connections_max=CONNECTIONS_MAX,
            head_seconds=HEAD_SECONDS,
            head_bytes=HEAD_BYTES_MAX,
            refusal=(MEDIA_TYPE, refusal.body),
        )
        with pool:
            http.serve_on(listening)
    if failures:
        raise failures[0]


def _answer(ledger: "Ledger", address: str) -> dict[str, Any]:
    return {
        "directory": ledger.path,
        "ledger": ledger.id,
        "origin": ledger.origin,
        "address": address,
        "size": ledger.size,
    }

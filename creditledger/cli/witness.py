"""`witness`: cosign other people's logs over HTTP. Source: specs/cli.md §16."""

import contextlib
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.listening import (
    ends_on_sigterm,
    listen_option,
    ready_option,
    require_service,
    say_ready,
)
from creditledger.cli.options import json_option
from creditledger.cli.output import emit
from creditledger.errors import CreditLedgerError, KeyFormatError

if TYPE_CHECKING:
    from creditledger.service.witness_directory import WitnessDirectory
    from creditledger.transparency.note import VerifierKey


def _vkeys(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> "list[VerifierKey]":
    from creditledger.transparency.note import TYPE_ED25519, parse_verifier_key

    vkeys = [parse_verifier_key(text) for text in value]
    for vkey in vkeys:
        if vkey.key_type != TYPE_ED25519:
            raise KeyFormatError("not a log's key", expected="type 1", found=f"type {vkey.key_type}")
    return vkeys


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@listen_option
@click.option("--name", metavar="NAME", help="Name of the new witness. Default: the directory's.")
@click.option("--log", "vkeys", metavar="VKEY", multiple=True, callback=_vkeys, help="Watch this log too.")
@click.option("--ml-dsa", is_flag=True, help="Cosign with ML-DSA-44 too, from now on.")
@ready_option
@json_option
def witness(
    directory: Path,
    listen: tuple[str, int],
    name: str | None,
    vkeys: "list[VerifierKey]",
    ml_dsa: bool,
    ready_fd: int | None,
    as_json: bool,
) -> None:
    """Run a witness in DIR until it is stopped; the first time, make it with a fresh key.

    It watches the logs in DIR/logs. DIR is the witness: never run it from a copy or a backup."""
    require_service("a witness")
    from creditledger.service.http_server import address_of, listening_socket
    from creditledger.service.witness_directory import WitnessDirectory

    # Listening first: an address in use makes no directory.
    with ends_on_sigterm(), listening_socket(*listen) as listening:
        _make_if_new(directory, name)
        with contextlib.closing(WitnessDirectory(directory)) as opened:
            if name is not None:
                opened.require_name(name)
            if ml_dsa:
                opened.add_ml_dsa(random_bytes=os.urandom)
            opened.watch(vkeys)

            def announce() -> None:
                emit(_answer(directory, opened, address_of(listening)), as_json=as_json)
                sys.stdout.flush()
                say_ready(ready_fd, address_of(listening))

            _serve(opened, listening, announce)


def _make_if_new(directory: Path, name: str | None) -> None:
    from creditledger.service.witness_directory import WitnessDirectory

    if not WitnessDirectory.is_at(directory):
        chosen = directory.resolve().name if name is None else name
        WitnessDirectory.create(directory, name=chosen, random_bytes=os.urandom)


def _serve(opened: "WitnessDirectory", listening: socket.socket, announce: Callable[[], None]) -> None:
    """Answer until stopped. Raises what the state failed with: then nothing more can be promised."""
    from creditledger.ledger.clock import system_clock
    from creditledger.service.http_server import HttpServer
    from creditledger.service.witness_app import witness_app
    from creditledger.service.witness_desk import WitnessDesk

    failures: list[CreditLedgerError] = []

    def fail(error: CreditLedgerError) -> None:
        failures.append(error)
        server.stop()

    desk = WitnessDesk(opened.witness(), opened.state, opened.logs, clock=system_clock, on_failure=fail)
    server = HttpServer(witness_app(desk), on_ready=announce)
    server.serve_on(listening)
    if failures:
        raise failures[0]


def _answer(directory: Path, opened: "WitnessDirectory", address: str) -> dict[str, Any]:
    return {
        "directory": directory,
        "name": opened.name,
        "vkey": str(opened.signer.vkey),
        "ml_dsa_vkey": None if opened.second is None else str(opened.second.vkey),
        "address": address,
        "logs": len(opened.logs),
    }

"""`witness`: cosign other people's logs over HTTP. Source: specs/cli.md §16."""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.options import json_option
from creditledger.cli.output import emit
from creditledger.errors import CreditLedgerError, KeyFormatError, StorageError

if TYPE_CHECKING:
    from creditledger.service.witness_directory import WitnessDirectory
    from creditledger.transparency.note import VerifierKey


def _address(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_bracketed else host
    is_number = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535
    if not colon or not host or not is_number or (":" in host) != is_bracketed:
        raise click.BadParameter("expected HOST:PORT, or [IPV6]:PORT", ctx=ctx, param=param)
    return host, int(port)


def _vkeys(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> "list[VerifierKey]":
    from creditledger.transparency.note import TYPE_ED25519, parse_verifier_key

    vkeys = [parse_verifier_key(text) for text in value]
    for vkey in vkeys:
        if vkey.key_type != TYPE_ED25519:
            raise KeyFormatError("not a log's key", expected="type 1", found=f"type {vkey.key_type}")
    return vkeys


def _open_descriptor(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    if value is not None:
        try:
            os.fstat(value)
        except OSError:
            raise click.BadParameter(f"descriptor {value} is not open", ctx=ctx, param=param) from None
    return value


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--listen", required=True, metavar="HOST:PORT", callback=_address, help="Port 0: a free one.")
@click.option("--name", metavar="NAME", help="Name of the new witness. Default: the directory's.")
@click.option("--log", "vkeys", metavar="VKEY", multiple=True, callback=_vkeys, help="Watch this log too.")
@click.option("--ml-dsa", is_flag=True, help="Cosign with ML-DSA-44 too, from now on.")
@click.option(
    "--ready-fd",
    type=click.IntRange(0),
    metavar="N",
    callback=_open_descriptor,
    help="Write the address to descriptor N when listening.",
)
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
    _require_service()
    from creditledger.service.http_server import address_of, listening_socket
    from creditledger.service.witness_directory import WitnessDirectory

    # Listening first: an address in use makes no directory.
    with _ends_on_sigterm(), listening_socket(*listen) as listening:
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
                _say_ready(ready_fd, address_of(listening))

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


def _say_ready(descriptor: int | None, address: str) -> None:
    if descriptor is not None:
        with open(descriptor, "w") as ready:
            ready.write(address + "\n")


@contextlib.contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """Being told to end is no failure: exit code 0, whenever it comes."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise click.exceptions.Exit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _require_service() -> None:
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as missing:
        raise StorageError(
            "a witness needs the packages starlette and uvicorn: pip install 'creditledger[service]'"
        ) from missing

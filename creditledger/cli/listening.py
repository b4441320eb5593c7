"""Options and habits of the verbs that listen: `witness` and `serve`. Source: specs/cli.md §16, §23."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from types import FrameType
from typing import Any, Final

import click

from creditledger.errors import StorageError

SERVICE_PACKAGES: Final = ("starlette", "uvicorn", "httpx2", "jinja2", "prometheus_client")


def _address(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, int]:
    host, colon, port = value.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if is_bracketed else host
    is_number = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65_535
    if not colon or not host or not is_number or (":" in host) != is_bracketed:
        raise click.BadParameter("expected HOST:PORT, or [IPV6]:PORT", ctx=ctx, param=param)
    return host, int(port)


def optional_address(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, int] | None:
    """Host and port of an option that may be left out. Raises BadParameter."""
    return None if value is None else _address(ctx, param, value)


def _open_descriptor(ctx: click.Context, param: click.Parameter, value: int | None) -> int | None:
    if value is not None:
        try:
            os.fstat(value)
        except OSError:
            raise click.BadParameter(f"descriptor {value} is not open", ctx=ctx, param=param) from None
    return value


def listen_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--listen HOST:PORT``."""
    option = click.option(
        "--listen", required=True, metavar="HOST:PORT", callback=_address, help="Port 0: a free one."
    )
    return option(command)


def ready_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--ready-fd N``."""
    option = click.option(
        "--ready-fd",
        type=click.IntRange(0),
        metavar="N",
        callback=_open_descriptor,
        help="Write the address to descriptor N when listening.",
    )
    return option(command)


def say_ready(descriptor: int | None, address: str) -> None:
    """Write the address to whoever waits for it, once."""
    if descriptor is not None:
        with open(descriptor, "w") as ready:
            ready.write(address + "\n")


@contextlib.contextmanager
def ends_on_sigterm() -> Iterator[None]:
    """Being told to end is no failure: exit code 0, whenever it comes."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise click.exceptions.Exit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def require_service(what: str) -> None:
    """Raises StorageError where the extra ``service`` is not installed; ``what`` needs it."""
    missing = [package for package in SERVICE_PACKAGES if find_spec(package) is None]
    if missing:
        raise StorageError(
            f"{what} needs the packages of the extra service: pip install 'creditledger[service]'",
            found=f"no {', '.join(missing)}",
        )

"""Arguments and options that several verbs share. Source: specs/cli.md §1."""

from pathlib import Path
from typing import Any

import click

from creditledger.errors import MalformedRecordError, UnknownIdError

json_option = click.option("--json", "as_json", is_flag=True, help="Answer with JSON on stdout.")
ledger_argument = click.argument("ledger", type=click.Path(path_type=Path))
key_option = click.option(
    "--key", "key_path", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Key file."
)


class HexId(click.ParamType[bytes]):
    """An id of a fixed length as lower-case hex."""

    name = "hex"

    def __init__(self, length: int) -> None:
        self.length = length

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        """The id's bytes, or a usage error."""
        if isinstance(value, bytes):
            return value
        text = str(value)
        if len(text) != 2 * self.length or set(text) - set("0123456789abcdef"):
            self.fail(f"expected {2 * self.length} lower-case hex digits", param, ctx)
        return bytes.fromhex(text)


def id_option(length: int = 16) -> Any:
    """``--id HEX``: the record's id, so that a repeat is recognised."""
    return click.option(
        "--id", "given_id", type=HexId(length), help="Id of the record (hex); else a new one."
    )


def read_file(path: Path, *, most: int) -> bytes:
    """The bytes of a small input file. Missing: usage; longer than ``most``: malformed."""
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except (FileNotFoundError, IsADirectoryError):
        raise click.UsageError(f"no such file: {path}") from None
    if len(content) > most:
        raise MalformedRecordError(f"{path} is too long", expected=f"at most {most} bytes")
    return content


def require_known(found: Any, what: str, name: str) -> Any:
    """``found``, or UnknownIdError naming what was looked for."""
    if found is None:
        raise UnknownIdError(f"no {what} is known as {name[:80]}")
    return found

"""Arguments and options that several verbs share. Source: specs/cli.md §1."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from creditledger.errors import AmountError, KeyFormatError, MalformedRecordError, StorageError

Converter = Callable[[click.Context, click.Parameter, Any], Any]
Verb = TypeVar("Verb", bound=Callable[..., Any])

INPUT_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False, readable=False)
OUTPUT_FILE: Final = click.Path(path_type=Path, dir_okay=False)
KEY_BYTES_MAX: Final = 4_096
DEFAULT_MODEL: Final = "smollm2"
_POLICY: Final = "creditledger policy of the ledger at a URL"
_NEGATIVE: Final = re.compile(r"-[0-9]")


class AmountCommand(click.Command):
    """A verb with an amount among its arguments: ``-5`` is a bad amount, not an unknown option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As usual. Raises AmountError for what can only be a negative amount."""
        for given in args[: args.index("--")] if "--" in args else args:
            if _NEGATIVE.match(given):
                raise AmountError("amount is negative", expected="0 or more", found=ascii(given)[:60])
        return super().parse_args(ctx, args)


def hex_id(length: int) -> Converter:
    """Converts ``2 * length`` lower-case hex digits to bytes."""

    def convert(ctx: click.Context, param: click.Parameter, value: str | None) -> bytes | None:
        if value is None:
            return None
        if len(value) != 2 * length or set(value) - set("0123456789abcdef"):
            raise click.BadParameter(f"expected {2 * length} lower-case hex digits", ctx=ctx, param=param)
        return bytes.fromhex(value)

    return convert


def amount(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Converts ``2500000``, ``2.5credits`` or ``500gpu-h``. Raises MalformedRecordError, AmountError."""
    from creditledger.redemption.amount import parse_amount

    return None if value is None else parse_amount(value)


def key_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Refuses a file that is too long for a key. Raises KeyFormatError."""
    if value is not None and value.stat().st_size > KEY_BYTES_MAX:
        raise KeyFormatError("not a key file", expected=f"at most {KEY_BYTES_MAX} bytes")
    return value


def _remember_policy(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    ctx.meta[_POLICY] = value


def _ledger(ctx: click.Context, param: click.Parameter, value: str) -> Path:
    """A ledger's directory; of one at a URL, that of this machine's copy."""
    if not _is_url(value):
        return _ledger_directory(ctx, param, value)
    try:
        from creditledger.service.remote.copies import copy_of
    except ImportError as error:
        raise StorageError(
            "a ledger at a URL takes the package httpx2: pip install 'creditledger[service]'"
        ) from error
    policy = ctx.meta.get(_POLICY) or ctx.params.get("policy_path") or os.environ.get("CREDITLEDGER_POLICY")
    if policy is None:
        raise click.UsageError("a ledger at a URL is read under your own policy: name it with --policy")
    return copy_of(value, policy=Path(policy))


def _ledger_directory(ctx: click.Context, param: click.Parameter, value: str) -> Path:
    if _is_url(value):
        raise click.BadParameter("this verb takes a ledger's directory, not a URL", ctx, param)
    path = Path(value)
    # The head outlives the store: where it stands alone, a ledger was damaged, which is no bad argument.
    if not any((path / name).exists() for name in ("store", "head", "public")):
        raise click.BadParameter(f"there is no ledger in {value[:200]!r}", ctx, param)
    return path


def _ledger_or_url(ctx: click.Context, param: click.Parameter, value: str) -> Path | str:
    return value if _is_url(value) else _ledger_directory(ctx, param, value)


def _ledger_or_file(ctx: click.Context, param: click.Parameter, value: str) -> Path:
    return Path(value) if Path(value).is_file() else _ledger_directory(ctx, param, value)


def _is_url(value: str) -> bool:
    return value.startswith(("http://", "https://"))


json_option = click.option("--json", "as_json", is_flag=True, help="Answer with JSON on stdout.")


def ledger_argument(verb: Verb) -> Verb:
    """A ledger's directory, or its URL: then the verb gets that of its copy here, read under ``--policy``."""
    policy = click.option(
        "--policy",
        type=INPUT_FILE,
        envvar="CREDITLEDGER_POLICY",
        is_eager=True,
        expose_value=False,
        callback=_remember_policy,
        help="Where LEDGER is a URL: your policy for it.  [env: CREDITLEDGER_POLICY]",
    )
    return click.argument("ledger", callback=_ledger)(policy(verb))


place_argument = click.argument("ledger", callback=_ledger)
"""As `ledger_argument`, for a verb that has a ``--policy`` of its own."""
directory_argument = click.argument("ledger", callback=_ledger_directory)
"""A ledger's own directory: what the verb works on is shown by no server."""
published_argument = click.argument("ledger", callback=_ledger_or_url)
"""A directory, or the URL of a published log."""
measured_argument = click.argument("subject", metavar="LEDGER|PROFILE", callback=_ledger_or_file)
"""A ledger's directory, or the file of a calibration profile."""
key_option = click.option(
    "--key", "key_path", required=True, type=INPUT_FILE, callback=key_file, help="Key file that signs."
)
model_option = click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    metavar="PATH",
    help="A Llama-family GGUF file or safetensors folder.",
)
reason_option = click.option(
    "--reason", required=True, metavar="CODE", help="Why, as a name: a-z, 0-9, dot, dash, underscore."
)
id_option = click.option(
    "--id",
    "given_id",
    metavar="HEX",
    callback=hex_id(16),
    help="Id of the record, 32 hex digits: the same again is a success. Else a new one.",
)


def model_path(model: str) -> Path | None:
    """Where ``--model`` points; None for the packaged default. Raises UsageError if there is nothing."""
    path = None if model == DEFAULT_MODEL else Path(model)
    if path is not None and not path.exists():
        raise click.UsageError(f"no such model: {model[:200]}")
    return path


def read_input(path: Path, *, most: int) -> bytes:
    """The bytes of a small input file. Missing: usage; longer than ``most``: malformed.

    Raises UsageError, MalformedRecordError, StorageError."""
    content = read_start(path, most=most + 1)
    if len(content) > most:
        raise MalformedRecordError(f"{path} is too long", expected=f"at most {most} bytes")
    return content


def read_start(path: Path, *, most: int) -> bytes:
    """The first ``most`` bytes of an input file. Raises UsageError if there is none, StorageError."""
    try:
        with path.open("rb") as file:
            return file.read(most)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        raise click.UsageError(f"no such file: {path}") from None
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error

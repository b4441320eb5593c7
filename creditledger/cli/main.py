"""The console script: finds the verb, runs it, turns every error into one line and an exit code.

Source: specs/cli.md §1."""

import importlib
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from creditledger.cli.output import fail
from creditledger.errors import CreditLedgerError, StorageError

VERBS: Final = {
    "demo": "demo",
    "init": "pool",
    "register": "pool",
    "grant": "pool",
    "key": "keys",
    "append": "log",
    "status": "log",
    "checkpoint": "log",
    "audit": "log",
    "fsck": "log",
    "balance": "accounts",
    "statement": "accounts",
    "transfer": "accounts",
    "order": "work",
    "confirm": "work",
    "prove": "proofs",
    "verify": "proofs",
    "quote": "spending",
    "hold": "spending",
    "capture": "spending",
    "release": "spending",
    "run": "spending",
    "validate": "checks",
    "compare": "checks",
    "doctor": "doctor",
}
"""Each verb and the module of this package that holds it: loaded only when it is called."""


class Verbs(click.Group):
    """The verbs, imported one at a time so that each starts as fast as it can."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the order a newcomer meets them."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's command, or None for an unknown name."""
        module = VERBS.get(cmd_name)
        if module is None:
            return None
        found = importlib.import_module(f"creditledger.cli.{module}")
        command: click.Command = getattr(found, cmd_name)
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="creditledger", message="%(version)s")
def creditledger() -> None:
    """Compute credits: mint receipts for model layers, verify them offline, redeem them for GPU time."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb and exit with the code of DESIGN's table. Source: specs/cli.md §1."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(given))


def run(arguments: Sequence[str]) -> int:
    """Run one verb; the exit code. Errors become one line on stderr, or JSON on stdout with --json."""
    as_json = "--json" in arguments
    try:
        answer: Any = creditledger.main(args=list(arguments), prog_name="creditledger", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.Abort:
        return fail("Interrupted", "stopped by the user", exit_code=130, as_json=as_json)
    except click.ClickException as error:
        return fail("UsageError", error.format_message(), exit_code=2, as_json=as_json)
    except CreditLedgerError as error:
        return fail(
            type(error).__name__,
            str(error),
            expected=error.expected,
            found=error.found,
            exit_code=error.exit_code,
            as_json=as_json,
        )
    except OSError as error:
        return fail("StorageError", _os_message(error), exit_code=StorageError.exit_code, as_json=as_json)
    return answer if isinstance(answer, int) else 0


def _os_message(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or type(error).__name__}"

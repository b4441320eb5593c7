"""The console script: finds the verb, runs it, turns every error into one line and an exit code.

Source: specs/cli.md §1."""

import importlib
import os
import sys
from collections.abc import Sequence
from keyword import iskeyword
from typing import Any, Final

import click

from creditledger import __version__
from creditledger.cli.output import fail
from creditledger.errors import CreditLedgerError, ForkError, StorageError

VERBS: Final = {
    "demo": "demo",
    "init": "pool",
    "key": "keys",
    "register": "pool",
    "invite": "tokens",
    "admissions": "admissions",
    "admit": "admissions",
    "token": "tokens",
    "rotate": "rotation",
    "grant": "pool",
    "credit-line": "compensation",
    "slash": "compensation",
    "clawback": "compensation",
    "append": "log",
    "order": "work",
    "confirm": "work",
    "status": "log",
    "checkpoint": "log",
    "balance": "accounts",
    "statement": "statements",
    "export": "statements",
    "leaderboard": "leaderboard",
    "standing": "standing",
    "prove": "proofs",
    "evidence": "evidence",
    "verify": "verification",
    "audit": "published",
    "publish": "placing",
    "mirror": "placing",
    "move": "moving",
    "import": "archiving",
    "monitor": "monitoring",
    "fsck": "log",
    "forget": "retention",
    "prices": "prices",
    "quote": "spending",
    "hold": "spending",
    "capture": "spending",
    "release": "spending",
    "refund": "compensation",
    "levy": "compensation",
    "levy-payee": "compensation",
    "transfer": "spending",
    "delegate": "account_rules",
    "budget": "account_rules",
    "listing": "account_rules",
    "close": "account_rules",
    "run": "queues",
    "queue": "queue_verbs",
    "validate": "validators",
    "canary": "canaries",
    "witness": "witness",
    "serve": "serve",
    "page-link": "page_link",
    "shipping": "shipping",
    "calibrate": "calibrating",
    "compare": "kernels",
    "report": "reports",
    "sim": "simulating",
    "parameters": "parameters",
    "doctor": "doctor",
}
"""Each verb and the module of this package that holds it: loaded only when it is called."""

INTERRUPTED: Final = 130
OUR_BUG: Final = 70


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
        name = cmd_name.replace("-", "_")
        command: click.Command = getattr(found, f"{name}_" if iskeyword(name) else name)
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(version)s")
def creditledger() -> None:
    """Compute credits: mint receipts for model layers, verify them offline, redeem them for GPU time."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one verb and exit with the code of specs/cli.md §1."""
    exit_code = run(list(sys.argv[1:] if arguments is None else arguments))
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads on; the interpreter must not complain about it once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        exit_code = exit_code or StorageError.exit_code
    sys.exit(exit_code)


def run(arguments: Sequence[str]) -> int:
    """Run one verb; the exit code. Errors become one line on stderr, or JSON on stdout with --json."""
    as_json = wants_json(arguments)
    try:
        answer: Any = creditledger.main(args=list(arguments), prog_name="creditledger", standalone_mode=False)
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except SystemExit:
        # click ends so, with 1, when nobody reads its output any more.
        return StorageError.exit_code
    except click.Abort:
        return fail("Interrupted", "stopped by the user", exit_code=INTERRUPTED, as_json=as_json)
    except click.ClickException as error:
        return fail("UsageError", error.format_message(), exit_code=2, as_json=as_json)
    except CreditLedgerError as error:
        return fail_with(error, as_json=as_json)
    except OSError as error:
        return fail("StorageError", _os_message(error), exit_code=StorageError.exit_code, as_json=as_json)
    except Exception as error:
        # Never exit code 1: that would say "verification failed" of a record that was not even looked at.
        message = f"a bug in creditledger: {type(error).__name__}: {error}"
        return fail("InternalError", message, exit_code=OUR_BUG, as_json=as_json)
    return answer if isinstance(answer, int) else 0


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether ``--json`` is among our own arguments: what follows ``--`` is somebody else's."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return "--json" in own


def fail_with(error: CreditLedgerError, *, as_json: bool) -> int:
    """Report a typed error; its exit code."""
    return fail(
        type(error).__name__,
        str(error),
        expected=error.expected,
        found=error.found,
        evidence=error.file if isinstance(error, ForkError) else "",
        exit_code=error.exit_code,
        as_json=as_json,
    )


def _os_message(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or type(error).__name__}"

"""What a person hands to the commands: arguments, and files in text."""

import contextlib
import io
import tempfile
from functools import cache
from pathlib import Path

import click

from creditledger.cli.main import VERBS, creditledger
from creditledger.cli.parameters_file import read_parameters
from creditledger.cli.plan_file import parse_plan
from creditledger.errors import CreditLedgerError
from creditledger.ledger.founding import default_parameters
from creditledger.ledger.keyring import KeyFile, PublicKeyFile
from creditledger.records.parameters import Parameters
from creditledger.redemption.amount import format_amount, parse_amount
from creditledger.redemption.process_identity import ProcessIdentity
from fuzz.target import Target, is_inverse, stored
from ledger_pools import validator_seat

SPECS = Path(__file__).parents[2] / "specs"
ARGUMENTS_MAX = 64


def feed_arguments(data: bytes) -> bool:
    """Arguments apart by LF: every option and callback of the verb looks at them, the verb does not run."""
    # No system hands a NUL to a program.
    text = data.replace(b"\0", b"").decode("utf-8", "surrogateescape")
    verb, *arguments = text.split("\n")[:ARGUMENTS_MAX]
    with contextlib.redirect_stdout(io.StringIO()), click.Context(creditledger) as context:
        command = creditledger.get_command(context, verb)
        if command is None:
            return False
        try:
            command.make_context(verb, arguments)
        except click.exceptions.Exit:
            return True
        except (click.ClickException, CreditLedgerError, OSError):
            # The program answers an OSError, such as for a path that is too long, as a StorageError.
            return False
    return True


def argument_seeds() -> list[bytes]:
    words = {
        "verify": [__file__, "--policy", __file__, "--require", "vested", "--now", "2026-01-01", "--json"],
        "hold": [".", "2.5credits", "--queue", "a", "--ttl", "60", "--key", __file__, "--id", "0" * 32],
        "quote": [".", "--queue", "a", "--class", "h100", "--gpus", "1", "--seconds", "9", "-o", "q"],
        "transfer": [".", "5", "--to", "anna", "--key", __file__, "--", "-5"],
        "grant": [".", "anna", "500gpu-h", "--reason", "gift"],
    }
    helped = {verb: ["--help"] for verb in VERBS}
    return ["\n".join([verb, *given]).encode() for verb, given in [*words.items(), *helped.items()]]


@cache
def _own_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


@cache
def _defaults() -> Parameters:
    return default_parameters([validator_seat()], quorum=1)


def feed_settings(data: bytes) -> bool:
    """A pool's rules, a plan, a key file, an amount, a process's identity."""
    taken = [_is_parameters(data), _is_plan(data), _is_key(data)]
    with contextlib.suppress(CreditLedgerError):
        micro = parse_amount(data.decode("utf-8", "surrogateescape"))
        assert parse_amount(format_amount(micro)) == micro
        taken.append(True)
    taken.append(is_inverse(ProcessIdentity.parse, str, data.decode("latin-1")))
    return any(taken)


def _is_parameters(data: bytes) -> bool:
    path = Path(_own_folder().name) / "pool.toml"
    path.write_bytes(data)
    try:
        found = read_parameters(path).apply(_defaults())
    except (CreditLedgerError, click.UsageError):
        return False
    assert Parameters.decode(found.encode()) == found
    return True


def _is_plan(data: bytes) -> bool:
    try:
        spans = parse_plan(data, lambda name: name.encode("utf-8", "replace")[:32].ljust(32, b"\0"))
    except CreditLedgerError:
        return False
    assert all(span.layer_start < 2**16 for span in spans)
    return True


def _is_key(data: bytes) -> bool:
    taken = []
    for kind in (KeyFile, PublicKeyFile):
        with contextlib.suppress(CreditLedgerError):
            found = kind.decode(data)
            assert kind.decode(found.encode()) == found
            taken.append(True)
    return bool(taken)


def setting_seeds() -> list[bytes]:
    rules = (SPECS / "parameters.md").read_text().split("```toml\n")[1].split("```")[0]
    found = [rules.encode(), rules.replace('["a.key.pub"]', "[]").encode()]
    found += [
        rules.split("[committee]")[0].encode(),
        b"a." * 40 + b"b = 1",
        b'[rates]\nprobation = "1200credits"\n',
    ]
    for case in stored("ledger/key-files.json"):
        found += [row[side].encode() for row in case["cases"] for side in ("private", "public")]
    return [
        *found,
        b"0:10 anna\n10:30 bert\n# end\n",
        b"2.5credits",
        b"9223372036854775807",
        b"500gpu-h",
        b"1f-2:10:99",
    ]


EDGE_TARGETS = {
    "arguments": Target(
        feed=feed_arguments,
        seeds=argument_seeds,
        words=[
            b"\n--",
            b"\n-",
            b"--json",
            b"--id\n",
            b"--key\n",
            b"--help",
            b"=",
            b"\0",
            b"1e9",
            b"0x1",
            b"/dev/null",
        ],
    ),
    "settings": Target(
        feed=feed_settings,
        seeds=setting_seeds,
        seconds_max=0.1,  # a file of the operator's own, read by tomllib: 1 µs a byte
        words=[
            b"[[models]]\n",
            b"[a.b]\n",
            b" = ",
            b"1e9",
            b"nan",
            b"-1",
            b"9" * 30,
            b'"""',
            b"true",
            b"\\u0000",
            b"{",
            b"[",
        ],
    ),
}

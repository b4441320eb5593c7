"""`parameters check`: does cheating pay under these rules? Source: specs/cli.md §15."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from creditledger.cli.options import INPUT_FILE, json_option
from creditledger.cli.output import emit
from creditledger.errors import RefusedError

if TYPE_CHECKING:
    from creditledger.records.parameters import Parameters


@click.group()
def parameters() -> None:
    """Look at a pool's rules before founding it."""


@parameters.command("check")
@click.argument("file", metavar="FILE", type=INPUT_FILE)
@click.option("--receipt", "receipt", metavar="AMOUNT", help="What a usual receipt is worth (60credits).")
@click.option(
    "--colluding", type=click.IntRange(0, 99), default=0, help="Percent of validators who look away."
)
@json_option
def check(file: Path, receipt: str | None, colluding: int, as_json: bool) -> None:
    """Say whether cheating pays under the rules in FILE, and by what margin it does not.

    Without a committee in FILE, one validator is taken. Exits 6 if it pays."""
    from fractions import Fraction

    from creditledger.redemption.amount import parse_amount
    from creditledger.simulation.economics import RECEIPT_MICRO, Assumptions, Finding, examine

    assumed = Assumptions(
        colluding=Fraction(colluding, 100),
        receipt_micro=RECEIPT_MICRO if receipt is None else parse_amount(receipt),
    )
    answers = examine(_rules(file), assumed)
    rows = [
        {
            "question": answer.question,
            "finding": answer.finding.value,
            "found": answer.found,
            "wanted": answer.wanted,
        }
        for answer in answers
    ]
    broken = [answer for answer in answers if answer.finding is Finding.BROKEN]
    if broken:
        raise RefusedError(
            f"these rules do not hold: {', '.join(answer.question for answer in broken)}",
            expected=broken[0].wanted,
            found=broken[0].found,
        )
    if as_json:
        emit({"ok": True, "answers": rows}, as_json=True)
        return
    for row in rows:
        click.echo("{finding:<6}  {question}: {found}; wanted: {wanted}".format_map(row))


def _rules(file: Path) -> "Parameters":
    from creditledger.cli.parameters_file import read_parameters
    from creditledger.ledger.founding import default_parameters, member_of
    from creditledger.ledger.keyring import KeyFile, KeyRole

    rules = read_parameters(file)
    members = rules.members or [member_of(KeyFile.new(KeyRole.VALIDATOR, random_bytes=os.urandom))]
    return rules.apply(default_parameters(members, quorum=rules.quorum))

"""`admissions` and `admit`: who asks to join, and the operator's word. Source: specs/cli.md §24."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.opening import as_digest, reading
from creditledger.cli.options import json_option, ledger_argument
from creditledger.cli.output import emit, emit_rows
from creditledger.cli.tokens import gate_store
from creditledger.errors import ConflictError, UnknownIdError

if TYPE_CHECKING:
    from creditledger.service.pool.admission_desk import ApplicantRow, Applicants


@click.command()
@ledger_argument
@click.option("--all", "shows_all", is_flag=True, help="Also those who were admitted or refused.")
@json_option
def admissions(ledger: Path, shows_all: bool, as_json: bool) -> None:
    """List who waits to be admitted."""
    from creditledger.ledger.clock import system_clock
    from creditledger.service.pool.admission_desk import Applicants

    with gate_store(ledger) as store:
        rows = _shown(ledger, Applicants(store, clock=system_clock).listed())
    rows = [row for row in rows if shows_all or row["state"] == "waiting"]
    emit_rows(rows, as_json=as_json, title="waiting")


@click.command()
@ledger_argument
@click.argument("account")
@click.option("--refuse", "is_refusal", is_flag=True, help="Refuse instead.")
@json_option
def admit(ledger: Path, account: str, is_refusal: bool, as_json: bool) -> None:
    """Admit ACCOUNT, a hex id or the name it waits under; it registers as what it asked to be.

    The service signs the admission when the account asks again."""
    from creditledger.ledger.clock import system_clock
    from creditledger.service.pool.admission_desk import Applicants, Standing

    standing = Standing.REFUSED if is_refusal else Standing.ADMITTED
    with gate_store(ledger) as store:
        applicants = Applicants(store, clock=system_clock)
        row = applicants.decide(_applicant(applicants, account), standing)
        emit(_shown(ledger, [row])[0], as_json=as_json)


def _applicant(applicants: "Applicants", text: str) -> bytes:
    """Raises UnknownIdError; ConflictError where several wait under one name."""
    named = [row.account for row in applicants.listed() if text in (row.account.hex(), row.name)]
    if len(named) > 1:
        raise ConflictError("several ask to join under this name", expected="a hex id", found=text)
    if not named:
        found = as_digest(text)
        shown = ascii(text)[:80] if found is None else text
        raise UnknownIdError("nobody asks to join as this", expected="a hex id or the name", found=shown)
    return named[0]


def _shown(ledger: Path, rows: "list[ApplicantRow]") -> list[dict[str, Any]]:
    from creditledger.credits.reading import account_state
    from creditledger.records.registration import Role
    from creditledger.service.pool.admission_desk import Standing

    with reading(ledger) as opened, opened.read() as state:
        registered = {row.account for row in rows if account_state(state, row.account) is not None}
    return [
        {
            "account": row.account,
            "name": row.name,
            "role": Role(row.role).name.lower(),
            "state": "registered" if row.account in registered else Standing(row.standing).name.lower(),
            "asked_unix_ms": row.asked_unix_ms,
            "decided_unix_ms": row.decided_unix_ms or None,
        }
        for row in rows
    ]

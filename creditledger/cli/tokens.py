"""`token` and `invite`: what opens a pool's service, shown once. Source: specs/cli.md §24."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from creditledger.cli.duration import duration
from creditledger.cli.options import OUTPUT_FILE, directory_argument, hex_id, json_option
from creditledger.cli.output import emit, emit_rows
from creditledger.cli.output_file import output_file

if TYPE_CHECKING:
    from creditledger.ledger.lmdb_store import LmdbStore
    from creditledger.service.pool.tokens import TokenRow, Tokens

_SCOPES: Final = ("read", "submit", "metrics")
_ROLES: Final = ("node", "client", "queue")
_USES_MAX: Final = 1_000_000

_valid_option = click.option(
    "--valid", "valid_ms", default="90d", show_default=True, metavar="DURATION", callback=duration
)
_name_option = click.option("--name", default="unnamed", show_default=True, help="Whose it is.")
_file_option = click.option(
    "-o", "file", type=OUTPUT_FILE, help="Write it there, mode 0600, and do not show it."
)


@click.group()
def token() -> None:
    """Bearer tokens for a pool's service: what they open, until when."""


@token.command("new")
@directory_argument
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(_SCOPES),
    help="Default: read and submit.",
)
@_valid_option
@_name_option
@_file_option
@json_option
def new(
    ledger: Path, scopes: tuple[str, ...], valid_ms: int, name: str, file: Path | None, as_json: bool
) -> None:
    """Make a token. It is shown once: of its secret only the hash is kept."""
    _issue(ledger, scopes or ("read", "submit"), valid_ms, name, file, as_json=as_json)


@token.command("list")
@directory_argument
@json_option
def list_tokens(ledger: Path, as_json: bool) -> None:
    """List tokens and invitations, without their secrets."""
    with _tokens(ledger) as tokens:
        rows = [_shown(token_id, row) for token_id, row in tokens.listed()]
    emit_rows(rows, as_json=as_json, title="tokens")


@token.command()
@directory_argument
@click.argument("token_id", metavar="ID", callback=hex_id(8))
@json_option
def revoke(ledger: Path, token_id: bytes, as_json: bool) -> None:
    """End a token or invitation now, by the ID that `token list` shows."""
    with _tokens(ledger) as tokens:
        row = tokens.revoke(token_id)
    emit(_shown(token_id, row), as_json=as_json)


@click.command()
@directory_argument
@click.option(
    "--uses", type=click.IntRange(1, _USES_MAX), default=1, show_default=True, help="Accounts it admits."
)
@_valid_option
@click.option("--role", type=click.Choice(_ROLES), help="Only for accounts of this role.")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(_SCOPES), help="Opens this too, as a token does."
)
@_name_option
@_file_option
@json_option
def invite(
    ledger: Path,
    uses: int,
    valid_ms: int,
    role: str | None,
    scopes: tuple[str, ...],
    name: str,
    file: Path | None,
    as_json: bool,
) -> None:
    """Make an invitation: a token that admits accounts to a pool that admits by approval."""
    _issue(ledger, ("join", *scopes), valid_ms, name, file, uses=uses, role=role, as_json=as_json)


def _issue(
    ledger: Path,
    scopes: Sequence[str],
    valid_ms: int,
    name: str,
    file: Path | None,
    *,
    uses: int = 0,
    role: str | None = None,
    as_json: bool,
) -> None:
    """Make a token and hand it out: to ``file`` if there is one, else to stdout."""
    with _tokens(ledger) as tokens:
        if file is None:
            token_id, row, text = _issued(tokens, scopes, valid_ms, name, uses, role)
        else:
            with output_file(file, mode=0o600, replaces=False) as write:
                token_id, row, text = _issued(tokens, scopes, valid_ms, name, uses, role)
                write(text.encode() + b"\n")
    emit(_shown(token_id, row) | ({"token": text} if file is None else {"file": file}), as_json=as_json)


def _issued(
    tokens: "Tokens", scopes: Sequence[str], valid_ms: int, name: str, uses: int, role: str | None
) -> "tuple[bytes, TokenRow, str]":
    from creditledger.records.registration import Role
    from creditledger.service.pool.tokens import Scope

    made, row = tokens.issue(
        name=name,
        scopes=[Scope[scope.upper()] for scope in scopes],
        valid_ms=valid_ms,
        random_bytes=os.urandom,
        uses=uses,
        role=0 if role is None else Role[role.upper()],
    )
    return made.id, row, made.reveal()


def _shown(token_id: bytes, row: "TokenRow") -> dict[str, Any]:
    from creditledger.records.registration import Role
    from creditledger.service.pool.tokens import Scope, scope_names

    return {
        "id": token_id,
        "name": row.name,
        "scopes": scope_names(*Scope(row.scopes)),
        "created_unix_ms": row.created_unix_ms,
        "expires_unix_ms": row.expires_unix_ms,
        "revoked_unix_ms": row.revoked_unix_ms or None,
        "uses": row.uses or None,
        "used": row.used if row.uses else None,
        "role": Role(row.role).name.lower() if row.role else None,
    }


@contextmanager
def gate_store(ledger: Path) -> "Iterator[LmdbStore]":
    """Whom the service of the ledger in a directory lets in; the service may run meanwhile."""
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.service.pool.gate_store import open_gate_store

    store = open_gate_store(LedgerDirectory(ledger))
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _tokens(ledger: Path) -> "Iterator[Tokens]":
    from creditledger.ledger.clock import system_clock
    from creditledger.service.pool.tokens import Tokens

    with gate_store(ledger) as store:
        yield Tokens(store, clock=system_clock)

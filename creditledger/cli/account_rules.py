"""`delegate`, `budget`, `listing`, `close`: what an account says of itself. Source: specs/cli.md §9."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.opening import account_id, account_key, as_digest, new_id, signing_account, writing
from creditledger.cli.options import (
    AmountCommand,
    amount,
    id_option,
    json_option,
    key_option,
    ledger_argument,
)
from creditledger.cli.output import emit
from creditledger.cli.rounds import logged
from creditledger.errors import ConflictError, RoleError, UnknownIdError

if TYPE_CHECKING:
    from creditledger.credits.state import StateView
    from creditledger.ledger.ledger import Ledger
    from creditledger.records.account import Delegation

TIME_MAX = 2**63 - 1


@click.command(cls=AmountCommand)
@ledger_argument
@click.argument("delegate_text", metavar="TO")
@click.option("--cap", "cap_micro", required=True, metavar="AMOUNT", callback=amount)
@click.option("--until", "until_unix_ms", required=True, metavar="MS", type=click.IntRange(0, TIME_MAX))
@click.option("--queue", required=True, metavar="NAME", help="The queue at which TO may hold.")
@key_option
@json_option
def delegate(
    ledger: Path,
    delegate_text: str,
    cap_micro: int,
    until_unix_ms: int,
    queue: str,
    key_path: Path,
    as_json: bool,
) -> None:
    """Let TO, an account or a key that is none (64 hex digits, or its .pub file), hold for the key's account.

    Up to AMOUNT in all at one queue, until MS; --cap 0 takes it back. What TO has used stays counted."""
    from creditledger.records.account import Delegation

    with writing(ledger) as opened:
        signer = account_key(key_path, ledger_id=opened.id).ed25519()
        with opened.read() as state:
            record = Delegation(
                account=signing_account(opened, signer),
                delegate=_delegate(state, delegate_text, opened),
                cap_micro=cap_micro,
                until_unix_ms=until_unix_ms,
                queue=account_id(state, queue),
            )
        place = logged(opened, record, signer)
        answer: dict[str, Any] = {"delegation": record.digest(opened.id), "account": record.account}
        answer |= {"delegate": record.delegate, "queue": record.queue, "cap_micro": cap_micro}
        answer |= {"used_micro": _used(opened, record), "until_unix_ms": until_unix_ms}
        emit(answer | place, as_json=as_json)


def _used(opened: "Ledger", record: "Delegation") -> int:
    """What of it is used. Raises ConflictError if it was replaced: a repeat does not bring it back."""
    from creditledger.credits.reading import delegation

    with opened.read() as state:
        found = delegation(state, record.account, record.delegate, record.queue)
    if found is None or (found.cap_micro, found.until_unix_ms) != (record.cap_micro, record.until_unix_ms):
        raise ConflictError(
            "this delegation was replaced since: name another time to give it again",
            expected="another --until",
            found=str(record.until_unix_ms),
        )
    return found.used_micro


def _delegate(state: "StateView", text: str, opened: "Ledger") -> bytes:
    """An account's id, or a key: 64 hex digits, or what a key file says of its public side."""
    from creditledger.ledger.keyring import load_public_side

    try:
        return account_id(state, text)
    except UnknownIdError:
        raw = as_digest(text)
        if raw is not None:
            return raw
        if not Path(text).is_file():
            raise
    public, bound = load_public_side(Path(text))
    if bound not in (None, opened.id) or len(public) != 32:
        raise RoleError("the key is of another ledger or role", expected="an Ed25519 key", found=text[:80])
    return public


@click.command(cls=AmountCommand)
@ledger_argument
@click.option("--limit", "limit_micro", required=True, metavar="AMOUNT", callback=amount)
@click.option("--days", required=True, type=click.IntRange(1, 366), help="Today, UTC, and those before it.")
@click.option("--for", "delegate_text", metavar="TO", help="A delegate; else all that the account spends.")
@click.option("--notice", "notice_micro", default="0", metavar="AMOUNT", callback=amount)
@key_option
@id_option
@json_option
def budget(
    ledger: Path,
    limit_micro: int,
    days: int,
    delegate_text: str | None,
    notice_micro: int,
    key_path: Path,
    given_id: bytes | None,
    as_json: bool,
) -> None:
    """Bound what the key's account, or one delegate of it, spends over --days. Replaces the budget before.

    Below --notice readers say that little is left."""
    from creditledger.credits import reading as credits
    from creditledger.ledger.clock import system_clock
    from creditledger.records.account import Budget

    with writing(ledger) as opened:
        signer = account_key(key_path, ledger_id=opened.id).ed25519()
        with opened.read() as state:
            delegate = credits.WHOLE_ACCOUNT
            if delegate_text is not None:
                delegate = _delegate(state, delegate_text, opened)
        record = Budget(
            id=given_id or new_id(),
            account=signing_account(opened, signer),
            delegate=delegate,
            limit_micro=limit_micro,
            days=days,
            notice_micro=notice_micro,
        )
        place = logged(opened, record, signer)
        with opened.read() as state:
            found = credits.budget_of(state, record.account, delegate)
            spent = 0 if found is None else found.spent_micro(state, system_clock())
        answer: dict[str, Any] = {"budget": record.digest(opened.id), "id": record.id}
        answer |= {"account": record.account, "delegate": delegate if delegate_text else None}
        answer |= {"limit_micro": limit_micro, "days": days, "notice_micro": notice_micro}
        emit(answer | {"spent_micro": spent} | place, as_json=as_json)


@click.command()
@ledger_argument
@click.option("--off", "is_off", is_flag=True, help="Leaderboards leave the account out.")
@key_option
@id_option
@json_option
def listing(ledger: Path, is_off: bool, key_path: Path, given_id: bytes | None, as_json: bool) -> None:
    """Let leaderboards name the key's account, as they do at first, or with --off leave it out."""
    from creditledger.records.account import Listing

    with writing(ledger) as opened:
        signer = account_key(key_path, ledger_id=opened.id).ed25519()
        account = signing_account(opened, signer)
        record = Listing(id=given_id or new_id(), account=account, listed=int(not is_off))
        answer = {"listing": record.digest(opened.id), "id": record.id, "account": account}
        emit(answer | {"listed": not is_off} | logged(opened, record, signer), as_json=as_json)


@click.command()
@ledger_argument
@key_option
@json_option
def close(ledger: Path, key_path: Path, as_json: bool) -> None:
    """Close the key's account for ever. Nothing may be left in it, and nothing under way with it."""
    from creditledger.records.account import Closing

    with writing(ledger) as opened:
        signer = account_key(key_path, ledger_id=opened.id).ed25519()
        record = Closing(account=signing_account(opened, signer))
        answer = {"closing": record.digest(opened.id), "account": record.account}
        emit(answer | logged(opened, record, signer), as_json=as_json)

"""`credit-line`, `slash`, `clawback`, `refund`, `levy`, `levy-payee`: what a pool decides about money.

Source: specs/cli.md §20."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creditledger.cli.opening import account_id, account_key, key_of_account, new_id, writing
from creditledger.cli.options import (
    INPUT_FILE,
    AmountCommand,
    amount,
    hex_id,
    id_option,
    json_option,
    key_file,
    key_option,
    ledger_argument,
    reason_option,
)
from creditledger.cli.output import emit
from creditledger.cli.rounds import logged, placed

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Ledger
    from creditledger.records.record import Record

amount_argument = click.argument("amount_micro", metavar="AMOUNT", callback=amount)


@click.command(cls=AmountCommand)
@ledger_argument
@click.argument("account")
@amount_argument
@id_option
@json_option
def credit_line(ledger: Path, account: str, amount_micro: int, given_id: bytes | None, as_json: bool) -> None:
    """Let ACCOUNT go down to minus AMOUNT, once the committee certifies it. 0 takes the line away."""
    from creditledger.records.transfer import CreditLine

    with writing(ledger) as opened:
        with opened.read() as state:
            found = account_id(state, account)
        record = CreditLine(id=given_id or new_id(), account=found, limit_micro=amount_micro)
        answer = {"id": record.id, "account": found, "limit_micro": amount_micro}
        emit(answer | _decided(opened, record), as_json=as_json)


@click.command(cls=AmountCommand)
@ledger_argument
@click.argument("node")
@amount_argument
@reason_option
@id_option
@json_option
def slash(
    ledger: Path, node: str, amount_micro: int, reason: str, given_id: bytes | None, as_json: bool
) -> None:
    """Burn up to AMOUNT of what NODE has unvested, once the committee certifies it; ends a suspension."""
    from creditledger.records.transfer import Slash

    with writing(ledger) as opened:
        with opened.read() as state:
            found = account_id(state, node)
        record = Slash(id=given_id or new_id(), node=found, amount_micro=amount_micro, reason=reason)
        answer = {"id": record.id, "node": found, "amount_micro": amount_micro}
        emit(answer | _decided(opened, record), as_json=as_json)


@click.command(cls=AmountCommand)
@ledger_argument
@click.argument("job", callback=hex_id(32))
@click.argument("node")
@amount_argument
@reason_option
@click.option("--layer", default=0, show_default=True, type=click.IntRange(0, 2**16 - 1), help="First layer.")
@id_option
@json_option
def clawback(
    ledger: Path,
    job: bytes,
    node: str,
    amount_micro: int,
    reason: str,
    layer: int,
    given_id: bytes | None,
    as_json: bool,
) -> None:
    """Return up to AMOUNT of what JOB paid NODE, as far as it is unvested, to the job's client."""
    from creditledger.records.transfer import Clawback

    with writing(ledger) as opened:
        with opened.read() as state:
            found = account_id(state, node)
        record = Clawback(
            id=given_id or new_id(),
            job=job,
            node=found,
            layer_start=layer,
            amount_micro=amount_micro,
            reason=reason,
        )
        answer = {"id": record.id, "job": job, "node": found, "layer_start": layer}
        emit(answer | {"amount_micro": amount_micro} | _decided(opened, record), as_json=as_json)


@click.command(cls=AmountCommand)
@ledger_argument
@click.argument("capture", callback=hex_id(32))
@amount_argument
@reason_option
@click.option("--key", "key_path", type=INPUT_FILE, callback=key_file, help="Default: in LEDGER/keys.")
@id_option
@json_option
def refund(
    ledger: Path,
    capture: bytes,
    amount_micro: int,
    reason: str,
    key_path: Path | None,
    given_id: bytes | None,
    as_json: bool,
) -> None:
    """Give back AMOUNT of what CAPTURE took, out of its queue's own credits."""
    from creditledger.credits.captures import captured_sum
    from creditledger.credits.state import State
    from creditledger.records.transfer import Refund

    with writing(ledger) as opened:
        with opened.read() as state:
            queue = captured_sum(State(state), capture).queue
        path = key_path or key_of_account(opened, queue)
        signer = account_key(path, ledger_id=opened.id, role="queue").ed25519()
        record = Refund(
            id=given_id or new_id(), capture=capture, queue=queue, amount_micro=amount_micro, reason=reason
        )
        answer = {"refund": record.digest(opened.id), "id": record.id, "capture": capture}
        emit(answer | {"amount_micro": amount_micro} | logged(opened, record, signer), as_json=as_json)


@click.command()
@ledger_argument
@id_option
@json_option
def levy(ledger: Path, given_id: bytes | None, as_json: bool) -> None:
    """Pay out the levies that wait, as the parameters say, for the latest certified round."""
    from creditledger.credits.levies import levy_shares
    from creditledger.credits.reading import latest_certified_round
    from creditledger.errors import BusyError
    from creditledger.records.transfer import Levy

    with writing(ledger) as opened:
        with opened.read() as state:
            info = latest_certified_round(state)
            if info is None:
                raise BusyError("no round is certified yet", expected="a certified round", found="none")
            shares = levy_shares(state, info.round.number)
        record = Levy(id=given_id or new_id(), round=info.round.number, shares=shares)
        answer: dict[str, Any] = {
            "id": record.id,
            "levy_round": record.round,
            "shares": [{"account": share.account, "amount_micro": share.amount_micro} for share in shares],
        }
        emit(answer | _decided(opened, record), as_json=as_json)


@click.command()
@ledger_argument
@click.argument("account")
@key_option
@id_option
@json_option
def levy_payee(ledger: Path, account: str, key_path: Path, given_id: bytes | None, as_json: bool) -> None:
    """Say to which ACCOUNT a validator's part of the levies goes. FILE is the validator's key."""
    from creditledger.ledger.keyring import KeyRole, load_key
    from creditledger.records.transfer import LevyPayee

    with writing(ledger) as opened:
        signer = load_key(key_path, roles=(KeyRole.VALIDATOR,), ledger_id=opened.id).bls()
        with opened.read() as state:
            payee = account_id(state, account)
        record = LevyPayee(id=given_id or new_id(), validator=signer.public_key, payee=payee)
        answer = {"id": record.id, "validator": signer.public_key, "payee": payee}
        emit(answer | logged(opened, record, signer), as_json=as_json)


def _decided(opened: "Ledger", record: "Record") -> dict[str, Any]:
    """Log a record of the operator's; its digest and place."""
    acknowledgement = opened.append(opened.sign(record))
    return {"digest": record.digest(opened.id)} | placed(opened, acknowledgement)

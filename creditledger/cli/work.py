"""`order` and `confirm`: the client's bound before work, its countersignature after.

Source: specs/cli.md §7."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from creditledger.cli.notices import answer_with_notices, notices_after
from creditledger.cli.opening import account_id, account_key, signing_account, writing
from creditledger.cli.options import (
    INPUT_FILE,
    OUTPUT_FILE,
    amount,
    json_option,
    key_option,
    ledger_argument,
    read_input,
)
from creditledger.cli.output import emit
from creditledger.cli.output_file import output_file
from creditledger.cli.plan_file import PLAN_BYTES_MAX, parse_plan
from creditledger.cli.rounds import complete, covered, placed
from creditledger.errors import InsufficientCreditError, UnknownIdError

if TYPE_CHECKING:
    from creditledger.credits.state import StateView

JOB_BYTES_MAX = 65_535


@click.command()
@ledger_argument
@click.option("--model", required=True, metavar="DIGEST", help="A model of the pool: digest or name.")
@click.option("--plan", "plan_path", required=True, type=INPUT_FILE, help="Lines START:STOP ACCOUNT.")
@click.option("--positions", required=True, type=click.IntRange(1, 2**32 - 1), help="At most so many.")
@click.option("--max-price", required=True, metavar="AMOUNT", callback=amount, help="Nothing above is paid.")
@click.option("--expires", "expires_unix_ms", type=click.IntRange(0), metavar="MS", help="Default: in a day.")
@key_option
@click.option("-o", "job_path", required=True, metavar="JOB", type=OUTPUT_FILE, help="New file for the job.")
@json_option
def order(
    ledger: Path,
    model: str,
    plan_path: Path,
    positions: int,
    max_price: int,
    expires_unix_ms: int | None,
    key_path: Path,
    job_path: Path,
    as_json: bool,
) -> None:
    """Order work: log a job and the hold that covers it, and write JOB with its secret.

    Keep JOB to yourself: all salts of the job come from it, and `confirm` needs it."""
    from creditledger.redemption.wallet import Wallet

    with writing(ledger) as opened:
        signer = account_key(key_path, ledger_id=opened.id, role="client").ed25519()
        content = read_input(plan_path, most=PLAN_BYTES_MAX)
        with opened.read() as state:
            plan = parse_plan(content, lambda text: account_id(state, text))
            digest = _model(state, model)
            _require_covered(state, signing_account(opened, signer), max_price)
        with output_file(job_path, mode=0o600, replaces=False) as write:
            ordered = Wallet(opened, key=signer).order(digest, plan, positions, max_price, expires_unix_ms)
            write(ordered.encode())
        complete(opened)
        job = ordered.job.digest(opened.id)
        with opened.read() as state:
            index = _index_of(state, job)
        answer = {"job": job, "file": job_path, "max_price_micro": max_price, "index": index}
        answer |= covered(opened, index)
        notices = notices_after(opened, ordered.job.client)
    answer_with_notices(answer, notices, as_json=as_json)


def _model(state: "StateView", text: str) -> bytes:
    from creditledger.credits.reading import parameters_in_force

    models = parameters_in_force(state).models
    for terms in models:
        if text in (terms.name, terms.model.hex()):
            return terms.model
    raise UnknownIdError(
        "the pool lists no such model",
        expected=", ".join(terms.name for terms in models) or "a listed model",
        found=ascii(text)[:80],
    )


def _require_covered(state: "StateView", client: bytes, max_price: int) -> None:
    """So that a job whose hold would be refused does not come into the log."""
    from creditledger.credits.reading import account_state

    account = account_state(state, client)
    if account is None:
        raise UnknownIdError("the key is not registered here", found=client.hex())
    spendable = account.available_micro - account.overdrawn_micro + account.credit_line_micro
    if max_price > spendable:
        raise InsufficientCreditError(
            f"{account.name} cannot cover the amount",
            expected=f"{max_price} micro-credits",
            found=f"{spendable} micro-credits",
        )


def _index_of(state: "StateView", digest: bytes) -> int:
    from creditledger.credits.reading import consumed_index

    index = consumed_index(state, digest)
    if index is None:
        raise AssertionError("what was acknowledged is not in the log")
    return index


@click.command()
@ledger_argument
@click.argument("job_path", metavar="JOB", type=INPUT_FILE)
@key_option
@click.option("--keep-open", is_flag=True, help="More windows will come: do not close the job.")
@json_option
def confirm(ledger: Path, job_path: Path, key_path: Path, keep_open: bool, as_json: bool) -> None:
    """Countersign all receipts logged for JOB and close it: from then on it can be settled."""
    from creditledger.redemption.order import Order
    from creditledger.redemption.wallet import Wallet

    ordered = Order.decode(read_input(job_path, most=JOB_BYTES_MAX))
    with writing(ledger) as opened:
        signer = account_key(key_path, ledger_id=opened.id, role="client").ed25519()
        delivered = Wallet(opened, key=signer).confirm(ordered, closes=not keep_open)
        heads = [
            {"layer_start": head.layer_start, "node": head.node, "positions": head.positions}
            for head in delivered.delivery.heads
        ]
        answer = {"job": delivered.delivery.job, "closed": not keep_open, "heads": heads}
        emit(answer | placed(opened, delivered.acknowledgement), as_json=as_json)

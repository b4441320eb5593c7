"""`quote`, `hold`, `capture`, `release`, `transfer`: what credits buy. Source: specs/cli.md §9."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from creditledger.cli.notices import answer_with_notices, notices_after
from creditledger.cli.opening import (
    account_id,
    account_key,
    find_key_of_account,
    new_id,
    reading,
    signing_account,
    writing,
)
from creditledger.cli.options import (
    INPUT_FILE,
    OUTPUT_FILE,
    AmountCommand,
    amount,
    hex_id,
    id_option,
    json_option,
    key_file,
    key_option,
    ledger_argument,
    read_input,
)
from creditledger.cli.output import emit
from creditledger.cli.output_file import output_file
from creditledger.cli.rounds import logged, placed
from creditledger.errors import BusyError, RoleError, UnknownIdError

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Ledger
    from creditledger.transparency.keys import Ed25519Signer

QUOTE_BYTES_MAX = 1_024


@click.command()
@ledger_argument
@click.option("--queue", required=True, metavar="NAME", help="The queue that will run the job.")
@click.option("--class", "hardware", required=True, metavar="CLASS", help="Hardware class of the tariff.")
@click.option("--gpus", required=True, type=click.IntRange(1, 2**32 - 1))
@click.option("--seconds", required=True, type=click.IntRange(1, 10**9))
@click.option("--valid", "valid_seconds", type=click.IntRange(1, 10**9), default=900, show_default=True)
@click.option("--key", "key_path", type=INPUT_FILE, callback=key_file, help="The queue's: signs the quote.")
@click.option("-o", "quote_path", required=True, metavar="QUOTE", type=OUTPUT_FILE)
@json_option
def quote(
    ledger: Path,
    queue: str,
    hardware: str,
    gpus: int,
    seconds: int,
    valid_seconds: int,
    key_path: Path | None,
    quote_path: Path,
    as_json: bool,
) -> None:
    """Write what GPU time costs at a queue, under the tariff in force and for --valid seconds.

    Signed with the queue's key, --key or one in LEDGER/keys; without it the quote is as good for `hold`."""
    from creditledger.credits import reading as credits
    from creditledger.ledger.clock import system_clock
    from creditledger.records.registration import Role
    from creditledger.redemption.quote import make_quote
    from creditledger.redemption.signed_quote import sign_quote

    with reading(ledger) as opened, output_file(quote_path) as write:
        with opened.read() as state:
            found = account_id(state, queue)
            account = credits.account_state(state, found)
            if account is None or account.role != Role.QUEUE:
                raise RoleError("not a queue's account", expected="queue", found=queue[:80])
            parameters = credits.parameters_in_force(state)
            made = make_quote(
                parameters,
                opened.id,
                queue=found,
                hardware=hardware,
                gpus=gpus,
                duration_ms=seconds * 1_000,
                now_unix_ms=system_clock(),
                valid_ms=valid_seconds * 1_000,
            )
        signer = _quote_signer(opened, made.queue, key_path)
        write((made if signer is None else sign_quote(made, signer, opened.id)).encode())
    emit(
        {
            "queue": made.queue,
            "class": made.hardware,
            "gpus": made.gpus,
            "duration_ms": made.duration_ms,
            "micro_per_gpu_second": made.micro_per_gpu_second,
            "amount_micro": made.amount_micro,
            "expires_unix_ms": made.expires_unix_ms,
            "sequence": parameters.sequence,
            "signed": signer is not None,
            "file": quote_path,
        },
        as_json=as_json,
    )


def _quote_signer(opened: "Ledger", queue: bytes, key_path: Path | None) -> "Ed25519Signer | None":
    """The queue's key, if it is given or lies in the ledger's directory.

    Raises RoleError for a key that is given and not the queue's."""
    path = key_path or find_key_of_account(opened, queue)
    if path is None:
        return None
    signer = account_key(path, ledger_id=opened.id, role="queue").ed25519()
    if signing_account(opened, signer) != queue:
        raise RoleError("a quote is signed by its queue", expected=queue.hex(), found=path.name)
    return signer


@click.command()
@ledger_argument
@click.argument("quote_path", metavar="QUOTE", type=INPUT_FILE)
@key_option
@click.option("-o", "voucher_path", required=True, metavar="VOUCHER", type=OUTPUT_FILE)
@click.option("--for", "holder", metavar="ACCOUNT", help="Who pays, having delegated to the key.")
@id_option
@json_option
def hold(
    ledger: Path,
    quote_path: Path,
    key_path: Path,
    voucher_path: Path,
    holder: str | None,
    given_id: bytes | None,
    as_json: bool,
) -> None:
    """Set the quoted credits aside, and write the voucher that the queue takes."""
    from creditledger.redemption.signed_quote import decode_quote
    from creditledger.redemption.wallet import Wallet

    quoted = decode_quote(read_input(quote_path, most=QUOTE_BYTES_MAX))
    client_id = given_id or new_id()
    with writing(ledger) as opened, output_file(voucher_path) as write:
        signer = account_key(key_path, ledger_id=opened.id).ed25519()
        with opened.read() as state:
            payer = None if holder is None else account_id(state, holder)
        held = Wallet(opened, key=signer, account=payer).hold(quoted, client_id)
        place = placed(opened, held.acknowledgement)
        try:
            write(held.voucher)
        except BusyError as error:
            raise BusyError(
                f"the hold is logged, but {error}: repeat with --id {client_id.hex()} for its voucher",
                expected=error.expected,
                found=error.found,
            ) from error
        answer = {
            "hold": held.digest,
            "id": client_id,
            "holder": held.hold.holder,
            "amount_micro": held.hold.amount_micro,
            "queue": held.hold.queue,
            "expires_unix_ms": held.hold.expires_unix_ms,
            "file": voucher_path,
        }
        notices = notices_after(opened, held.hold.holder, delegate=held.hold.signer)
    answer_with_notices(answer | place, notices, as_json=as_json)


@click.command()
@ledger_argument
@click.argument("hold_digest", metavar="HOLD", callback=hex_id(32))
@click.argument("gpu_ms", metavar="GPU_MS", type=click.IntRange(0, 2**63 - 1))
@key_option
@id_option
@json_option
def capture(
    ledger: Path, hold_digest: bytes, gpu_ms: int, key_path: Path, given_id: bytes | None, as_json: bool
) -> None:
    """Take what GPU_MS milliseconds on one GPU cost out of HOLD. By its queue, once, in time."""
    from creditledger.credits.reading import hold_body
    from creditledger.credits.tariff import gpu_price
    from creditledger.records.transfer import Capture

    with writing(ledger) as opened:
        signer = account_key(key_path, ledger_id=opened.id, role="queue").ed25519()
        with opened.read() as state:
            body = hold_body(state, hold_digest)
        if body is None:
            raise UnknownIdError("no such hold", found=hold_digest.hex())
        price = body.micro_per_gpu_second
        record = Capture(
            id=given_id or new_id(),
            hold=hold_digest,
            queue=signing_account(opened, signer),
            gpu_ms=gpu_ms,
            amount_micro=gpu_price(gpus=1, duration_ms=gpu_ms, micro_per_gpu_second=price),
        )
        answer = {"capture": record.digest(opened.id), "id": record.id, "amount_micro": record.amount_micro}
        emit(answer | logged(opened, record, signer), as_json=as_json)


@click.command()
@ledger_argument
@click.argument("hold_digest", metavar="HOLD", callback=hex_id(32))
@key_option
@click.option("--reason", default="released", show_default=True, metavar="CODE")
@id_option
@json_option
def release(
    ledger: Path, hold_digest: bytes, key_path: Path, reason: str, given_id: bytes | None, as_json: bool
) -> None:
    """End HOLD and give back what was not captured. By its queue."""
    from creditledger.records.transfer import Release

    with writing(ledger) as opened:
        signer = account_key(key_path, ledger_id=opened.id, role="queue").ed25519()
        record = Release(
            id=given_id or new_id(), hold=hold_digest, queue=signing_account(opened, signer), reason=reason
        )
        answer = {"release": record.digest(opened.id), "id": record.id}
        emit(answer | logged(opened, record, signer), as_json=as_json)


@click.command(cls=AmountCommand)
@ledger_argument
@click.argument("payee", metavar="TO")
@click.argument("amount_micro", metavar="AMOUNT", callback=amount)
@key_option
@id_option
@json_option
def transfer(
    ledger: Path, payee: str, amount_micro: int, key_path: Path, given_id: bytes | None, as_json: bool
) -> None:
    """Pass credits of the key's account on to another, where the pool allows it."""
    from creditledger.records.transfer import Transfer

    with writing(ledger) as opened:
        signer = account_key(key_path, ledger_id=opened.id).ed25519()
        with opened.read() as state:
            receiver = account_id(state, payee)
        record = Transfer(
            id=given_id or new_id(),
            payer=signing_account(opened, signer),
            payee=receiver,
            amount_micro=amount_micro,
        )
        answer = {"transfer": record.digest(opened.id), "id": record.id, "payee": receiver}
        emit(answer | {"amount_micro": amount_micro} | logged(opened, record, signer), as_json=as_json)

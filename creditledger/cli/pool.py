"""`init`, `register` and `grant`: who the pool is. Source: specs/cli.md §4."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from creditledger.cli.opening import account_id, new_id, writing
from creditledger.cli.options import (
    INPUT_FILE,
    AmountCommand,
    amount,
    id_option,
    json_option,
    key_file,
    key_option,
    ledger_argument,
    reason_option,
)
from creditledger.cli.output import emit
from creditledger.cli.rotation import commitment, key_with_operator
from creditledger.cli.rounds import complete, placed

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Ledger


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--origin", required=True, help="The log's name in its checkpoints, like example.org/pool.")
@click.option("--parameters", "parameters_path", type=INPUT_FILE, help="The pool's rules as TOML.")
@click.option(
    "--require-ml-dsa",
    is_flag=True,
    help="Have readers refuse a checkpoint without the log's ML-DSA-44 line.",
)
@json_option
def init(
    directory: Path, origin: str, parameters_path: Path | None, require_ml_dsa: bool, as_json: bool
) -> None:
    """Found a ledger in DIR: keys, genesis, empty log, policy.

    Without --parameters, or with one that names no committee, it is a one-person pool: one
    validator and one local witness, whose keys lie in DIR/keys, so that every verb works at once."""
    with _found(directory, origin, parameters_path, requires_ml_dsa=require_ml_dsa) as ledger:
        complete(ledger)
        emit(
            {
                "ledger": ledger.id,
                "origin": ledger.origin,
                "path": directory,
                "policy": ledger.directory.policy,
                "keys": ledger.directory.keys,
                "local_validators": len(ledger.local_validators()),
                "quorum": ledger.genesis.parameters.quorum,
            },
            as_json=as_json,
        )


def _found(directory: Path, origin: str, parameters_path: Path | None, *, requires_ml_dsa: bool) -> "Ledger":
    from creditledger.cli.parameters_file import read_parameters
    from creditledger.ledger.founding import create_pool

    if parameters_path is None:
        return create_pool(directory, origin=origin, requires_ml_dsa=requires_ml_dsa)
    rules = read_parameters(parameters_path)
    return create_pool(
        directory,
        origin=origin,
        members=rules.members,
        quorum=rules.quorum,
        revise=rules.apply,
        profiles=rules.profiles,
        requires_ml_dsa=requires_ml_dsa,
    )


@click.command()
@ledger_argument
@click.argument("name")
@key_option
@click.option(
    "--next",
    "next_path",
    type=INPUT_FILE,
    callback=key_file,
    help="Key file to rotate to one day.",
)
@json_option
def register(ledger: Path, name: str, key_path: Path, next_path: Path | None, as_json: bool) -> None:
    """Open an account under NAME for the key in a key file, in the key's role.

    The file is bound to this ledger: no other will take it. Where the pool admits by approval,
    whoever has the operator's key approves by running this. The operator's own key registers to commit
    to its next one; that opens no account."""
    from creditledger.ledger.keyring import bind_key
    from creditledger.records.entry import Submission
    from creditledger.records.registration import Registration, Role

    with writing(ledger) as opened:
        key = key_with_operator(key_path, ledger_id=opened.id)
        signer = key.ed25519()
        record = Registration(
            account=signer.public_key,
            role=Role[key.role.name],
            name=name,
            next_key=commitment(next_path, key, ledger_id=opened.id),
            admission=b"" if key.role.name == "OPERATOR" else _admission(opened, signer.public_key),
        )
        signature = signer.sign(record.signing_bytes(opened.id))
        acknowledgement = opened.append(Submission(record=record, signature=signature))
        bind_key(key_path, ledger_id=opened.id)
        answer: dict[str, object] = {"account": signer.public_key, "name": name, "role": key.role.value}
        answer["next_key"] = record.next_key if next_path else None
        emit(answer | placed(opened, acknowledgement), as_json=as_json)


def _admission(ledger: "Ledger", account: bytes) -> bytes:
    """The operator's consent, where the pool asks for it; else empty."""
    from creditledger.credits.reading import parameters_in_force
    from creditledger.records.parameters import Admission
    from creditledger.records.registration import admission_bytes

    with ledger.read() as state:
        if parameters_in_force(state).admission != Admission.APPROVAL:
            return b""
    return ledger.operator_signer().sign(admission_bytes(account, ledger.id))


@click.command(cls=AmountCommand)
@ledger_argument
@click.argument("account")
@click.argument("amount_micro", metavar="AMOUNT", callback=amount)
@reason_option
@id_option
@json_option
def grant(
    ledger: Path, account: str, amount_micro: int, reason: str, given_id: bytes | None, as_json: bool
) -> None:
    """Give credits to ACCOUNT, in effect with the first round that the committee certifies over it."""
    from creditledger.records.transfer import Grant

    with writing(ledger) as opened:
        with opened.read() as state:
            receiver = account_id(state, account)
        record = Grant(id=given_id or new_id(), account=receiver, amount_micro=amount_micro, reason=reason)
        acknowledgement = opened.append(opened.sign(record))
        answer = {"grant": record.digest(opened.id), "id": record.id, "account": receiver}
        emit(answer | {"amount_micro": amount_micro} | placed(opened, acknowledgement), as_json=as_json)

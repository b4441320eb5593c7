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
    from creditledger.records.registration import Role
    from creditledger.transparency.keys import Ed25519Signer


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--origin", required=True, help="The log's name in its checkpoints, like example.org/pool.")
@click.option("--parameters", "parameters_path", type=INPUT_FILE, help="The pool's rules as TOML.")
@click.option(
    "--require-ml-dsa",
    is_flag=True,
    help="Have readers refuse a checkpoint without the log's ML-DSA-44 line.",
)
@click.option("--store", metavar="URL", help="Keep the ledger's rows in this PostgreSQL database.")
@json_option
def init(
    directory: Path,
    origin: str,
    parameters_path: Path | None,
    require_ml_dsa: bool,
    store: str | None,
    as_json: bool,
) -> None:
    """Found a ledger in DIR: keys, genesis, empty log, policy.

    Without --parameters, or with one that names no committee, it is a one-person pool: one
    validator and one local witness, whose keys lie in DIR/keys, so that every verb works at once."""
    with _found(directory, origin, parameters_path, require_ml_dsa, store) as ledger:
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


def _found(
    directory: Path, origin: str, parameters_path: Path | None, requires_ml_dsa: bool, store: str | None
) -> "Ledger":
    from creditledger.cli.parameters_file import read_parameters
    from creditledger.ledger.founding import create_pool

    if parameters_path is None:
        return create_pool(directory, origin=origin, requires_ml_dsa=requires_ml_dsa, store=store)
    rules = read_parameters(parameters_path)
    return create_pool(
        directory,
        origin=origin,
        members=rules.members,
        quorum=rules.quorum,
        revise=rules.apply,
        profiles=rules.profiles,
        requires_ml_dsa=requires_ml_dsa,
        store=store,
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
@click.option(
    "--invite", "invite_path", type=INPUT_FILE, help="Where LEDGER is a URL: the file of an invitation."
)
@json_option
def register(
    ledger: Path, name: str, key_path: Path, next_path: Path | None, invite_path: Path | None, as_json: bool
) -> None:
    """Open an account under NAME for the key in a key file, in the key's role.

    The file is bound to this ledger: no other will take it. Where the pool admits by approval,
    whoever has the operator's key approves by running this; a service is asked to, with an invitation or
    else again and again until its operator has decided. The operator's own key registers to commit
    to its next one; that opens no account."""
    from creditledger.ledger.keyring import bind_key
    from creditledger.records.entry import Submission
    from creditledger.records.registration import Registration, Role

    with writing(ledger) as opened:
        key = key_with_operator(key_path, ledger_id=opened.id)
        signer, role = key.ed25519(), Role[key.role.name]
        record = Registration(
            account=signer.public_key,
            role=role,
            name=name,
            next_key=commitment(next_path, key, ledger_id=opened.id),
            admission=_admission(opened, signer, name=name, role=role, invite=invite_path),
        )
        signature = signer.sign(record.signing_bytes(opened.id))
        acknowledgement = opened.append(Submission(record=record, signature=signature))
        bind_key(key_path, ledger_id=opened.id)
        answer: dict[str, object] = {"account": signer.public_key, "name": name, "role": key.role.value}
        answer["next_key"] = record.next_key if next_path else None
        emit(answer | placed(opened, acknowledgement), as_json=as_json)


def _admission(
    ledger: "Ledger", signer: "Ed25519Signer", *, name: str, role: "Role", invite: Path | None
) -> bytes:
    """The operator's consent, where the pool asks for it; else empty."""
    from creditledger.cli.joining import admission_at
    from creditledger.credits.reading import operator_keys, parameters_in_force
    from creditledger.ledger.remote_ledger import RemoteLedger
    from creditledger.records.parameters import Admission
    from creditledger.records.registration import admission_bytes

    with ledger.read() as state:
        is_asked = parameters_in_force(state).admission == Admission.APPROVAL
        operator = operator_keys(state)[-1][1]
    if not is_asked or signer.public_key == ledger.genesis.operator:
        return b""
    if isinstance(ledger, RemoteLedger) and not ledger.has_operator:
        return admission_at(
            ledger.url,
            signer,
            name=name,
            role=role,
            ledger_id=ledger.id,
            operator=operator,
            invite=invite,
        )
    return ledger.operator_signer().sign(admission_bytes(signer.public_key, ledger.id))


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

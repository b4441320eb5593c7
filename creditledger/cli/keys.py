"""`key new` and `key show`. Source: specs/cli.md §4."""

import os
from pathlib import Path

import click

from creditledger.cli.options import INPUT_FILE, json_option, key_file
from creditledger.cli.output import emit
from creditledger.errors import StorageError


@click.group()
def key() -> None:
    """Make key files and show their public side."""


@key.command("new")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--role",
    type=click.Choice(["node", "client", "queue", "operator", "witness", "validator"]),
    default="client",
    show_default=True,
)
@json_option
def new(file: Path, role: str, as_json: bool) -> None:
    """Write a new private key to FILE, mode 0600, and its public side to FILE.pub."""
    from creditledger.ledger.keyring import KeyFile, KeyRole, save_key, save_public_key

    for path in (file, public_path(file)):
        if path.exists():
            raise StorageError("key file exists", expected="a new path", found=str(path)[-100:])
    made = KeyFile.new(KeyRole(role), random_bytes=os.urandom)
    public = made.public()
    save_key(file, made)
    save_public_key(public_path(file), public)
    emit(
        {"role": role, "public": public.public, "file": file, "public_file": public_path(file)},
        as_json=as_json,
    )


@key.command("show")
@click.argument("file", type=INPUT_FILE, callback=key_file)
@json_option
def show(file: Path, as_json: bool) -> None:
    """Print what others may know of the key in FILE: never the secret."""
    from creditledger.ledger.keyring import load_key

    found = load_key(file)
    public = found.public()
    answer: dict[str, object] = {"role": found.role.value, "public": public.public}
    if public.audit_key:
        answer |= {"proof_of_possession": public.proof_of_possession, "audit_key": public.audit_key}
    emit(answer | {"ledger": found.ledger_id}, as_json=as_json)


def public_path(file: Path) -> Path:
    """Where the public side of a key file lies."""
    return file.with_name(file.name + ".pub")

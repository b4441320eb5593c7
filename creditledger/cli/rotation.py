"""`rotate`: an account's or the operator's key hands over to the one that it committed to.

Source: specs/cli.md §4."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from creditledger.cli.opening import writing
from creditledger.cli.options import INPUT_FILE, json_option, key_file, key_option, ledger_argument
from creditledger.cli.output import emit
from creditledger.cli.rounds import placed
from creditledger.errors import UnknownIdError

if TYPE_CHECKING:
    from creditledger.ledger.keyring import KeyFile
    from creditledger.ledger.ledger import Ledger
    from creditledger.ledger.writer import Acknowledgement
    from creditledger.records.entry import Submission


@click.command()
@ledger_argument
@key_option
@click.option(
    "--next", "next_path", required=True, type=INPUT_FILE, callback=key_file, help="The new key's file."
)
@click.option(
    "--then", "then_path", type=INPUT_FILE, callback=key_file, help="The key after that: commits to it."
)
@json_option
def rotate(ledger: Path, key_path: Path, next_path: Path, then_path: Path | None, as_json: bool) -> None:
    """Replace the key of the account that --key signs for by that of --next, which it has committed to.

    Both sign; from the next entry on the old key signs nothing any more. Without --then the new key is the
    account's last. Of the operator's key a copy of the new file is kept in LEDGER/keys if it is not there."""
    from creditledger.ledger.keyring import bind_key
    from creditledger.ledger.operator_keys import signed_rotation

    with writing(ledger) as opened:
        old = key_with_operator(key_path, ledger_id=opened.id)
        new = _key(next_path, old, ledger_id=opened.id)
        account = _account(opened, old)
        then = commitment(then_path, old, ledger_id=opened.id)
        signers = {"old": old.ed25519(), "new": new.ed25519()}
        submission = signed_rotation(opened.id, account=account, next_key=then, **signers)
        _require_present(opened, old, submission)
        if account == opened.genesis.operator:
            acknowledgement = _rotate_operator(opened, old, new, then)
        else:
            acknowledgement = opened.append(submission)
        bind_key(next_path, ledger_id=opened.id)
        answer: dict[str, object] = {"account": account, "role": old.role.value}
        answer |= {"old_key": old.ed25519().public_key, "new_key": new.ed25519().public_key}
        answer |= {"next_key": then if then_path else None, "from_index": acknowledgement.index + 1}
        emit(answer | placed(opened, acknowledgement), as_json=as_json)


def key_with_operator(path: Path, *, ledger_id: bytes) -> "KeyFile":
    """The key of an account, or the operator's. Raises KeyFormatError, StorageError, RoleError."""
    from creditledger.ledger.keyring import KeyRole, load_key

    roles = (KeyRole.NODE, KeyRole.CLIENT, KeyRole.QUEUE, KeyRole.OPERATOR)
    return load_key(path, roles=roles, ledger_id=ledger_id)


def commitment(path: Path | None, before: "KeyFile", *, ledger_id: bytes) -> bytes:
    """SHA-256 of the public key in a file of the same role as ``before``; zero for no file."""
    from hashlib import sha256

    from creditledger.quantities import ZERO_DIGEST

    if path is None:
        return ZERO_DIGEST
    return sha256(_key(path, before, ledger_id=ledger_id).ed25519().public_key).digest()


def _key(path: Path, before: "KeyFile", *, ledger_id: bytes) -> "KeyFile":
    from creditledger.ledger.keyring import load_key

    return load_key(path, roles=(before.role,), ledger_id=ledger_id)


def _account(opened: "Ledger", key: "KeyFile") -> bytes:
    """Whose key it is, or was before this very rotation, which may be repeated. Raises UnknownIdError."""
    from creditledger.credits.reading import key_state

    public = key.ed25519().public_key
    with opened.read() as state:
        found = key_state(state, public)
    if found is None and public != opened.genesis.operator:
        raise UnknownIdError("the key is not registered here", found=public.hex())
    return public if found is None else found.account


def _require_present(opened: "Ledger", old: "KeyFile", submission: "Submission") -> None:
    """The old key is in force, or was until this very rotation. Raises RoleError."""
    from creditledger.credits.reading import account_of_key, consumed_index

    with opened.read() as state:
        if consumed_index(state, submission.record.digest(opened.id)) is None:
            account_of_key(state, old.ed25519().public_key)


def _rotate_operator(opened: "Ledger", old: "KeyFile", new: "KeyFile", then: bytes) -> "Acknowledgement":
    """The new key lies where the next opening looks for it before it is in force."""
    from creditledger.errors import RefusedError, VerificationError
    from creditledger.ledger.operator_keys import keep_operator_key

    kept = keep_operator_key(opened.directory.keys, new, ledger_id=opened.id)
    try:
        return opened.rotate_operator(new.ed25519(), next_key=then, old=old.ed25519())
    except (RefusedError, VerificationError):
        if kept is not None:
            kept.unlink()
        raise

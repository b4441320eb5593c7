"""Opening what the command line names: ledgers, keys, accounts. Source: specs/cli.md §2."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from creditledger.errors import StorageError
from creditledger.ledger.naming import account_id as account_id
from creditledger.ledger.naming import as_digest as as_digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from creditledger.ledger.cosigning import Cosigner
    from creditledger.ledger.keyring import KeyFile
    from creditledger.ledger.ledger import Ledger
    from creditledger.transparency.keys import Ed25519Signer

KEY_FILES_MAX = 256


@contextmanager
def reading(path: Path) -> "Iterator[Ledger]":
    """The ledger in a directory, beside whoever writes it; a copy is brought up to date."""
    from creditledger.ledger.opening import open_ledger

    with open_ledger(path, read_only=True) as ledger:
        yield ledger


@contextmanager
def writing(path: Path) -> "Iterator[Ledger]":
    """The ledger in a directory, or what it is a copy of, to write.

    Waits ten seconds for another writer, then BusyError."""
    from creditledger.redemption.ledger_access import LedgerAccess

    with LedgerAccess(path, cosigners=cosigners_for(path)).writing() as ledger:
        yield ledger


def cosigners_for(path: Path) -> "Sequence[Cosigner]":
    """The witnesses with a URL in the policy of the ledger in a directory.

    Raises StorageError, MalformedRecordError; StorageError too where the extra ``service`` is missing."""
    from creditledger.ledger.directory import LedgerDirectory
    from creditledger.transparency.trust_policy import TrustPolicy

    directory = LedgerDirectory(path)
    if not directory.store.exists():
        return ()
    policy = TrustPolicy.load(directory.policy)
    if not any(witness.url for witness in policy.witnesses):
        return ()
    try:
        from creditledger.service.witness_client import cosigners_of
    except ImportError as error:
        raise StorageError(
            "the policy's witnesses are on the network: pip install 'creditledger[service]'"
        ) from error
    return cosigners_of(policy)


def is_writable(path: Path) -> bool:
    """Whether the operator's key in force lies in the ledger's directory, or only another in its place.

    Then writing says which key it takes."""
    from creditledger.ledger.operator_keys import operator_in

    with reading(path) as opened, opened.read() as state:
        if opened.is_remote:
            return False
        return operator_in(opened.directory.keys, state, opened.genesis) is not None


def signing_account(opened: "Ledger", signer: "Ed25519Signer") -> bytes:
    """The account that a key signs for now. Raises RoleError for a retired key."""
    from creditledger.credits.reading import account_of_key

    with opened.read() as state:
        return account_of_key(state, signer.public_key)


def account_key(path: Path, *, ledger_id: bytes, role: str = "") -> "KeyFile":
    """The key of an account: a node's, client's or queue's, or only of ``role``.

    Raises KeyFormatError, StorageError; RoleError for other roles and other ledgers."""
    from creditledger.ledger.keyring import KeyRole, load_key

    roles = (KeyRole(role),) if role else (KeyRole.NODE, KeyRole.CLIENT, KeyRole.QUEUE)
    return load_key(path, roles=roles, ledger_id=ledger_id)


def key_of_account(opened: "Ledger", account: bytes) -> Path:
    """The key file in the ledger's directory that signs for ``account``. Raises UsageError."""
    import click

    found = find_key_of_account(opened, account)
    if found is None:
        raise click.UsageError(f"no key of {account.hex()} in {opened.directory.keys}: name it with --key")
    return found


def key_in(path: Path, account: bytes) -> Path:
    """As `key_of_account`, for the ledger in a directory."""
    with reading(path) as ledger:
        return key_of_account(ledger, account)


def find_key_of_account(opened: "Ledger", account: bytes) -> Path | None:
    """The key file in the ledger's directory that signs for ``account``, or None."""
    from creditledger.errors import CreditLedgerError
    from creditledger.ledger.keyring import load_key

    for path in sorted(opened.directory.keys.glob("*.key"))[:KEY_FILES_MAX]:
        try:
            key = load_key(path).ed25519()
            if signing_account(opened, key) == account:
                return path
        except CreditLedgerError:
            continue
    return None


def new_id() -> bytes:
    """A fresh id for a record: 16 bytes that sort by time."""
    import os

    from creditledger.ledger.clock import system_clock
    from creditledger.redemption.client_id import new_client_id

    return new_client_id(now_unix_ms=system_clock(), random_bytes=os.urandom)

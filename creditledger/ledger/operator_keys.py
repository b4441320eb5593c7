"""The operator's keys: which one signs a log of a given size, and the signers that are at hand.

Source: specs/ledger.md §4 and §13."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import KeyFormatError, RoleError
from creditledger.ledger.directory import disk_errors
from creditledger.ledger.keyring import KeyFile, KeyRole, ed25519_in, load_key, save_key
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import Submission
from creditledger.records.parameters import Genesis
from creditledger.records.registration import Rotation
from creditledger.transparency.keys import Ed25519Signer

OPERATOR_KEY: Final = "operator.key"
NEXT_OPERATOR_KEY: Final = "operator-next.key"

OperatorAt = Callable[[int], bytes]
"""The operator's public key that signs heads and checkpoints of a size."""


def operator_at(state: StateView) -> OperatorAt:
    """As the fold has it: of a size that it has not reached, the latest it knows."""
    keys = reading.operator_keys(state)
    return lambda size: next(key for first, key in reversed(keys) if first <= size)


class OperatorSigners:
    """The operator's signers in this process: at any time one of them signs."""

    __slots__ = ("_signers",)

    def __init__(self, signer: Ed25519Signer | None) -> None:
        self._signers = {} if signer is None else {signer.public_key: signer}

    def in_force(self, state: StateView) -> Ed25519Signer:
        """The signer of the operator's key in force. Raises RoleError naming the key if it is not here."""
        wanted = reading.operator_keys(state)[-1][1]
        if wanted not in self._signers:
            raise RoleError(
                "writing takes the operator's key",
                expected=wanted.hex(),
                found=", ".join(key.hex() for key in self._signers) or "no key",
            )
        return self._signers[wanted]

    def add(self, signer: Ed25519Signer) -> None:
        """Have a signer at hand, so that a rotation to its key may be logged."""
        self._signers.setdefault(signer.public_key, signer)

    def require_successor(self, state: StateView, submission: Submission) -> None:
        """Raises RoleError for a rotation of the operator to a key that is not here.

        Logged, it would leave nobody who could sign the next head."""
        record = submission.record
        if not isinstance(record, Rotation) or record.account != reading.genesis(state).operator:
            return
        if record.new_key not in self._signers:
            raise RoleError(
                "the operator's next key must be at hand before it is in force",
                expected=record.new_key.hex(),
                found=", ".join(key.hex() for key in self._signers),
            )


def operator_in(keys: Path, state: StateView, genesis: Genesis) -> Ed25519Signer | None:
    """The signer of the operator's key in force among the files of a ``keys`` folder, by its public key.

    Else that of ``operator.key``, whose key the caller will find to be another, or None. Raises as
    `load_key` for that file only."""
    wanted = reading.operator_keys(state)[-1][1]
    with disk_errors(keys):
        files = sorted(keys.glob("*.key"))
    for path in files:
        try:
            key = load_key(path, roles=(KeyRole.OPERATOR,), ledger_id=genesis.ledger_id)
        except (KeyFormatError, RoleError):
            continue
        signer = key.ed25519()
        if signer.public_key == wanted:
            return signer
    return ed25519_in(keys / OPERATOR_KEY, KeyRole.OPERATOR, genesis)


def keep_operator_key(keys: Path, key: KeyFile, *, ledger_id: bytes) -> Path | None:
    """Write ``key`` into a ``keys`` folder, bound to the ledger; None if it lies there already.

    Raises StorageError."""
    public = key.ed25519().public_key
    with disk_errors(keys):
        files = sorted(keys.glob("*.key"))
    for path in files:
        with suppress(KeyFormatError, RoleError):
            found = load_key(path, roles=(KeyRole.OPERATOR,), ledger_id=ledger_id)
            if found.ed25519().public_key == public:
                return None
    kept = keys / f"operator-{public[:8].hex()}.key"
    save_key(kept, replace(key, ledger_id=ledger_id))
    return kept


def signed_rotation(
    ledger_id: bytes,
    *,
    account: bytes,
    old: Ed25519Signer,
    new: Ed25519Signer,
    next_key: bytes = ZERO_DIGEST,
) -> Submission:
    """``account`` (its id, 32 bytes) hands over from ``old`` to ``new``; both sign.

    ``next_key``: SHA-256 of the key after that; zero if it is the last. Source: specs/records.md §7."""
    record = Rotation(account=account, new_key=new.public_key, next_key=next_key, consent=bytes(64))
    record = record.replace(consent=new.sign(record.signing_bytes(ledger_id)))
    return Submission(record=record, signature=old.sign(record.signing_bytes(ledger_id)))

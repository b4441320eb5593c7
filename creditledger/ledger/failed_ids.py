"""Ids that failed for a reason that may pass: they stay failed, so that a late repeat surprises nobody.

They lie in the store beside the log, in the transaction that answers; no replay knows them.
Source: specs/ledger.md §5."""

from typing import Final

from creditledger.credits.fold import SignatureVerifier
from creditledger.credits.state import StateView
from creditledger.errors import (
    AccountClosedError,
    CreditLedgerError,
    FailedIdError,
    InsufficientCreditError,
    LimitError,
)
from creditledger.ledger.store import Prefixed
from creditledger.records.account import Budget, Listing
from creditledger.records.job import Job
from creditledger.records.record import Record
from creditledger.records.transfer import (
    Capture,
    Clawback,
    CreditLine,
    Grant,
    Hold,
    Levy,
    Refund,
    Release,
    Slash,
    Transfer,
)
from creditledger.transparency.certificate import Committee

FAILED: Final = b"f"
KEPT_MAX: Final = 1_024
"""Of each signer, the newest."""
PASSING: Final = (InsufficientCreditError, LimitError, AccountClosedError)
"""What another moment might have allowed. Any other refusal would come again."""

_ID: Final = b"i"
_ORDER: Final = b"o"
_NEXT: Final = b"n"
_PLACE_SIZE: Final = 8


class FailedIds:
    """The failed ids of every signer, in one transaction of a store."""

    __slots__ = ("_operator", "_view")

    def __init__(self, view: StateView, *, operator: bytes) -> None:
        """``view``: the store's. ``operator``: the account whose ids the operator's records bear."""
        self._view = Prefixed(view, FAILED)
        self._operator = operator

    def require_not_failed(self, record: Record) -> None:
        """Raises FailedIdError, which names the first reason, for an id that failed."""
        name = self._name(record)
        found = None if name is None else self._view.get(_ID + name)
        if found is not None:
            raise FailedIdError(
                "the id failed before and stays failed",
                expected="a new id",
                found=found[_PLACE_SIZE:].decode("ascii", "replace"),
            )

    def note(self, record: Record, error: CreditLedgerError) -> None:
        """Keep the record's id as failed if ``error`` is of `PASSING`; forget the signer's oldest beyond
        `KEPT_MAX`. Only for a record whose signer has signed it."""
        name = self._name(record)
        if name is None or not isinstance(error, PASSING):
            return
        signer = name[:32]
        place = int.from_bytes(self._view.get(_NEXT + signer) or b"", "big")
        at = place.to_bytes(_PLACE_SIZE, "big")
        self._view.put(_ID + name, at + type(error).__name__.encode("ascii"))
        self._view.put(_ORDER + signer + at, name[32:])
        self._view.put(_NEXT + signer, (place + 1).to_bytes(_PLACE_SIZE, "big"))
        if place >= KEPT_MAX:
            oldest = _ORDER + signer + (place - KEPT_MAX).to_bytes(_PLACE_SIZE, "big")
            self._view.delete(_ID + signer + (self._view.get(oldest) or b""))
            self._view.delete(oldest)

    def _name(self, record: Record) -> bytes | None:
        """Signer and id; None for a record without an id."""
        match record:
            case Hold():
                return record.signer + record.id
            case Transfer():
                return record.payer + record.id
            case Capture() | Release() | Refund():
                return record.queue + record.id
            case Job():
                return record.client + record.id
            case Budget() | Listing():
                return record.account + record.id
            case Grant() | CreditLine() | Slash() | Clawback() | Levy():
                return self._operator + record.id
        return None


class SignerSeen:
    """A `SignatureVerifier` that remembers whether one signature, the entry's own, was good."""

    __slots__ = ("_signature", "_verifier", "is_good")

    def __init__(self, verifier: SignatureVerifier, signature: bytes) -> None:
        self._verifier = verifier
        self._signature = signature
        self.is_good = False

    def ed25519(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """As the other verifier."""
        self._verifier.ed25519(public_key, message, signature)
        self.is_good = self.is_good or signature == self._signature

    def bls(self, public_key: bytes, message: bytes, signature: bytes) -> None:
        """As the other verifier."""
        self._verifier.bls(public_key, message, signature)

    def certificate(self, committee: Committee, statement: bytes, bitmap: bytes, aggregate: bytes) -> None:
        """As the other verifier."""
        self._verifier.certificate(committee, statement, bitmap, aggregate)

"""Compute credits: signed receipts for model layers, a verifiable log, spot checks, GPU time in return.

The names below are loaded when they are first used, so that importing the package costs nothing."""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from creditledger.errors import (
        AccountClosedError,
        ActivationError,
        AmountError,
        BusyError,
        CertificateError,
        ConflictError,
        ConsistencyProofError,
        CreditLedgerError,
        ExpiredError,
        FailedIdError,
        HoldClosedError,
        HoldExpiredError,
        InclusionProofError,
        InsufficientCreditError,
        IntegrityError,
        KeyFormatError,
        LimitError,
        MalformedBundleError,
        MalformedRecordError,
        OpeningError,
        PolicyError,
        RateLimitError,
        RefusedError,
        RoleError,
        RollbackError,
        SignatureError,
        StorageError,
        TokenError,
        UnknownIdError,
        VerificationError,
    )
    from creditledger.ledger.ledger import Ledger
    from creditledger.minting.minter import Minter
    from creditledger.minting.session import Session
    from creditledger.records.job import Job
    from creditledger.records.receipt import Delivery, Receipt
    from creditledger.redemption.voucher import Voucher
    from creditledger.redemption.wallet import Wallet
    from creditledger.transparency.trust_policy import TrustPolicy
    from creditledger.transparency.verification import verify_bundle
    from creditledger.validation.validator import Validator

__version__ = "0.1.0"

_HOMES: Final = {
    "Ledger": "creditledger.ledger.ledger",
    "Minter": "creditledger.minting.minter",
    "Session": "creditledger.minting.session",
    "Job": "creditledger.records.job",
    "Receipt": "creditledger.records.receipt",
    "Delivery": "creditledger.records.receipt",
    "Validator": "creditledger.validation.validator",
    "Wallet": "creditledger.redemption.wallet",
    "Voucher": "creditledger.redemption.voucher",
    "TrustPolicy": "creditledger.transparency.trust_policy",
    "verify_bundle": "creditledger.transparency.verification",
}

__all__ = [
    "AccountClosedError",
    "ActivationError",
    "AmountError",
    "BusyError",
    "CertificateError",
    "ConflictError",
    "ConsistencyProofError",
    "CreditLedgerError",
    "Delivery",
    "ExpiredError",
    "FailedIdError",
    "HoldClosedError",
    "HoldExpiredError",
    "InclusionProofError",
    "InsufficientCreditError",
    "IntegrityError",
    "Job",
    "KeyFormatError",
    "Ledger",
    "LimitError",
    "MalformedBundleError",
    "MalformedRecordError",
    "Minter",
    "OpeningError",
    "PolicyError",
    "RateLimitError",
    "Receipt",
    "RefusedError",
    "RoleError",
    "RollbackError",
    "Session",
    "SignatureError",
    "StorageError",
    "TokenError",
    "TrustPolicy",
    "UnknownIdError",
    "Validator",
    "VerificationError",
    "Voucher",
    "Wallet",
    "verify_bundle",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "creditledger.errors")), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

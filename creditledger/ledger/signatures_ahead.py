"""Signatures of a group, checked on all processors before the one writer takes its turn.

Source: specs/ledger.md §5."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from creditledger.credits.fold import TransparencyVerifier
from creditledger.credits.key_history import key_in_force
from creditledger.credits.state import State, StateView
from creditledger.errors import SignatureError
from creditledger.records.account import Budget, Closing, Delegation, Listing
from creditledger.records.entry import Submission
from creditledger.records.job import Job
from creditledger.records.receipt import Batch, Delivery
from creditledger.records.record import Record
from creditledger.records.registration import Registration, Rotation
from creditledger.records.transfer import Capture, Hold, Refund, Release, Transfer

GROUP_MIN: Final = 16
"""Fewer signatures are checked sooner than threads start."""
_CHUNK: Final = 16


def claimed_account(record: Record) -> bytes | None:
    """The account, or the delegate's key, that a record says it is signed by; None for the operator's and the
    committee's records."""
    match record:
        case Registration() | Rotation() | Delegation() | Budget() | Closing() | Listing():
            return record.account
        case Job() | Delivery():
            return record.client
        case Hold():
            return record.signer
        case Transfer():
            return record.payer
        case Capture() | Release() | Refund():
            return record.queue
        case Batch():
            return record.node
    return None


def check_ahead(
    state: StateView, submissions: Sequence[Submission], *, ledger_id: bytes, verifier: TransparencyVerifier
) -> None:
    """Have ``verifier`` remember what holds of a group's account signatures.

    What does not hold, and all other signatures, are for the fold to refuse or to check."""
    threads = os.cpu_count() or 1
    unknown = [one for one in submissions if not verifier.has_held(one.signature)]
    if threads < 2 or len(unknown) < GROUP_MIN:
        return
    checks = [
        (key_in_force(State(state), account), one.record.signing_bytes(ledger_id), one.signature)
        for one in unknown
        if (account := claimed_account(one.record)) is not None
    ]

    def check(start: int) -> None:
        for key, message, signature in checks[start : start + _CHUNK]:
            try:
                verifier.ed25519(key, message, signature)
            except SignatureError:
                continue

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(check, range(0, len(checks), _CHUNK)))


def checked_key(
    state: StateView, submission: Submission, *, ledger_id: bytes, verifier: TransparencyVerifier
) -> bytes:
    """The account's key that a submission's signature was checked with and holds by; else empty."""
    account = claimed_account(submission.record)
    if account is None:
        return b""
    key = key_in_force(State(state), account)
    try:
        verifier.ed25519(key, submission.record.signing_bytes(ledger_id), submission.signature)
    except SignatureError:
        return b""
    return key

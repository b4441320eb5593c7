"""Whose share a submission takes, and who registers as what: looked at before the writer.

Source: specs/service.md §4."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import CreditLedgerError, SignatureError
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.signatures_ahead import claimed_account
from creditledger.records.entry import Submission
from creditledger.records.record import Record
from creditledger.records.registration import Registration
from creditledger.records.transfer import DelegatedHold
from creditledger.service.pool.admission_desk import AdmissionDesk
from creditledger.service.pool.rate_limits import Asker, RateLimits, Share

_STRANGERS: Final = Asker(Share.STRANGERS)


class SubmissionGate:
    """Hands a group of submissions on to the writer, or says why not. For many threads."""

    __slots__ = ("_desk", "_ledger", "_limits")

    def __init__(self, ledger: Ledger, limits: RateLimits, desk: AdmissionDesk) -> None:
        self._ledger = ledger
        self._limits = limits
        self._desk = desk

    def check(self, submissions: Sequence[Submission], token: str | None) -> list[CreditLedgerError | None]:
        """For each submission None, or why it goes no further; in order. ``token``: the id, in hex, of the
        request's token, if it has one.

        A share is an account's only where its key in force has signed, so nobody uses up another's. What the
        ledger's rules refuse is for them to say. Raises RateLimitError where a share is used up: then nothing
        was taken, and nothing of the group goes further; StorageError."""
        with self._ledger.read() as state:
            askers = [_asker(state, submission, self._ledger, token) for submission in submissions]
        self._limits.take_all(Counter(asker for asker in askers if asker is not None))
        return [self._refusal(submission.record) for submission in submissions]

    def _refusal(self, record: Record) -> CreditLedgerError | None:
        if isinstance(record, Registration):
            try:
                self._desk.require_as_admitted(record.account, name=record.name, role=record.role)
            except CreditLedgerError as error:
                return error
        return None


def _asker(state: StateView, submission: Submission, ledger: Ledger, token: str | None) -> Asker | None:
    """Whose share a submission takes; None for the operator, whose pool it is."""
    account = claimed_account(submission.record)
    if account is None:
        key, asker = reading.operator_keys(state)[-1][1], None
    elif _is_known(state, submission.record, account):
        keys = reading.keys_of(state, account)
        key, asker = keys[-1][1] if keys else account, Asker(Share.ACCOUNT, account)
    else:
        return _stranger(token)
    return asker if _is_signed(submission, key, ledger) else _stranger(token)


def _stranger(token: str | None) -> Asker:
    return _STRANGERS if token is None else Asker(Share.TOKEN, bytes.fromhex(token))


def _is_known(state: StateView, record: Record, account: bytes) -> bool:
    """Whether the ledger knows the account, or a delegation to the machine whose key it is."""
    if reading.account_state(state, account) is not None:
        return True
    if isinstance(record, DelegatedHold):
        return reading.delegation(state, record.holder, account, record.queue) is not None
    return False


def _is_signed(submission: Submission, key: bytes, ledger: Ledger) -> bool:
    # A committee's signature is none of this kind: to check it costs far more, and is left to the fold.
    message = submission.record.signing_bytes(ledger.id)
    try:
        ledger.verifier.ed25519(key, message, submission.signature)
    except SignatureError:
        return False
    return True

"""The error tree, sorted by what the caller does next. Source: specs/errors.md."""


class CreditLedgerError(Exception):
    """Base of every error this package raises on purpose.

    ``expected`` and ``found`` say, in bounded text, what was wanted and what was there."""

    exit_code = 1

    def __init__(self, message: str, *, expected: str = "", found: str = "") -> None:
        super().__init__(message[:500])
        self.expected = expected[:200]
        self.found = found[:200]


class MalformedRecordError(CreditLedgerError):
    """The bytes are not a record: reject them and do not ask again."""

    exit_code = 2


class ActivationError(MalformedRecordError):
    """The array is not the one the function promises to handle (shape, dtype, finiteness)."""


class KeyFormatError(MalformedRecordError):
    """The bytes are not a usable key: wrong length, low order, not canonical, or of another role."""


class VerificationError(CreditLedgerError):
    """A proof does not hold: distrust whoever sent it."""

    exit_code = 1


class MalformedBundleError(VerificationError):
    """The file is not a bundle, or carries more or less than its kind asks for."""


class SignatureError(VerificationError):
    """A signature does not verify."""


class InclusionProofError(VerificationError):
    """An entry is not proven to be in the tree."""


class ConsistencyProofError(VerificationError):
    """Two tree heads are not proven to be of one history."""


class ForkError(ConsistencyProofError):
    """A log signed two histories, and ``evidence`` (specs/log.md §13) convinces anybody of it."""

    def __init__(
        self,
        message: str,
        *,
        evidence: bytes,
        sizes: tuple[int, int],
        file: str = "",
        expected: str = "",
        found: str = "",
    ) -> None:
        """``sizes``: of the two trees. ``file``: where the evidence was written, if it was."""
        super().__init__(message, expected=expected, found=found)
        self.evidence = evidence
        self.sizes = sizes
        self.file = file


class OpeningError(VerificationError):
    """What was revealed is not what was committed to."""


class CertificateError(VerificationError):
    """A round is not certified by a quorum of the committee."""


class PolicyError(VerificationError):
    """The bundle does not reach what the reader's policy or requirement asks for."""


class BusyError(CreditLedgerError):
    """Someone else holds what is needed, or it is not there yet: try again later."""

    exit_code = 3


class RateLimitError(BusyError):
    """A key, a token or the shared allowance of strangers has used up its share for now."""

    def __init__(self, message: str, *, expected: str = "", found: str = "", retry_after_s: int = 1) -> None:
        """``retry_after_s``: whole seconds, at least 1, after which the same may be asked again."""
        super().__init__(message, expected=expected, found=found)
        self.retry_after_s = retry_after_s


class IntegrityError(CreditLedgerError):
    """Stored data contradicts itself or its signed head: stop, and do not write."""

    exit_code = 4


class RollbackError(IntegrityError):
    """The store is older than its head file: a backup was restored. Refuse to write."""


class StorageError(CreditLedgerError):
    """Disk, file or server failed: nothing was acknowledged; repair, reopen, retry by id."""

    exit_code = 5


class RefusedError(CreditLedgerError):
    """A rule says no. Sending the same again will not help."""

    exit_code = 6


class ConflictError(RefusedError):
    """The id was used before, with other content."""


class UnknownIdError(RefusedError):
    """Nothing is known under this id."""


class RoleError(RefusedError):
    """The key has another role, or belongs to another ledger."""


class TokenError(RefusedError):
    """A bearer token or invitation is missing, unknown, expired, revoked or used up."""


class InsufficientCreditError(RefusedError):
    """The account cannot cover the amount."""


class LimitError(RefusedError):
    """A budget or a delegation's cap is used up."""


class AccountClosedError(RefusedError):
    """The account was closed: it signs nothing and receives nothing any more."""


class FailedIdError(RefusedError):
    """The id failed before, for a reason that may have passed: it stays failed. Try again under a new id."""


class AmountError(RefusedError):
    """An amount is outside 0..2^63-1, or a sum would be."""


class HoldExpiredError(RefusedError):
    """The hold's time is over."""


class HoldClosedError(RefusedError):
    """The hold has ended already."""


class ExpiredError(RefusedError):
    """A job, quote or other offer is no longer valid."""

"""What a validator found, committed before it is shown. Source: specs/records.md §11."""

import hashlib
from enum import IntEnum
from typing import Annotated, ClassVar, Final

from creditledger.errors import MalformedRecordError
from creditledger.quantities import (
    Code,
    Count,
    Digest,
    MemberIndex,
    RoundNumber,
    Salt,
    unsigned,
)
from creditledger.records.kinds import Kind
from creditledger.records.record import Record

CUSUM_STEP_BIAS: Final = 6_000_000


class Outcome(IntEnum):
    """The three answers of a check; 0 stands for no check yet."""

    UNCHECKED = 0
    UPHELD = 1
    REFUTED = 2
    INCONCLUSIVE = 3


class Reason(IntEnum):
    """Why a check came out as it did."""

    MATCH = 1
    RATIO = 2
    TAIL = 3
    RESOLUTION = 4
    TOO_SHORT = 5
    NO_DATA = 6
    OPENING = 7
    BROKEN_LINK = 8
    NO_PROFILE = 9
    TOKENS = 10


_JUDGED: Final = frozenset((Outcome.UPHELD, Outcome.REFUTED, Outcome.INCONCLUSIVE))
_REASONS: Final = frozenset(Reason)


class Verdict(Record):
    """One validator's judgement of one receipt."""

    KIND: ClassVar[Kind] = Kind.VERDICT

    round: RoundNumber
    member: MemberIndex
    receipt: Digest
    outcome: Code
    reason: Code
    cusum_step_biased: Annotated[int, unsigned(2 * CUSUM_STEP_BIAS)]
    """The clipped CUSUM step in 10^-6, plus 6,000,000."""
    evidence: Digest
    """Salted digest of the raw statistics, which stay sealed."""

    def check_rules(self) -> None:
        if self.outcome not in _JUDGED:
            raise MalformedRecordError("outcome is not known", found=str(self.outcome))
        if self.reason not in _REASONS:
            raise MalformedRecordError("reason is not known", found=str(self.reason))


class Commit(Record):
    """A validator binds itself to its verdicts of a round without showing them."""

    KIND: ClassVar[Kind] = Kind.COMMIT

    round: RoundNumber
    member: MemberIndex
    count: Count
    commitment: Digest


class Reveal(Record):
    """The opening of a `Commit`; the bodies beside it are the verdicts in order."""

    KIND: ClassVar[Kind] = Kind.REVEAL

    round: RoundNumber
    member: MemberIndex
    count: Count
    root: Digest
    """RFC 6962 root over the encoded verdicts."""
    salt: Salt


def verdict_commitment(*, member_key: bytes, root: bytes, salt: bytes) -> bytes:
    """SHA-256("creditledger/v1/verdicts\\0" || BLS key || salt || root). Source: specs/check.md §8."""
    return hashlib.sha256(b"creditledger/v1/verdicts\0" + member_key + salt + root).digest()


class Canary(Record):
    """Opens, after the verdicts, a receipt that was wrong on purpose."""

    KIND: ClassVar[Kind] = Kind.CANARY

    receipt: Digest
    round: RoundNumber
    salt: Salt


class CanaryCommit(Record):
    """The operator binds itself to a wrong receipt of its own making, without saying which."""

    KIND: ClassVar[Kind] = Kind.CANARY_COMMIT

    commitment: Digest


def canary_commitment(*, receipt: bytes, salt: bytes) -> bytes:
    """SHA-256("creditledger/v1/canary-commitment\\0" || salt || receipt digest).

    Source: specs/credits.md §12."""
    return hashlib.sha256(b"creditledger/v1/canary-commitment\0" + salt + receipt).digest()

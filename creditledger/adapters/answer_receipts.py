"""What a node gives the client with an answer: its receipts, and the tokens that they commit to.

Source: specs/service.md §8."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from creditledger.errors import MalformedRecordError
from creditledger.minting.receipt_maker import MintedReceipt
from creditledger.quantities import Digest
from creditledger.records import canonical
from creditledger.records.receipt import Receipt

_TAG: Final = b"cl/answer"
_VERSION: Final = 1
RECEIPTS_BYTES_MAX: Final = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedReceipt:
    """One receipt with what its commitment opens to: `open_commitment` says whether it does."""

    receipt: Receipt
    salt: bytes
    opened: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReceipts:
    """All receipts of one answer, by window; none where it ended by an error before a whole one."""

    job: Digest
    receipts: tuple[OpenedReceipt, ...]

    @classmethod
    def of(cls, job: bytes, minted: Sequence[MintedReceipt]) -> "AnswerReceipts":
        """What a session made."""
        found = (
            OpenedReceipt(receipt=one.receipt, salt=one.opening[0], opened=one.opening[1]) for one in minted
        )
        return cls(job=job, receipts=tuple(found))

    def encode(self) -> bytes:
        """The one encoding: a canonical array of at most 16 MiB."""
        parts: list[canonical.Value] = [[one.receipt.encode(), one.salt, one.opened] for one in self.receipts]
        return canonical.encode([_TAG, _VERSION, self.job, parts], most=RECEIPTS_BYTES_MAX)

    @classmethod
    def decode(cls, encoded: bytes) -> "AnswerReceipts":
        """The exact inverse of `encode`. Raises MalformedRecordError for any other bytes."""
        match canonical.decode(encoded, most=RECEIPTS_BYTES_MAX):
            case [tag, version, bytes() as job, list() as parts] if (tag, version) == (_TAG, _VERSION):
                if len(job) == 32:
                    return cls(job=job, receipts=tuple(_opened(part) for part in parts))
        raise MalformedRecordError("not the receipts of an answer", expected="job, and opened receipts")


def _opened(part: object) -> OpenedReceipt:
    match part:
        case [bytes() as receipt, bytes() as salt, bytes() as opened]:
            return OpenedReceipt(receipt=Receipt.decode(receipt), salt=salt, opened=opened)
    raise MalformedRecordError("not an opened receipt", expected="receipt, salt, opened")

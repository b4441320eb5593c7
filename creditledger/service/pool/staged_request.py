"""A request's submissions and their outcomes as the staging table has them. Source: specs/postgres.md §4."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from creditledger import errors
from creditledger.errors import CreditLedgerError, MalformedRecordError
from creditledger.ledger.clock import Clock
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.records import canonical
from creditledger.records.entry import Submission
from creditledger.service.pool.keeping import Keeping
from creditledger.service.pool.kept_answers import KeyedRequest
from creditledger.service.pool.tellings import TELLINGS, Asked

ROW_BYTES_MAX: Final = 16 * 1024 * 1024
_KINDS: Final = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, CreditLedgerError) and found is not errors.ForkError
}
_Values: TypeAlias = list[canonical.Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class StagedRequest:
    """What one request has staged."""

    submissions: tuple[Submission, ...]
    keys: tuple[bytes, ...]
    """For each the account's key that the front end has checked it with; empty where it has not."""
    keeping: Keeping | None = None

    def encode(self) -> bytes:
        """The row's content."""
        pairs = [[one.encode(), key] for one, key in zip(self.submissions, self.keys, strict=True)]
        return canonical.encode([pairs, _keeping_values(self.keeping)], most=ROW_BYTES_MAX)

    @classmethod
    def decode(cls, content: bytes, *, ledger_id: bytes, clock: Clock) -> "StagedRequest":
        """The inverse of `encode`. Raises MalformedRecordError."""
        try:
            pairs, kept = cast(list[_Values], canonical.decode(content, most=ROW_BYTES_MAX))
            found = [(Submission.decode(cast(bytes, body)), key) for body, key in cast(list[_Values], pairs)]
            submissions = tuple(one for one, _ in found)
            return cls(
                submissions=submissions,
                keys=tuple(cast(bytes, key) for _, key in found),
                keeping=_keeping(kept, submissions, ledger_id, clock) if kept else None,
            )
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise MalformedRecordError("not a staged request", found=str(error)) from error


def encode_outcomes(outcomes: Sequence[Outcome]) -> bytes:
    """What became of a request's submissions."""
    rows: _Values = [
        [one.index, one.leaf_hash, int(one.repeated)] if isinstance(one, Acknowledgement) else _error(one)
        for one in outcomes
    ]
    return canonical.encode(rows, most=ROW_BYTES_MAX)


def decode_outcomes(content: bytes) -> list[Outcome]:
    """The inverse of `encode_outcomes`. Raises MalformedRecordError."""
    rows = cast(list[_Values], canonical.decode(content, most=ROW_BYTES_MAX))
    return [_outcome(row) for row in rows]


def _outcome(row: _Values) -> Outcome:
    if len(row) == 3:
        index, leaf, repeated = row
        return Acknowledgement(
            index=cast(int, index), leaf_hash=cast(bytes, leaf), repeated=bool(cast(int, repeated))
        )
    return _error_of(row)


def _error(error: CreditLedgerError) -> _Values:
    texts = (type(error).__name__, str(error), error.expected, error.found)
    return [text.encode("utf-8", "replace") for text in texts]


def _error_of(row: _Values) -> CreditLedgerError:
    name, message, expected, found = (cast(bytes, text).decode("utf-8", "replace") for text in row)
    return _KINDS.get(name, CreditLedgerError)(message, expected=expected, found=found)


def _keeping_values(keeping: Keeping | None) -> _Values:
    if keeping is None:
        return []
    asked: _Values = [[] if isinstance(one, Submission) else _error(one) for one in keeping.asked]
    request, telling = keeping.request, TELLINGS.index(keeping.telling)
    return [request.place, request.digest, telling, asked]


def _keeping(
    values: canonical.Value, submissions: Sequence[Submission], ledger_id: bytes, clock: Clock
) -> Keeping:
    place, digest, telling, rows = cast(_Values, values)
    rest = iter(submissions)
    asked: Asked = [_error_of(row) if row else next(rest) for row in cast(list[_Values], rows)]
    return Keeping(
        request=KeyedRequest(place=cast(bytes, place), digest=cast(bytes, digest)),
        telling=TELLINGS[cast(int, telling)],
        asked=asked,
        ledger_id=ledger_id,
        clock=clock,
    )

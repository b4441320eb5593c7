"""Errors as HTTP has them: RFC 9457 problems, one table from error to status. Source: specs/service.md §2."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from starlette.responses import Response

from creditledger import errors
from creditledger.errors import CreditLedgerError
from creditledger.ledger.disk_space import is_out_of_space

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 1
CHALLENGE: Final = 'Bearer realm="creditledger"'

_STATUS: Final[tuple[tuple[type[CreditLedgerError], int, str], ...]] = (
    (errors.AmountError, 400, "An amount is out of range"),
    (errors.KeyFormatError, 400, "Not a usable key"),
    (errors.MalformedRecordError, 400, "Not what was asked for"),
    (errors.VerificationError, 422, "A proof does not hold"),
    (errors.UnknownIdError, 404, "Nothing is known under this id"),
    (errors.FailedIdError, 409, "The id failed before"),
    (errors.HoldClosedError, 409, "The hold has ended"),
    (errors.ConflictError, 409, "The id was used for something else"),
    (errors.InsufficientCreditError, 402, "The account cannot cover the amount"),
    (errors.HoldExpiredError, 410, "The hold's time is over"),
    (errors.ExpiredError, 410, "The offer is no longer valid"),
    (errors.TokenError, 401, "A good token is needed"),
    (errors.RoleError, 403, "Not a key or token for this"),
    (errors.RefusedError, 422, "A rule says no"),
    (errors.RateLimitError, 429, "Too much in too short a time"),
    (errors.BusyError, 503, "Try again later"),
    (errors.IntegrityError, 503, "The ledger has stopped"),
    (errors.StorageError, 503, "The ledger cannot be written"),
)
"""The first that an error is an instance of counts."""

_PLAIN: Final[dict[int, tuple[str, str, int]]] = {
    400: ("BadRequest", "The request cannot be read", 2),
    404: ("UnknownPath", "There is nothing at this path", 2),
    405: ("MethodNotAllowed", "Another method is needed here", 2),
    408: ("TooSlow", "The request took too long to arrive", 3),
    411: ("LengthRequired", "The body's length must be said first", 2),
    413: ("TooLarge", "The body is too large", 2),
    414: ("UrlTooLong", "The URL is too long", 2),
    415: ("UnsupportedMediaType", "The body has another type", 2),
    431: ("HeadersTooLarge", "The headers are too large", 2),
    500: ("InternalError", "A bug in creditledger", 70),
    503: ("BusyError", "Try again later", 3),
}
"""What goes wrong before a record is looked at: name, title, exit code of a client that ends for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error for one client."""

    status: int
    error: str
    title: str
    detail: str
    exit: int
    expected: str = ""
    found: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        """The JSON object."""
        return json.dumps(
            {
                "type": f"urn:creditledger:problem:{_kebab(self.error)}",
                "title": self.title,
                "status": self.status,
                "detail": self.detail,
                "error": self.error,
                "expected": self.expected,
                "found": self.found,
                "exit": self.exit,
            },
            separators=(",", ":"),
        ).encode()

    def response(self) -> Response:
        """The answer."""
        return Response(self.body, self.status, headers=self.headers, media_type=MEDIA_TYPE)


def problem_of(error: CreditLedgerError) -> Problem:
    """The problem that stands for ``error``."""
    status, title = next((status, title) for kind, status, title in _TABLE if isinstance(error, kind))
    if isinstance(error, errors.StorageError) and is_out_of_space(error):
        status, title = 507, "There is no room"
    return Problem(
        status=status,
        error=type(error).__name__,
        title=title,
        detail=printable(str(error)),
        exit=error.exit_code,
        expected=printable(error.expected),
        found=printable(error.found),
        headers=_headers(error, status),
    )


def _headers(error: CreditLedgerError, status: int) -> dict[str, str]:
    if isinstance(error, errors.RateLimitError):
        return {"retry-after": str(error.retry_after_s)}
    if status == 401:
        return {"www-authenticate": CHALLENGE}
    return {"retry-after": str(RETRY_SECONDS)} if status in (503, 507) else {}


def plain_problem(
    status: int,
    detail: str = "",
    *,
    expected: str = "",
    found: str = "",
    headers: Mapping[str, str] | None = None,
) -> Problem:
    """A problem that no error of the library stands for. ``status``: one of the table's, or 500."""
    name, title, code = _PLAIN.get(status, _PLAIN[500])
    return Problem(
        status=status,
        error=name,
        title=title,
        detail=printable(detail or title),
        exit=code,
        expected=printable(expected),
        found=printable(found),
        headers=dict(headers or {}),
    )


def printable(text: str) -> str:
    """``text`` on one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


def _kebab(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


_TABLE: Final[tuple[tuple[type[CreditLedgerError], int, str], ...]] = (
    *_STATUS,
    (CreditLedgerError, 500, "A bug in creditledger"),
)

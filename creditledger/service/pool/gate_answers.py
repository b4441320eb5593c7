"""The gate's refusals as RFC 9457 problems. Source: specs/service.md §2 and §4."""

import json
import re
from typing import Final

from creditledger.errors import (
    BusyError,
    ConflictError,
    CreditLedgerError,
    MalformedRecordError,
    RateLimitError,
    RefusedError,
    RoleError,
    SignatureError,
    TokenError,
    UnknownIdError,
)

_STATUS: Final[tuple[tuple[type[CreditLedgerError], int, str], ...]] = (
    (TokenError, 401, "a token is missing or not good"),
    (RoleError, 403, "the token or key may not do this"),
    (RateLimitError, 429, "too much in too short a time"),
    (MalformedRecordError, 400, "the request cannot be read"),
    (UnknownIdError, 404, "nothing is known under this id"),
    (ConflictError, 409, "somebody was first"),
    (SignatureError, 422, "a signature does not verify"),
    (RefusedError, 422, "a rule says no"),
    (BusyError, 503, "not now"),
    (CreditLedgerError, 503, "the service cannot answer"),
)
"""The first that fits."""
_REALM: Final = 'realm="creditledger"'


def refusal_of(
    error: CreditLedgerError, *, is_page: bool = False
) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body. ``is_page``: a browser asks, which may log in with Basic."""
    status, title = next((status, title) for kind, status, title in _STATUS if isinstance(error, kind))
    name = type(error).__name__
    kebab = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
    problem = {
        "type": f"urn:creditledger:problem:{kebab}",
        "title": title,
        "status": status,
        "detail": str(error)[:500],
        "error": name,
        "expected": error.expected,
        "found": error.found,
        "exit": error.exit_code,
    }
    headers = [(b"content-type", b"application/problem+json"), (b"cache-control", b"no-store")]
    if status == 401:
        headers.append((b"www-authenticate", f"Bearer {_REALM}".encode()))
        headers += [(b"www-authenticate", f"Basic {_REALM}".encode())] if is_page else []
    if status in (429, 503):
        seconds = error.retry_after_s if isinstance(error, RateLimitError) else 1
        headers.append((b"retry-after", b"%d" % seconds))
    body = json.dumps(problem).encode()
    return status, [*headers, (b"content-length", b"%d" % len(body))], body

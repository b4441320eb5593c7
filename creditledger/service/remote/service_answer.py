"""What a pool's service answers, read within bounds; errors by their names. Source: specs/service.md §2."""

import json
from collections.abc import Mapping
from typing import Any, Final

import httpx2

from creditledger import errors
from creditledger.errors import BusyError, CreditLedgerError, RefusedError, VerificationError

ANSWER_BYTES_MAX: Final = 1 << 20
BRACKETS_MAX: Final = 512
"""Of an answer that names 256 outcomes, with room for brackets in what their errors say."""
_LATER: Final = (408, 425, 429, 500, 502, 503, 504, 507)

ERRORS: Final[Mapping[str, type[CreditLedgerError]]] = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, CreditLedgerError) and found is not errors.ForkError
}
"""What a service may name as the reason for a refusal."""


def bounded(response: httpx2.Response) -> bytes:
    """The body. Raises VerificationError for one that is too long."""
    content = bytearray()
    for piece in response.iter_raw():
        content += piece
        if len(content) > ANSWER_BYTES_MAX:
            raise VerificationError("the service's answer is too long", expected=f"{ANSWER_BYTES_MAX} bytes")
    return bytes(content)


def require_now(status: int) -> None:
    """Raises BusyError for a status that says: later."""
    if status in _LATER:
        raise BusyError("the pool's service does not answer now", found=f"status {status}")


def read_json(status: int, content: bytes) -> Any:
    """What a 200 says. Raises the error that a problem names, BusyError, VerificationError for neither."""
    require_now(status)
    try:
        # Whatever is nested too deep has more brackets than that: how deep Python can go, nobody knows.
        if content.count(b"[") + content.count(b"{") > BRACKETS_MAX:
            raise ValueError("too many brackets")
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise VerificationError("the service's answer is not JSON", found=f"status {status}") from error
    if status == 200:
        return answer
    if not isinstance(answer, dict):
        raise VerificationError("the service's answer is no problem", found=f"status {status}")
    raise named_error(answer | {"message": answer.get("detail")})


def named_error(told: Mapping[str, Any]) -> CreditLedgerError:
    """The error that it names; one that it made up is a refusal."""
    name, message, expected, found = (
        str(told.get(part) or "")[:500] for part in ("error", "message", "expected", "found")
    )
    return ERRORS.get(name, RefusedError)(message or name, expected=expected, found=found)

"""Asks a pool's service to be let in. Source: specs/service.md §4."""

from typing import Any, Final

import httpx2

from creditledger import errors
from creditledger.errors import (
    BusyError,
    CreditLedgerError,
    MalformedRecordError,
    RefusedError,
    SignatureError,
    VerificationError,
)
from creditledger.ledger.json_text import read_json
from creditledger.records.registration import admission_bytes
from creditledger.service.http_exchange import Deadline, body_within, require_base_url
from creditledger.service.pool.admission_request import AdmissionRequest
from creditledger.service.pool.bearer_token import BearerToken
from creditledger.transparency.keys import SIGNATURE_SIZE, verify_ed25519

TIMEOUT_SECONDS: Final = 30.0
ANSWER_BYTES_MAX: Final = 16 * 1024
_SHOWN: Final = 150
_TOLD: Final = (RefusedError, BusyError, MalformedRecordError, SignatureError)
"""What a service may have its client fail with. Of its own disk it tells a status, no more."""


def ask_admission(
    url: str,
    request: AdmissionRequest,
    *,
    ledger_id: bytes,
    operator: bytes,
    invitation: BearerToken | None = None,
    timeout_s: float = TIMEOUT_SECONDS,
) -> bytes:
    """What goes into the account's `Registration.admission`: 64 bytes, or none where the pool asks for none.

    ``operator``: its public key in force, 32 bytes, by which the answer is checked. Raises BusyError while
    the operator has not decided, or the service is away; what the service refuses with, by its type;
    SignatureError, VerificationError for an answer that is none."""
    status, fields = _post(require_base_url(url, what="pool"), request, invitation, timeout_s)
    if status not in (200, 202):
        raise _problem(status, fields)
    state, account = fields.get("state"), fields.get("account")
    if account != request.account.hex():
        raise VerificationError("the pool answers for another account", found=ascii(account)[:_SHOWN])
    if state == "waiting":
        raise BusyError("the operator has not decided yet: ask again later", found=request.account.hex())
    if state != "admitted":
        raise VerificationError("not an answer to who asks to join", found=ascii(state)[:_SHOWN])
    return _admission(fields, ledger_id, operator, request.account)


def _admission(fields: dict[str, Any], ledger_id: bytes, operator: bytes, account: bytes) -> bytes:
    try:
        admission = bytes.fromhex(fields["admission"])
    except (KeyError, TypeError, ValueError):
        admission = b"?"
    if len(admission) not in (0, SIGNATURE_SIZE):
        raise SignatureError("not an admission", expected=f"0 or {SIGNATURE_SIZE} bytes of hex")
    if admission:
        message = admission_bytes(account, ledger_id)
        verify_ed25519(public_key=operator, message=message, signature=admission)
    return admission


def _post(
    url: str, request: AdmissionRequest, invitation: BearerToken | None, timeout_s: float
) -> tuple[int, dict[str, Any]]:
    headers = {"content-type": "application/json"}
    if invitation is not None:
        headers["authorization"] = f"Bearer {invitation.reveal()}"
    with Deadline(timeout_s) as deadline, httpx2.Client(limits=httpx2.Limits(max_connections=1)) as client:
        try:
            with client.stream(
                "POST",
                f"{url}/v1/admissions",
                content=request.encode(),
                headers=headers,
                timeout=timeout_s,
                follow_redirects=False,
                extensions={"trace": deadline.watch},
            ) as response:
                content = _bounded(response)
        except httpx2.HTTPError as error:
            raise _away(url, type(error).__name__) from error
        if deadline.has_passed:
            raise _away(url, f"a part within {timeout_s} s")
    return response.status_code, _object(content)


def _bounded(response: httpx2.Response) -> bytes:
    content = body_within(response.iter_raw(ANSWER_BYTES_MAX), ANSWER_BYTES_MAX)
    if content is None:
        raise VerificationError("the pool's answer is too long", expected=f"at most {ANSWER_BYTES_MAX} bytes")
    return content


def _object(content: bytes) -> dict[str, Any]:
    try:
        fields = read_json(content)
    except MalformedRecordError:
        fields = None
    return fields if isinstance(fields, dict) else {}


def _problem(status: int, fields: dict[str, Any]) -> CreditLedgerError:
    """The error that a problem names; by its status where it names none."""
    kind = getattr(errors, str(fields.get("error")), None)
    if not isinstance(kind, type) or not issubclass(kind, _TOLD):
        kind = BusyError if status >= 500 or status in (408, 425, 429) else RefusedError
        return kind("the pool does not let in", found=f"status {status}")
    shown = {name: _text(fields.get(name)) for name in ("expected", "found")}
    error: CreditLedgerError = kind(_text(fields.get("detail")) or "the pool refuses", **shown)
    return error


def _text(value: Any) -> str:
    return value[:_SHOWN] if isinstance(value, str) else ""


def _away(url: str, found: str) -> BusyError:
    return BusyError("the pool cannot be reached", expected="an answer", found=f"{found} at {url}"[-_SHOWN:])

"""Asks a service to log records, and asks again until it has answered. Source: specs/service.md §2 and §7."""

import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import httpx2

from creditledger import errors
from creditledger.errors import (
    BusyError,
    CreditLedgerError,
    MalformedRecordError,
    RefusedError,
    VerificationError,
)
from creditledger.ledger.json_text import read_json
from creditledger.ledger.writer import Acknowledgement, Outcome
from creditledger.quantities import AMOUNT_MAX
from creditledger.records import canonical
from creditledger.records.canonical import FRAME_BYTES_MAX
from creditledger.records.entry import Submission
from creditledger.service.http_exchange import Deadline, body_within, require_base_url

RECORDS_MAX: Final = 256
ANSWER_BYTES_MAX: Final = 1 << 20
TIMEOUT_SECONDS: Final = 30.0
PATIENCE_SECONDS: Final = 60.0
"""How long a service that is busy, or away, is asked again."""
_LATER: Final = (408, 425, 429, 500, 502, 503, 504, 507)
_WAIT_SECONDS_MAX: Final = 5.0

ERRORS: Final[Mapping[str, type[CreditLedgerError]]] = {
    name: found
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, CreditLedgerError) and found is not errors.ForkError
}
"""What a service may name as the reason for a refusal."""


class RecordClient:
    """Posts submissions to one service. What it answers is not believed here. For one thread at a time."""

    def __init__(
        self,
        url: str,
        *,
        token: str = "",
        timeout_s: float = TIMEOUT_SECONDS,
        patience_s: float | None = None,
        client: httpx2.Client | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        new_key: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        """``token``: a bearer token, where the pool asks for one. Raises MalformedRecordError."""
        self._url = require_base_url(url, what="pool")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._timeout_s = timeout_s
        self._patience_s = PATIENCE_SECONDS if patience_s is None else patience_s
        self._client = client or httpx2.Client(limits=httpx2.Limits(max_connections=1))
        self._sleep = sleep
        self._monotonic = monotonic
        self._new_key = new_key
        self._stream: Any = None

    def submit(self, submissions: Sequence[Submission]) -> list[Outcome]:
        """What the service says became of each, in order.

        Raises BusyError if it does not answer in time, RefusedError if it will not hear of them,
        VerificationError for an answer that is none. Source: specs/service.md §2."""
        return [outcome for group in _groups(submissions) for outcome in self._post(group)]

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def _post(self, group: Sequence[bytes]) -> list[Outcome]:
        body = canonical.encode(list(group), most=FRAME_BYTES_MAX + (64 << 10))
        key, end, wait = self._new_key(), self._monotonic() + self._patience_s, 0.1
        while True:
            try:
                return _outcomes(self._once(body, key), len(group))
            except BusyError:
                if self._monotonic() + wait > end:
                    raise
            self._sleep(wait)
            wait = min(2 * wait, _WAIT_SECONDS_MAX)

    def _once(self, body: bytes, key: str) -> Any:
        headers = {**self._headers, "content-type": "application/msgpack", "idempotency-key": key}
        with Deadline(self._timeout_s, self._stream) as deadline:
            try:
                with self._client.stream(
                    "POST",
                    f"{self._url}/v1/records",
                    headers=headers,
                    content=body,
                    timeout=self._timeout_s,
                    follow_redirects=False,
                    extensions={"trace": deadline.watch},
                ) as response:
                    self._stream = deadline.stream
                    content = _bounded(response)
                    status = response.status_code
            except httpx2.HTTPError as error:
                self._stream = None
                raise BusyError(
                    "the pool's service cannot be reached",
                    expected=f"an answer within {self._timeout_s} s",
                    found=f"{type(error).__name__} at {self._url}",
                ) from error
        if deadline.has_passed:
            raise BusyError("the pool's service is late", expected=f"within {self._timeout_s} s")
        return _answer(status, content)


def _groups(submissions: Sequence[Submission]) -> Iterator[list[bytes]]:
    group: list[bytes] = []
    for encoded in (submission.encode() for submission in submissions):
        if group and (len(group) == RECORDS_MAX or sum(map(len, group)) + len(encoded) > FRAME_BYTES_MAX):
            yield group
            group = []
        group.append(encoded)
    if group:
        yield group


def _bounded(response: httpx2.Response) -> bytes:
    content = body_within(response.iter_raw(), ANSWER_BYTES_MAX)
    if content is None:
        raise VerificationError("the service's answer is too long", expected=f"{ANSWER_BYTES_MAX} bytes")
    return content


def _answer(status: int, content: bytes) -> Any:
    if status in _LATER:
        raise BusyError("the pool's service does not answer now", found=f"status {status}")
    try:
        answer = read_json(content)
    except MalformedRecordError as error:
        raise VerificationError("the service's answer is not JSON", found=f"status {status}") from error
    if status == 200:
        return answer
    if not isinstance(answer, dict):
        raise VerificationError("the service's answer is no problem", found=f"status {status}")
    raise _error(answer | {"message": answer.get("detail")})


def _outcomes(answer: Any, count: int) -> list[Outcome]:
    told = answer.get("outcomes") if isinstance(answer, dict) else None
    if not isinstance(told, list) or len(told) != count:
        raise VerificationError("the service answers for other records", expected=f"{count} outcomes")
    return [_outcome(each) for each in told]


def _outcome(told: Any) -> Outcome:
    if isinstance(told, dict) and "error" in told:
        return _error(told)
    try:
        index, leaf = told["index"], bytes.fromhex(told["leaf_hash"])
    except (KeyError, TypeError, ValueError) as error:
        raise VerificationError("the service's answer says neither where nor why") from error
    if type(index) is not int or not 0 <= index <= AMOUNT_MAX or len(leaf) != 32:
        raise VerificationError("the service names no place in a log", found=ascii(index)[:40])
    return Acknowledgement(index=index, leaf_hash=leaf, repeated=False)


def _error(told: Mapping[str, Any]) -> CreditLedgerError:
    """The error that it names; one that it made up is a refusal."""
    name, message, expected, found = (
        str(told.get(part) or "")[:500] for part in ("error", "message", "expected", "found")
    )
    return ERRORS.get(name, RefusedError)(message or name, expected=expected, found=found)

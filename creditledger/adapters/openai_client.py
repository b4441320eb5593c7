"""The openai client, paying for what it asks: an httpx transport that orders, checks and countersigns.

``openai.OpenAI(http_client=httpx2.Client(transport=CreditTransport(...)))``. Source: specs/service.md §8."""

import os
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Final

import httpx2

from creditledger.activations.sampler import Sampler
from creditledger.adapters.answer_check import ModelReader, verify_answer
from creditledger.adapters.answer_receipts import RECEIPTS_BYTES_MAX, AnswerReceipts
from creditledger.adapters.answer_text import ANSWER_BYTES_MAX, text_of
from creditledger.adapters.openai_interface import ORDER, PATHS, RECEIPTS, RECEIPTS_PATH, SEED, sampler_of
from creditledger.errors import (
    BusyError,
    CreditLedgerError,
    MalformedRecordError,
    RefusedError,
    VerificationError,
)
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.json_text import read_json
from creditledger.records.job import PlanSpan
from creditledger.redemption.order import Order
from creditledger.redemption.wallet import Delivered, Wallet

VALID_MS: Final = 3_600_000
"""How long an order may take to be answered and countersigned."""
SPARE_MS: Final = 600_000
"""An order that no server took is used again while it has this much time left."""
ANSWERS_KEPT: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Whom to order from, and the most that one answer may take and cost."""

    node: bytes
    """Its account id, 32 bytes."""
    model: bytes
    """The model's digest, 32 bytes; ``layers``: how many it has, all of which the node runs."""
    layers: int
    max_positions: int
    """Of the prompt and the answer together."""
    max_price_micro: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidAnswer:
    """One answer, and what became of its order."""

    order: Order
    receipts: AnswerReceipts | None = None
    tokens: tuple[int, ...] = ()
    """Those drawn, once the receipts were found to commit to the text received."""
    delivered: Delivered | None = None
    """The countersignature, once it is logged."""
    refusal: CreditLedgerError | None = None
    """Why it was not countersigned; a BusyError may pass, see `CreditTransport.confirm_waiting`."""


class CreditTransport(httpx2.BaseTransport):
    """Orders a job for each request to `PATHS`, and countersigns the answers that hold. Else passes on.

    The answer is never held back or changed: what does not hold shows in `answers`, and is not paid for.
    A request raises what `Wallet.order` raises, and RefusedError for settings no receipt can stand for."""

    def __init__(
        self,
        wallet: Wallet,
        terms: Terms,
        *,
        reader: ModelReader,
        inner: httpx2.BaseTransport | None = None,
        clock: Clock = system_clock,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """``reader``: what is known of the model; ``inner``: who carries the requests, by default HTTP."""
        self._wallet = wallet
        self._terms = terms
        self._reader = reader
        self._inner = inner or httpx2.HTTPTransport()
        self._clock = clock
        self._random_bytes = random_bytes
        self._lock = Lock()
        self._spare: list[Order] = []
        self._answers: deque[PaidAnswer] = deque(maxlen=ANSWERS_KEPT)

    @property
    def answers(self) -> list[PaidAnswer]:
        """The last answers, in the order in which they were read to their end."""
        with self._lock:
            return list(self._answers)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST" or not request.url.path.endswith(PATHS):
            return self._inner.handle_request(request)
        asked = _json_object(request.read())
        seed = self._random_bytes(32)
        sampler = sampler_of(asked, seed)
        order = self._order()
        request.headers[ORDER] = b64encode(order.work_order(0).encode()).decode()
        request.headers[SEED] = seed.hex()
        request.headers["accept-encoding"] = "identity"
        try:
            response = self._inner.handle_request(request)
        except httpx2.ConnectError:
            self._put_back(order)
            raise
        place = response.headers.get(RECEIPTS, "")
        if not place.startswith(RECEIPTS_PATH):
            # 409: the order was taken before, as by a request whose answer got lost.
            if response.status_code >= 400 and response.status_code != 409:
                self._put_back(order)
            return response
        pending = _Pending(
            order=order,
            sampler=sampler,
            asked=asked,
            content_type=response.headers.get("content-type", ""),
            receipts=httpx2.Request("GET", request.url.join(place), headers=_credentials(request)),
        )
        response.stream = _Followed(response.stream, lambda body: self._settle(pending, body))
        return response

    def confirm_waiting(self) -> int:
        """Countersign answers whose receipts were not logged when they came; how many still wait."""
        waiting = 0
        for paid in self.answers:
            if paid.tokens and isinstance(paid.refusal, BusyError):
                again = self._confirmed(replace(paid, refusal=None))
                waiting += isinstance(again.refusal, BusyError)
                with self._lock:
                    kept = [again if old is paid else old for old in self._answers]
                    self._answers = deque(kept, maxlen=ANSWERS_KEPT)
        return waiting

    def close(self) -> None:
        self._inner.close()

    def _order(self) -> Order:
        with self._lock:
            while self._spare:
                order = self._spare.pop()
                if order.job.expires_unix_ms - self._clock() > SPARE_MS:
                    return order
        terms = self._terms
        return self._wallet.order(
            terms.model,
            [PlanSpan(layer_start=0, layer_stop=terms.layers, node=terms.node)],
            terms.max_positions,
            terms.max_price_micro,
            expires_unix_ms=self._clock() + VALID_MS,
        )

    def _put_back(self, order: Order) -> None:
        with self._lock:
            self._spare.append(order)

    def _settle(self, pending: "_Pending", body: bytes | None) -> None:
        """The answer was read to its end, or (None) let go before."""
        paid = PaidAnswer(order=pending.order)
        try:
            if body is None:
                raise VerificationError("the answer was not read to its end")
            answer = self._fetched(pending.receipts)
            paid = replace(paid, receipts=answer)
            tokens = verify_answer(
                answer,
                order=pending.order,
                sampler=pending.sampler,
                ledger_id=self._wallet.ledger_id,
                request=pending.asked,
                text=text_of(body, pending.content_type),
                reader=self._reader,
            )
            paid = self._confirmed(replace(paid, tokens=tuple(tokens)))
        except CreditLedgerError as error:
            paid = replace(paid, refusal=error)
        with self._lock:
            self._answers.append(paid)

    def _confirmed(self, paid: PaidAnswer) -> PaidAnswer:
        found = () if paid.receipts is None else paid.receipts.receipts
        checked = {one.receipt.digest(self._wallet.ledger_id) for one in found}
        try:
            return replace(paid, delivered=self._wallet.confirm(paid.order, checked=checked))
        except CreditLedgerError as error:
            return replace(paid, refusal=error)

    def _fetched(self, request: httpx2.Request) -> AnswerReceipts:
        try:
            response = self._inner.handle_request(request)
            try:
                body = _bounded(response)
            finally:
                response.close()
        except httpx2.TransportError as error:
            raise BusyError("the receipts could not be fetched", found=str(error)[:80]) from error
        if response.status_code != 200:
            raise VerificationError("no receipts for this answer", found=f"status {response.status_code}")
        return AnswerReceipts.decode(body)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """What an answer is held against when it is there."""

    order: Order
    sampler: Sampler
    asked: Mapping[str, Any]
    content_type: str
    receipts: httpx2.Request


class _Followed(httpx2.SyncByteStream):
    """A response's bytes as they are; then somebody is told all of them, or None if some are missing."""

    def __init__(self, stream: Any, then: Callable[[bytes | None], None]) -> None:
        self._stream = stream
        self._then: Callable[[bytes | None], None] | None = then
        self._seen = bytearray()
        self._is_whole = False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            if len(self._seen) <= ANSWER_BYTES_MAX:
                self._seen += chunk
            yield chunk
        self._is_whole = True
        self._end()

    def close(self) -> None:
        self._stream.close()
        self._end()

    def _end(self) -> None:
        then, self._then = self._then, None
        if then is not None:
            # Who reads events stops at the last one, not where the bytes end.
            is_whole = self._is_whole or self._seen.rstrip().endswith(b"data: [DONE]")
            then(bytes(self._seen) if is_whole and len(self._seen) <= ANSWER_BYTES_MAX else None)


def _credentials(request: httpx2.Request) -> dict[str, str]:
    found = request.headers.get("authorization")
    return {} if found is None else {"authorization": found}


def _json_object(body: bytes) -> Mapping[str, Any]:
    try:
        asked = read_json(body)
    except MalformedRecordError:
        asked = None
    if not isinstance(asked, dict):
        raise RefusedError("only a JSON object can be ordered", found=ascii(body[:40]))
    return asked


def _bounded(response: httpx2.Response) -> bytes:
    body = bytearray()
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > RECEIPTS_BYTES_MAX:
            raise VerificationError("receipts are too long", expected=f"at most {RECEIPTS_BYTES_MAX} bytes")
    return bytes(body)

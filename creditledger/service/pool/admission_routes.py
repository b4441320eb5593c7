"""`/v1/admissions` on the wire. Source: specs/service.md §4."""

import asyncio
import re
from collections.abc import Callable
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from creditledger.errors import BusyError, CreditLedgerError, MalformedRecordError, UnknownIdError
from creditledger.service.pool.admission_desk import AdmissionDesk, Answer, Standing
from creditledger.service.pool.admission_request import REQUEST_BYTES_MAX, AdmissionRequest
from creditledger.service.pool.gate import BEARER
from creditledger.service.pool.gate_answers import refusal_of

BODY_SECONDS: Final = 10.0
_ACCOUNT: Final = re.compile(r"[0-9a-f]{64}")
_STATUS: Final = {Standing.WAITING: 202}


def admission_routes(desk: AdmissionDesk) -> list[BaseRoute]:
    """The two routes of ``desk``, for an application behind a `Gate`."""

    async def apply(request: Request) -> Response:
        try:
            content = await _body(request)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except CreditLedgerError as error:
            return _refusal(error)
        bearer = request.scope.get(BEARER)
        return await _answered(lambda: desk.apply(AdmissionRequest.decode(content), bearer))

    async def look_up(request: Request) -> Response:
        account = request.path_params["account"]
        if not _ACCOUNT.fullmatch(account):
            return _refusal(UnknownIdError("no such account", expected="64 lower-case hex digits"))
        return await _answered(lambda: desk.look_up(bytes.fromhex(account)), is_question=True)

    return [
        Route("/v1/admissions", apply, methods=["POST"]),
        Route("/v1/admissions/{account}", look_up, methods=["GET"]),
    ]


async def _body(request: Request) -> bytes:
    """Raises MalformedRecordError as soon as it is too long, BusyError when it comes too late."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > REQUEST_BYTES_MAX:
                    raise MalformedRecordError("too long", expected=f"at most {REQUEST_BYTES_MAX} bytes")
    except TimeoutError:
        raise BusyError("the request took too long to arrive", expected=f"{BODY_SECONDS} s") from None
    return bytes(body)


async def _answered(ask: Callable[[], Answer], *, is_question: bool = False) -> Response:
    try:
        answer = await run_in_threadpool(ask)
    except CreditLedgerError as error:
        return _refusal(error)
    fields = {"account": answer.account.hex(), "state": answer.standing.name.lower()}
    if answer.standing is Standing.ADMITTED:
        fields["admission"] = answer.admission.hex()
    status = 200 if is_question else _STATUS.get(answer.standing, 200)
    return JSONResponse(fields, status, headers={"cache-control": "no-store"})


def _refusal(error: CreditLedgerError) -> Response:
    status, headers, body = refusal_of(error)
    response = Response(body, status)
    response.raw_headers = headers
    return response

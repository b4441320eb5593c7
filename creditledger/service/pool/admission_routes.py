"""`/v1/admissions` on the wire. Source: specs/service.md §4."""

from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from creditledger.errors import UnknownIdError
from creditledger.ledger.naming import as_digest
from creditledger.service.pool.admission_desk import AdmissionDesk, Answer, Standing
from creditledger.service.pool.admission_request import AdmissionRequest
from creditledger.service.pool.gate import BEARER

_NOT_KEPT: Final = {"cache-control": "no-store"}


def admission_routes(desk: AdmissionDesk) -> list[BaseRoute]:
    """The two routes of ``desk``, for an application behind a `Gate`."""

    async def apply(request: Request) -> Response:
        asked = AdmissionRequest.decode(await request.body())
        answer = await run_in_threadpool(desk.apply, asked, request.scope.get(BEARER))
        return JSONResponse(_shown(answer), 202 if answer.standing is Standing.WAITING else 200, _NOT_KEPT)

    async def look_up(request: Request) -> Response:
        account = as_digest(request.path_params["account"])
        if account is None:
            raise UnknownIdError("no such account", expected="64 lower-case hex digits")
        return JSONResponse(_shown(await run_in_threadpool(desk.look_up, account)), headers=_NOT_KEPT)

    return [
        Route("/v1/admissions", apply, methods=["POST"]),
        Route("/v1/admissions/{account}", look_up, methods=["GET"]),
    ]


def _shown(answer: Answer) -> dict[str, str]:
    shown = {"account": answer.account.hex(), "state": answer.standing.name.lower()}
    return shown | ({"admission": answer.admission.hex()} if answer.standing is Standing.ADMITTED else {})

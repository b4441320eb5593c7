"""What readers ask of the ledger's state: accounts, receipts, bundles, rounds, status.

Source: specs/service.md §2."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from creditledger.credits import reading
from creditledger.errors import MalformedRecordError, UnknownIdError
from creditledger.ledger.clock import Clock
from creditledger.ledger.json_line import as_line
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.naming import account_id, as_digest
from creditledger.ledger.prove import prover
from creditledger.ledger.prove_by_id import bundle_of
from creditledger.ledger.rounds import standing
from creditledger.ledger.status import status_of
from creditledger.records.verdict import Outcome
from creditledger.redemption.position import position_of
from creditledger.redemption.position_row import certified_row, position_row


def account_routes(ledger: Ledger, *, clock: Clock) -> list[BaseRoute]:
    """The routes that read the state. Whatever they say, a bundle proves."""

    def account(request: Request) -> Response:
        with ledger.read() as state:
            found = position_of(state, account_id(state, request.path_params["id"]), now_unix_ms=clock())
            return _json(position_row(found) | certified_row(state, found.account))

    def receipt(request: Request) -> Response:
        return _json(receipt_row(ledger, _digest(request)))

    def bundle(request: Request) -> Response:
        absent = request.query_params.getlist("absent")
        if absent not in ([], ["1"]):
            raise MalformedRecordError("not a query of this path", expected="absent=1")
        with prover(ledger) as proving:
            if absent:
                content = proving.absent(_digest(request))
            else:
                _, content = bundle_of(proving, request.path_params["id"])
        return Response(content, media_type="application/octet-stream", headers=_NOT_STORED)

    def latest_round(request: Request) -> Response:
        return _json(round_row(ledger))

    def status(request: Request) -> Response:
        return _json(status_of(ledger))

    return [
        Route("/v1/accounts/{id}", _in_thread(account), methods=["GET"]),
        Route("/v1/receipts/{id}", _in_thread(receipt), methods=["GET"]),
        Route("/v1/bundles/{id}", _in_thread(bundle), methods=["GET"]),
        Route("/v1/rounds/latest", _in_thread(latest_round), methods=["GET"]),
        Route("/v1/status", _in_thread(status), methods=["GET"]),
    ]


_NOT_STORED = {"cache-control": "no-store"}


def receipt_row(ledger: Ledger, digest: bytes) -> dict[str, Any]:
    """One receipt and what is believed of it. Raises UnknownIdError."""
    with ledger.read() as state:
        found = reading.receipt_state(state, digest)
        if found is None:
            raise UnknownIdError("no such receipt", found=digest.hex())
        certified = reading.latest_certified_round(state)
    return {
        "receipt": found.receipt,
        "job": found.job,
        "node": found.node,
        "layer_start": found.layer_start,
        "positions": found.positions,
        "batch_index": found.batch_index,
        "round": found.round or None,
        "due": found.due,
        "upheld": found.upheld,
        "refuted": found.refuted,
        "inconclusive": found.inconclusive,
        "outcome": Outcome(found.outcome).name.lower(),
        "settled": bool(found.settled),
        "certified_round": None if certified is None else certified.round.number,
    }


def round_row(ledger: Ledger) -> dict[str, Any]:
    """The latest round. Raises UnknownIdError if there is none."""
    with ledger.read() as state:
        info = reading.latest_round(state)
        if info is None:
            raise UnknownIdError("there is no round yet")
        found = standing(state)
    return {
        "round": found.number,
        "digest": info.digest,
        "index": info.index,
        "log_size": found.log_size,
        "log_root": info.round.log_root,
        "map_root": info.round.map_root,
        "attested": found.attested,
        "quorum": found.quorum,
        "certified": found.is_certified,
    }


def _in_thread(answer: Callable[[Request], Response]) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(answer, request)

    return endpoint


def _digest(request: Request) -> bytes:
    digest = as_digest(request.path_params["id"])
    if digest is None:
        raise UnknownIdError("no digest", expected="64 lower-case hex digits")
    return digest


def _json(answer: Mapping[str, Any]) -> Response:
    return Response(as_line(answer), media_type="application/json", headers=_NOT_STORED)

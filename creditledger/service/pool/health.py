"""Whether the server does its work. Source: specs/service.md §2."""

import json
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from creditledger import __version__
from creditledger.errors import CreditLedgerError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.standby import StandbyLedger
from creditledger.service.pool.publishing import Publishing
from creditledger.service.pool.steward import Steward
from creditledger.transparency.bls import default_backend
from creditledger.transparency.checkpoint import parse_checkpoint_note

STALE_INTERVALS: Final = 10
STALE_MS: Final = 60_000
"""A checkpoint so many intervals and so long after the last one is stale, where the policy sets no age."""


def health_routes(
    steward: Steward, publishing: Publishing, *, clock: Clock, interval_seconds: int
) -> list[BaseRoute]:
    """`GET /healthz`."""

    def answer() -> tuple[int, dict[str, Any]]:
        age_ms = max(0, clock() - publishing.published_unix_ms)
        try:
            size = parse_checkpoint_note(steward.ledger.checkpoint()).size
            most = steward.ledger.policy().max_age_ms or STALE_MS + STALE_INTERVALS * interval_seconds * 1_000
        except CreditLedgerError:
            size, most = 0, -1
        state = _state(steward, is_stale=age_ms > most)
        found = {
            "ok": state == "serving",
            "state": state,
            "checkpoint": {"size": size, "age_ms": age_ms},
            "backends": backends(steward.ledger),
            "version": __version__,
        }
        return 200 if state == "serving" else 503, found

    async def healthz(request: Request) -> Response:
        status, found = await run_in_threadpool(answer)
        headers = {"cache-control": "no-store"} | ({} if status == 200 else {"retry-after": "1"})
        return Response(json.dumps(found), status, headers=headers, media_type="application/json")

    return [Route("/healthz", healthz, methods=["GET"])]


def backends(ledger: Ledger) -> dict[str, str]:
    """What does the work underneath."""
    import lmdb

    if isinstance(ledger, StandbyLedger):
        return {"store": "postgresql", "bls": bls_backend()}

    return {"store": f"lmdb {'.'.join(map(str, lmdb.version()))}", "bls": bls_backend()}


def bls_backend() -> str:
    """What checks BLS signatures."""
    return type(default_backend()).__name__.removesuffix("Backend").lower()


def _state(steward: Steward, *, is_stale: bool) -> str:
    if steward.failure is not None:
        return "failed"
    if steward.shortage is not None:
        return "full"
    return "stale" if is_stale else "serving"

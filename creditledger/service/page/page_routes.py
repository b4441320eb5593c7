"""The routes of the page. Source: specs/service.md §9."""

from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from creditledger.ledger.clock import Clock, steady_clock
from creditledger.ledger.ledger import Ledger
from creditledger.service.page.overview import overview
from creditledger.service.page.page import Page
from creditledger.service.page.pulse import pulse

View = Callable[[Page, Request], Response]


def page_routes(ledger: Ledger, *, clock: Clock, elapsed: Clock = steady_clock) -> list[BaseRoute]:
    """Every view of ``ledger`` and the files that they need. ``elapsed``: milliseconds that nobody sets."""
    page = Page(ledger, clock=clock, elapsed=elapsed)
    views: dict[str, View] = {"/": overview, "/pulse": pulse}
    return [
        *(Route(path, _in_thread(page, view), methods=["GET"]) for path, view in views.items()),
        *page.static.routes(),
    ]


def _in_thread(page: Page, view: View) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(view, page, request)

    return endpoint

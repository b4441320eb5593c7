"""The routes of the page, and what stands in front of them. Source: specs/service.md §9."""

from collections.abc import Callable
from typing import Any, Final

from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from creditledger.ledger.clock import Clock, steady_clock
from creditledger.ledger.ledger import Ledger
from creditledger.service.page.account_views import account_view
from creditledger.service.page.error_pages import ErrorPages
from creditledger.service.page.leaderboard_view import leaderboard_view
from creditledger.service.page.node_views import node_view, nodes_view
from creditledger.service.page.overview import overview
from creditledger.service.page.page import Page
from creditledger.service.page.pulse import pulse
from creditledger.service.page.queue_views import queue_view, queues_view
from creditledger.service.page.receipt_view import receipt_view, verify_view
from creditledger.service.page.search_view import search_view
from creditledger.service.page.statement_view import statement_view
from creditledger.service.page.static_files import StaticFiles
from creditledger.service.page.templates import Templates

View = Callable[[Page, Request], Response]

_VIEWS: Final[dict[str, View]] = {
    "/": overview,
    "/leaderboard": leaderboard_view,
    "/nodes": nodes_view,
    "/nodes/{id}": node_view,
    "/accounts/{id}": account_view,
    "/accounts/{id}/statement": statement_view,
    "/queues": queues_view,
    "/queues/{id}": queue_view,
    "/receipts/{id}": receipt_view,
    "/verify": verify_view,
    "/search": search_view,
    "/pulse": pulse,
}


def page_routes(ledger: Ledger, *, clock: Clock, elapsed: Clock = steady_clock) -> list[BaseRoute]:
    """Every view of ``ledger`` and the files that they need. ``elapsed``: milliseconds that nobody sets."""
    page = Page(ledger, clock=clock, elapsed=elapsed)
    views = [Route(path, _in_thread(page, view), methods=["GET"]) for path, view in _VIEWS.items()]
    return [*views, *page.static.routes()]


def error_pages(ledger: Ledger) -> Middleware:
    """Around everything: what goes wrong is told to browsers as a page."""
    templates = Templates(static_url=StaticFiles().url)
    return Middleware(ErrorPages, templates=templates, origin=ledger.origin)


def _in_thread(page: Page, view: View) -> Callable[[Request], Any]:
    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(view, page, request)

    return endpoint

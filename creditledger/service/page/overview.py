"""`/`: the pool at a glance. Source: specs/service.md §9."""

from starlette.requests import Request
from starlette.responses import Response

from creditledger.service.page.page import Page


def overview(page: Page, request: Request) -> Response:
    """`GET /`."""
    return page.show(
        request, "overview.html", {"origin": page.ledger.origin}, title="Overview", section="Overview"
    )

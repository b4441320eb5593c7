"""How far the log has come, in every page's head. Source: specs/service.md §9."""

from starlette.requests import Request
from starlette.responses import Response

from creditledger.service.page.page import Page


def pulse(page: Page, request: Request) -> Response:
    """`GET /pulse`: the line alone."""
    return page.fragment(request, "pulse.html", {"moment": page.moment()})

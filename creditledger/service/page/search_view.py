"""`/search`: from a name, or the beginning of an id, to its page. Source: specs/service.md §9."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from creditledger.credits import reading
from creditledger.credits.account import accounts_beginning, accounts_named_like
from creditledger.credits.state import StateView
from creditledger.ledger.naming import as_digest
from creditledger.service.page.entry_story import Who, who_is
from creditledger.service.page.page import Page
from creditledger.service.page.page_headers import page_headers
from creditledger.service.page.wording import handle

FOUND_MAX: Final = 20
TEXT_MAX: Final = 64
_HEX: Final = re.compile(r"(?:[0-9a-f]{2}){2,32}")
"""Of shorter beginnings there are too many."""


def search_view(page: Page, request: Request) -> Response:
    """`GET /search?q=`: the one page that fits, or a list of those that may be meant."""
    text = request.query_params.get("q", "").strip().lower()
    path, found = page.read(lambda state: look_up(state, text)) if len(text) <= TEXT_MAX else ("", [])
    if path:
        return RedirectResponse(path, 303, headers=page_headers() | {"cache-control": "no-store"})
    values = {"text": text[: TEXT_MAX + 1], "found": found, "is_cut": len(found) == FOUND_MAX}
    return page.show(request, "search.html", values, title="Search", is_live=False)


def look_up(state: StateView, text: str) -> tuple[str, list[Who]]:
    """The path of what ``text`` names exactly, if anything; else accounts whose name or id begins so."""
    digest = as_digest(text)
    if digest is not None and (path := _path_of(state, digest)):
        return path, []
    named = reading.account_named(state, text) if text.isascii() and text else None
    exact = None if named is None else who_is(state, named)
    if exact is not None:
        return exact.path, []
    found = [who_is(state, account) for account in islice(_beginning(state, text), FOUND_MAX)]
    return "", [who for who in found if who is not None]


def _beginning(state: StateView, text: str) -> Iterator[bytes]:
    if not text.isascii() or not text:
        return
    yield from accounts_named_like(state, text)
    if _HEX.fullmatch(text):
        yield from accounts_beginning(state, bytes.fromhex(text))


def _path_of(state: StateView, digest: bytes) -> str:
    """Where the page says something of an id; nowhere for one that it does not know."""
    account = who_is(state, digest)
    if account is not None:
        return account.path
    if reading.receipt_state(state, digest) is not None:
        return f"/receipts/{digest.hex()}"
    hold = reading.hold_state(state, digest)
    job = reading.job_body(state, digest)
    owner = hold.holder if hold is not None else job.client if job is not None else None
    who = None if owner is None else who_is(state, owner)
    return "" if who is None else f"/accounts/{handle(who.name, who.account)}"

"""`/queues` and `/queues/{id}`: where credits buy GPU time. Source: specs/service.md §9."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import UnknownIdError
from creditledger.ledger.naming import account_id
from creditledger.service.page.entry_story import Who, who_is
from creditledger.service.page.listing import listing
from creditledger.service.page.page import Page
from creditledger.service.page.queue_facts import QueueRow, class_rows, job_rows, queue_of, queue_rows


def queues_view(page: Page, request: Request) -> Response:
    """`GET /queues`."""
    prices = page.read(lambda state: reading.parameters_in_force(state).hardware)
    values = {"queues": listing(request, _rows(page)), "prices": prices}
    return page.show(request, "queues.html", values, title="Queues", section="Queues")


def queue_view(page: Page, request: Request) -> Response:
    """`GET /queues/{id}`. Raises UnknownIdError."""
    account = page.read(lambda state: account_id(state, request.path_params["id"]))
    queue = queue_of(_rows(page), account)
    if queue is None:
        raise UnknownIdError("no queue is registered under this id", found=account.hex())
    holds = listing(request, queue.holds)
    values: dict[str, Any] = {
        "queue": queue,
        "holds": holds,
        "holders": page.read(lambda state: _holders(state, holds.rows)),
        "classes": page.kept(("classes", account), lambda: page.read(lambda state: class_rows(state, queue))),
        "jobs": page.kept(
            ("queue jobs", account),
            lambda: page.read(lambda state: job_rows(state, account, page.recent.newest_first())),
        ),
    }
    return page.show(request, "queue.html", values, title=queue.account.name, section="Queues")


def _rows(page: Page) -> list[QueueRow]:
    return page.kept("queues", lambda: page.read(queue_rows))


def _holders(state: StateView, holds: Any) -> dict[bytes, Who | None]:
    return {hold.state.holder: who_is(state, hold.state.holder) for hold in holds}

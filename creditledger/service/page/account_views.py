"""`/accounts/{id}`: what one account has, and why. Source: specs/service.md §9."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from creditledger.credits.reading import WHOLE_ACCOUNT
from creditledger.credits.state import StateView
from creditledger.ledger.naming import account_id
from creditledger.records.registration import Role
from creditledger.redemption.position import Position, position_of
from creditledger.redemption.position_row import certified_row
from creditledger.service.page.charts import bar
from creditledger.service.page.entry_story import Who, told, who_is
from creditledger.service.page.listing import listing
from creditledger.service.page.page import Page

ENTRIES_MAX = 20


def account_view(page: Page, request: Request) -> Response:
    """`GET /accounts/{id}`. Raises UnknownIdError."""
    account = page.read(lambda state: account_id(state, request.path_params["id"]))
    position, certified, queues = page.kept(
        ("account", account), lambda: page.read(lambda state: _position(state, account, page.clock()))
    )
    own = position.account
    values: dict[str, Any] = {
        "position": position,
        "account": own,
        "role": Role(own.role).name.lower().replace("_", " "),
        "certified": certified,
        "holds": listing(request, position.holds),
        "queues": queues,
        "parts": bar(
            [
                ("spendable", "Available", own.available_micro),
                ("held", "Held", own.held_micro),
                ("unvested", "Vesting", own.unvested_micro),
            ]
        ),
        "whole_account": WHOLE_ACCOUNT,
        "entries": page.kept(("account entries", account), lambda: _entries(page, account)),
    }
    return page.show(request, "account.html", values, title=own.name or "Levy pool")


def _position(
    state: StateView, account: bytes, now_unix_ms: int
) -> tuple[Position, dict[str, Any], dict[bytes, Who | None]]:
    position = position_of(state, account, now_unix_ms=now_unix_ms)
    queues = {hold.state.queue for hold in position.holds} | {row.queue for row in position.delegations}
    return position, certified_row(state, position.account), {queue: who_is(state, queue) for queue in queues}


def _entries(page: Page, account: bytes) -> list[Any]:
    """The newest entries that name the account as who acts, or is paid."""
    with page.ledger.read() as state:
        found = []
        for logged in page.recent.newest_first():
            story = told(state, logged)
            if story.who is not None and story.who.account == account:
                found.append(story)
            if len(found) == ENTRIES_MAX:
                break
        return found

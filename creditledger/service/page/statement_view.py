"""`/accounts/{id}/statement`: every entry that moved an account's credits, as a file.

Source: specs/service.md §9."""

from collections.abc import Iterable, Sequence
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from creditledger.errors import MalformedRecordError
from creditledger.ledger.naming import account_id
from creditledger.redemption.beancount import statement_in_beancount
from creditledger.redemption.row_text import csv_text, jsonl_text
from creditledger.redemption.statement import StatementLine
from creditledger.redemption.statement_row import COLUMNS, statement_row
from creditledger.service.page.page import Page
from creditledger.service.page.page_headers import page_headers

_TYPES: Final = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/jsonl; charset=utf-8",
    "beancount": "text/plain; charset=utf-8",
}


def statement_view(page: Page, request: Request) -> Response:
    """`GET /accounts/{id}/statement?format=csv|jsonl|beancount`. Raises UnknownIdError and as `lines`."""
    form = request.query_params.get("format", "csv")
    if form not in _TYPES:
        raise MalformedRecordError("no such form", expected=", ".join(_TYPES), found=ascii(form)[:40])
    account = page.read(lambda state: account_id(state, request.path_params["id"]))
    lines = page.statements.lines(account)
    name = lines[-1].balance.name or "levy-pool"
    headers = page_headers() | {
        "cache-control": "no-store",
        "content-disposition": f'attachment; filename="statement-{name}.{form}"',
    }
    return Response("".join(_text(form, lines)), headers=headers, media_type=_TYPES[form])


def _text(form: str, lines: Sequence[StatementLine]) -> Iterable[str]:
    if form == "beancount":
        return statement_in_beancount(lines, before=None, title="statement")
    rows = map(statement_row, lines)
    return csv_text(rows, COLUMNS) if form == "csv" else jsonl_text(rows)

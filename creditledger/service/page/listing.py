"""One part of a long list at a time. Source: specs/service.md §9."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from starlette.requests import Request

from creditledger.errors import MalformedRecordError

ROWS: Final = 100
"""Rows that a page shows of a list."""
_PAGE: Final = re.compile(r"[1-9][0-9]{0,6}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """Some rows of a list, and where they stand in it."""

    rows: Sequence[T]
    total: int
    page: int
    """From 1."""
    pages: int

    @property
    def first(self) -> int:
        """Number of the first row, from 1."""
        return (self.page - 1) * ROWS + 1


def listing(request: Request, rows: Sequence[T]) -> Listing[T]:
    """The rows of ``?page=N``, from 1. Raises MalformedRecordError for what is no number of a page; a page
    after the last has no rows."""
    text = request.query_params.get("page", "1")
    if not _PAGE.fullmatch(text):
        raise MalformedRecordError("no such page of a list", expected="page=1 and on", found=ascii(text)[:40])
    page = int(text)
    start = (page - 1) * ROWS
    return Listing(
        rows=rows[start : start + ROWS], total=len(rows), page=page, pages=max(1, -(-len(rows) // ROWS))
    )

"""Rows as CSV or JSON lines. Source: specs/cli.md §6."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from creditledger.ledger.json_line import as_line, plain


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Iterable[str]) -> Iterator[str]:
    """A line of names, and one per row: bytes in hex, nothing for an unknown value. Lines end with CR LF."""
    names = list(columns)
    yield _csv_line(names)
    for row in rows:
        yield _csv_line(["" if row[name] is None else plain(row[name]) for name in names])


def jsonl_text(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One JSON object per line."""
    for row in rows:
        yield as_line(row) + "\n"


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()

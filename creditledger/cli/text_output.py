"""Rows as CSV or JSON lines, and text of any length to stdout or into a file. Source: specs/cli.md §6."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from creditledger.cli.output import as_line, plain
from creditledger.cli.output_file import output_file

CHUNK_BYTES: Final = 1 << 20
"""So much is gathered before it is written: each write to a file is made durable."""


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


def write_text(texts: Iterable[str], path: Path | None) -> None:
    """All of ``texts`` to a file, which is whole and durable or not there, or else to stdout.

    Raises StorageError."""
    if path is None:
        for text in texts:
            click.echo(text, nl=False)
        return
    with output_file(path) as write:
        for chunk in _chunks(texts):
            write(chunk)


def _chunks(texts: Iterable[str]) -> Iterator[bytes]:
    gathered = bytearray()
    for text in texts:
        gathered += text.encode()
        if len(gathered) >= CHUNK_BYTES:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)


def _csv_line(cells: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()

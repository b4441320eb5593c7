"""Text of any length to stdout or into a file. Source: specs/cli.md §6."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import click

from creditledger.cli.output_file import output_file

CHUNK_BYTES: Final = 1 << 20
"""So much is gathered before it is written: each write to a file is made durable."""


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

"""How the verbs speak: results on stdout, errors and progress on stderr. Source: specs/cli.md §1."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import click

from creditledger.ledger.json_line import as_line as as_line
from creditledger.ledger.json_line import plain as plain

LINE_MAX = 600

Answer = Mapping[str, Any]


def emit(answer: Answer, *, as_json: bool) -> None:
    """One JSON object, or one ``name: value`` line per field. Bytes are shown as hex."""
    if as_json:
        click.echo(as_line(answer))
        return
    for name, value in answer.items():
        click.echo(f"{name.replace('_', ' ')}: {shown(value)}")


def emit_rows(rows: Sequence[Answer], *, as_json: bool, title: str) -> None:
    """JSON lines, or one table."""
    if as_json:
        for row in rows:
            click.echo(as_line(row))
        return
    if not rows:
        click.echo(f"{title}: none")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for name, value in rows[0].items():
        justify: Literal["right", "left"] = "right" if isinstance(value, int | float) else "left"
        is_name = not table.columns  # What a row is about is never cut.
        table.add_column(name.replace("_", " "), justify=justify, no_wrap=is_name, overflow="fold")
    for row in rows:
        table.add_row(*(shown(value) for value in row.values()))
    Console().print(table)


def emit_bytes(text: bytes) -> None:
    """UTF-8 text to the byte, whatever this terminal's encoding is."""
    sys.stdout.flush()
    buffer = getattr(sys.stdout, "buffer", None)
    if buffer is None:
        sys.stdout.write(text.decode())
    else:
        buffer.write(text)


def note(text: str) -> None:
    """Prose for a person: stderr, one line."""
    click.echo(_one_line(text), err=True)


def fail(
    name: str,
    message: str,
    *,
    exit_code: int,
    as_json: bool,
    expected: str = "",
    found: str = "",
    evidence: str = "",
) -> int:
    """Report an error: one line on stderr, or ``{error, message, expected, found, exit}`` on stdout.

    ``evidence``: the file that convinces others of it, named in full where there is one."""
    if as_json:
        answer = {
            "error": name,
            "message": _one_line(message),
            "expected": _one_line(expected),
            "found": _one_line(found),
            "exit": exit_code,
        }
        click.echo(as_line(answer | ({"evidence": evidence} if evidence else {})))
    else:
        details = [f"expected {expected}"] if expected else []
        details += [f"found {found}"] if found else []
        suffix = f" ({', '.join(details)})" if details else ""
        place = f"; evidence: {_printable(evidence)}" if evidence else ""
        click.echo(_one_line(f"creditledger: {message}{suffix}") + place, err=True)
    sys.stdout.flush()
    return exit_code


def shown(value: Any) -> str:
    """``value`` in text, on one line."""
    value = plain(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | dict):
        return json.dumps(value)
    return "-" if value is None else _printable(str(value))


def _one_line(text: str) -> str:
    return _printable(text)[:LINE_MAX]


def _printable(text: str) -> str:
    # Control characters would let a hostile file write lines of its own into somebody's terminal.
    return "".join(c if c.isprintable() else " " for c in text)

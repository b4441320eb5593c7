"""Durations on the command line: ``90d``, ``12h``, ``30m``, ``45s``. Source: specs/cli.md §24."""

import re
from typing import Final

import click

_UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000}
_TEXT: Final = re.compile(r"([1-9][0-9]{0,8})([dhms])")


def duration(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Converts a whole number with its unit to milliseconds."""
    if value is None:
        return None
    found = _TEXT.fullmatch(value)
    if found is None:
        raise click.BadParameter("expected a whole number and d, h, m or s, such as 90d", ctx, param)
    return int(found[1]) * _UNITS_MS[found[2]]

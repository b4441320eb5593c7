"""Shapes that the page's charts are drawn with, in whole units of their own box. Source: specs/service.md §9.

The server draws each so that it is there without a script; its numbers stand in a table beside it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 1_000
HEIGHT: Final = 260


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a bar."""

    key: str
    """Names the colour: ``fill-KEY`` in the style sheet."""
    label: str
    value: int
    x: int
    width: int


def bar(parts: Sequence[tuple[str, str, int]]) -> list[Part]:
    """Parts (key, label, value of 0 or more) side by side, together `WIDTH` wide; none if all are 0.

    What is there is seen: a part that is not 0 is at least 4 wide, and the largest gives way."""
    total = sum(value for _, _, value in parts)
    if not total:
        return []
    widths = [max(4, value * WIDTH // total) if value else 0 for _, _, value in parts]
    widths[widths.index(max(widths))] += WIDTH - sum(widths)
    starts = [sum(widths[:at]) for at in range(len(widths))]
    return [
        Part(key=key, label=label, value=value, x=start, width=width)
        for (key, label, value), start, width in zip(parts, starts, widths, strict=True)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line through points, as SVG has it."""

    line: str
    area: str


def line(points: Sequence[tuple[int, int]], *, lowest: int | None = None) -> Line | None:
    """A line from left to right through (x, y), scaled to the box; None for fewer than two points.

    ``lowest``: the y of the box's bottom; by default the least."""
    if len(points) < 2:
        return None
    left, right = points[0][0], points[-1][0]
    ys = [y for _, y in points]
    bottom = min(ys) if lowest is None else lowest
    scaled = [
        (
            (x - left) * WIDTH // max(1, right - left),
            HEIGHT - (y - bottom) * HEIGHT // max(1, max(ys) - bottom),
        )
        for x, y in points
    ]
    path = " ".join(f"{'L' if at else 'M'}{x} {y}" for at, (x, y) in enumerate(scaled))
    return Line(line=path, area=f"{path} L{scaled[-1][0]} {HEIGHT} L{scaled[0][0]} {HEIGHT} Z")

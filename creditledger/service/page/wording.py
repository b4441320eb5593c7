"""Numbers, times and bytes as the page writes them: exact and grouped.

Source: specs/service.md §9."""

from collections.abc import Callable, Mapping
from typing import Final

from creditledger.ledger.naming import as_digest
from creditledger.redemption.amount import (
    CREDITS_PER_GPU_HOUR,
    MICRO_PER_CREDIT,
    format_credits,
    format_gpu_hours,
)
from creditledger.redemption.utc_time import moment_text

_SHOWN_DIGITS: Final = 12


def grouped(number: int) -> str:
    """``1,234,567``."""
    return f"{number:,}"


def credits_text(micro: int) -> str:
    """Micro-credits as credits, exact: ``-1,234.5``."""
    return _grouped_decimal(format_credits(micro))


def gpu_hours_text(micro: int) -> str:
    """Micro-credits as hours on one GPU of the reference class: ``~1,234.333333``."""
    text = format_gpu_hours(micro)
    is_inexact = text.startswith("~")
    return ("~" if is_inexact else "") + _grouped_decimal(text.removeprefix("~"))


def brief_hours_text(micro: int) -> str:
    """The same in few digits, rounded down: ``~1,234``, ``~12.34``, ``~0.000671``."""
    hours, rest = divmod(micro, CREDITS_PER_GPU_HOUR * MICRO_PER_CREDIT)
    if hours >= 100:
        return ("~" if rest else "") + grouped(hours)
    if hours:
        hundredths, rest = divmod(rest * 100, CREDITS_PER_GPU_HOUR * MICRO_PER_CREDIT)
        return f"{'~' if rest else ''}{hours}.{hundredths:02d}"
    return gpu_hours_text(micro)


def counted(count: int, noun: str) -> str:
    """``1 queue``, ``2,000 queues``."""
    return f"{grouped(count)} {noun}{'' if count == 1 else 's'}"


def percent_text(ppm: int) -> str:
    """Parts per million as per cent, exact: ``12.5 %``."""
    return f"{_grouped_decimal(format_credits(ppm * 100))} %"


def time_text(unix_ms: int) -> str:
    """``2026-11-23 08:00:00 UTC``."""
    return moment_text(unix_ms)[:19].replace("T", " ") + " UTC"


def span_text(ms: int) -> str:
    """A duration in its largest units, rounded down: ``2 d 3 h``, ``45 s``."""
    seconds = ms // 1_000
    parts = [
        (seconds // 86_400, "d"),
        (seconds // 3_600 % 24, "h"),
        (seconds // 60 % 60, "min"),
        (seconds % 60, "s"),
    ]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2]) or f"{ms} ms"


def short_hex(value: bytes) -> str:
    """The beginning of an id; whoever needs all of it follows the link or its title."""
    return f"{value.hex()[:_SHOWN_DIGITS]}…"


def handle(name: str, account: bytes) -> str:
    """What a path calls an account: its name, or its id where a path would take the name for another's id or
    for a step upwards."""
    is_plain = name.strip(".") and as_digest(name) is None
    return name if is_plain else account.hex()


def _grouped_decimal(text: str) -> str:
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    whole, point, decimals = digits.partition(".")
    return f"{sign}{int(whole):,}{point}{decimals}"


FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    "grouped": grouped,
    "credits": credits_text,
    "gpu_hours": gpu_hours_text,
    "brief_hours": brief_hours_text,
    "counted": counted,
    "percent": percent_text,
    "utc": time_text,
    "iso": moment_text,
    "span": span_text,
    "short": short_hex,
    "hex": bytes.hex,
    "handle": handle,
}
"""By the names that the templates use."""

"""Amounts as people write them: exact, never through a float. Source: specs/redemption.md §1."""

import re
from typing import Final

from creditledger.errors import AmountError, MalformedRecordError
from creditledger.quantities import require_amount

MICRO_PER_CREDIT: Final = 1_000_000
CREDITS_PER_GPU_HOUR: Final = 3_600
"""One credit is one GPU-second of the reference class."""

_UNITS: Final = {
    "": 1,
    "credit": MICRO_PER_CREDIT,
    "credits": MICRO_PER_CREDIT,
    "gpu-s": MICRO_PER_CREDIT,
    "gpu-h": CREDITS_PER_GPU_HOUR * MICRO_PER_CREDIT,
}
_DIGITS_MAX: Final = 40
_PATTERN: Final = re.compile(
    rf"(?P<sign>-?)(?P<whole>0|[1-9][0-9]{{0,{_DIGITS_MAX - 1}}})"
    rf"(?:\.(?P<part>[0-9]{{1,{_DIGITS_MAX}}}))?(?P<unit>[a-z][a-z-]{{0,9}})?",
    re.ASCII,
)


def parse_amount(text: str) -> int:
    """Micro-credits that ``text`` spells: ``2500000``, ``2.5credits`` or ``500gpu-h``.

    Without a unit it is a whole number of micro-credits; a ``gpu-h`` is 3,600 credits.
    Raises MalformedRecordError for anything that is not of this form; AmountError for a negative
    amount, one above 2^63-1, and one that is not a whole number of micro-credits.
    Source: specs/redemption.md §1."""
    found = _PATTERN.fullmatch(text)
    unit = _UNITS.get(found["unit"] or "") if found else None
    if found is None or unit is None or (found["part"] and not found["unit"]):
        raise MalformedRecordError(
            "not an amount", expected="like 2500000, 2.5credits or 500gpu-h", found=ascii(text)[:60]
        )
    if found["sign"]:
        raise AmountError("amount is negative", expected="0 or more", found=ascii(text)[:60])
    part = (found["part"] or "").rstrip("0")
    micro, rest = divmod(int(found["whole"] + part) * unit, 10 ** len(part))
    if rest:
        raise AmountError("amount is finer than a micro-credit", expected="10^-6 credits", found=text[:60])
    return require_amount(micro)


def format_amount(micro: int) -> str:
    """``micro`` as credits with as many decimals as it needs: ``2.5credits``.

    `parse_amount` is its inverse. Raises AmountError outside 0..2^63-1."""
    whole, rest = divmod(require_amount(micro), MICRO_PER_CREDIT)
    decimals = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{whole}{decimals}credits"


def format_credits(micro: int) -> str:
    """``micro`` as credits, without a unit: ``-2.5``. Exact, and of any size."""
    whole, rest = divmod(abs(micro), MICRO_PER_CREDIT)
    decimals = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{'-' if micro < 0 else ''}{whole}{decimals}"


def format_gpu_hours(micro: int) -> str:
    """``micro`` as GPU-hours of the reference class with at most six decimals: ``0.5``.

    Where that is not exact it is rounded toward zero and begins with ``~``, as in ``~0.333333``."""
    scaled, rest = divmod(abs(micro), CREDITS_PER_GPU_HOUR)
    return ("~" if rest else "") + format_credits(-scaled if micro < 0 else scaled)

"""Times as people write them, in UTC: moments, days and ISO weeks, out of Unix milliseconds.

Source: specs/redemption.md §8."""

from datetime import UTC, date, datetime, timedelta
from typing import Final

from creditledger.credits.spending import DAY_MS
from creditledger.errors import MalformedRecordError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999: what lies later is shown as this."""


def moment_text(time_unix_ms: int) -> str:
    """``2026-11-23T08:00:00.123Z``; nothing later than the year 9999."""
    return f"{_moment(time_unix_ms):%Y-%m-%dT%H:%M:%S}.{min(time_unix_ms, _LAST_MS) % 1_000:03d}Z"


def day_of(time_unix_ms: int) -> date:
    """The day; nothing later than the year 9999."""
    return _moment(time_unix_ms).date()


def week_of(time_unix_ms: int) -> str:
    """The ISO week, like ``2026-W48``: it begins on Monday, and its year is that of its Thursday."""
    year, week, _ = day_of(time_unix_ms).isocalendar()
    return f"{year}-W{week:02d}"


def last_weeks(time_unix_ms: int, count: int) -> list[str]:
    """The ISO week of a moment and those before it, ``count`` in all, the latest first."""
    moments = (time_unix_ms - 7 * DAY_MS * back for back in range(count))
    return [week_of(moment) for moment in moments if moment >= 0]


def parse_day(text: str) -> date:
    """The day that ``2026-11-23`` spells. Raises MalformedRecordError for any other form."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.isoformat() != text or found < _EPOCH.date():
        raise MalformedRecordError("not a day", expected="like 2026-11-23", found=ascii(text)[:40])
    return found


def begin_of(day: date) -> int:
    """Its first millisecond."""
    return (day - _EPOCH.date()).days * DAY_MS


def _moment(time_unix_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=min(time_unix_ms, _LAST_MS))

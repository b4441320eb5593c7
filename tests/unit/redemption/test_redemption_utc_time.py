"""Days and moments in UTC, as statements name them."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.errors import MalformedRecordError
from creditledger.quantities import AMOUNT_MAX
from creditledger.redemption.utc_time import DAY_MS, begin_of, day_of, moment_text, parse_day


@pytest.mark.parametrize(
    ("unix_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_400_123, "2000-02-29T00:00:00.123Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        (AMOUNT_MAX, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_moments(unix_ms: int, text: str) -> None:
    assert moment_text(unix_ms) == text


@given(st.dates(date(1970, 1, 1)))
def test_a_day_is_read_as_it_is_written_and_holds_its_milliseconds(day: date) -> None:
    assert parse_day(day.isoformat()) == day
    first = begin_of(day)
    assert day_of(first) == day_of(first + DAY_MS - 1) == day
    assert first == 0 or day_of(first - 1) < day


@pytest.mark.parametrize(
    "text", ["", "2026-02-30", "20261123", "2026-W48-1", "2026-1-1", "1969-12-31", "today", " 2026-01-01"]
)
def test_another_form_is_no_day(text: str) -> None:
    with pytest.raises(MalformedRecordError):
        parse_day(text)

"""The parts that views are made of: words, bars, lists, recent entries, statements, templates."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from starlette.requests import Request

from creditledger.errors import BusyError, LimitError, MalformedRecordError
from creditledger.ledger.ledger import Ledger
from creditledger.records.entry import LOGGED
from creditledger.records.kinds import Kind
from creditledger.redemption.statement import StatementLine, statement
from creditledger.service.page import entry_story, recent_log, statements
from creditledger.service.page.charts import HEIGHT, WIDTH, bar, line
from creditledger.service.page.listing import ROWS, listing
from creditledger.service.page.recent_log import RecentLog
from creditledger.service.page.statements import Statements
from creditledger.service.page.static_files import StaticFiles
from creditledger.service.page.templates import Templates
from creditledger.service.page.wording import (
    brief_hours_text,
    credits_text,
    gpu_hours_text,
    handle,
    percent_text,
    span_text,
    time_text,
)
from ledger_pools import START_MS, FixedClock, fill, found, grant, registration, signer

HOUR = 3_600_000_000


def asked(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": [], "path": "/"})


@given(st.integers(0, 2**63 - 1))
def test_an_amount_is_shown_to_the_last_micro_credit(micro: int) -> None:
    whole, _, part = credits_text(micro).replace(",", "").partition(".")
    assert int(whole) * 10**6 + int(part.ljust(6, "0")) == micro
    assert credits_text(-micro).removeprefix("-") == credits_text(micro)


def test_numbers_are_grouped_and_say_when_they_are_rounded() -> None:
    assert credits_text(1_234_567_500_000) == "1,234,567.5"
    assert gpu_hours_text(12 * HOUR) == "12"
    assert gpu_hours_text(1_000 * HOUR + 1).startswith("~1,000")
    assert [brief_hours_text(micro) for micro in (0, HOUR // 2, 12 * HOUR, 12 * HOUR + HOUR // 3)] == [
        "0", "0.5", "12.00", "~12.33",
    ]  # fmt: skip
    assert [brief_hours_text(1_234 * HOUR), brief_hours_text(1_234 * HOUR + 1)] == ["1,234", "~1,234"]
    assert [percent_text(1_000_000), percent_text(20_000), percent_text(1)] == ["100 %", "2 %", "0.0001 %"]
    assert [span_text(ms) for ms in (5, 61_000, 90_061_000, 3_600_000)] == [
        "5 ms",
        "1 min 1 s",
        "1 d 1 h",
        "1 h",
    ]
    assert time_text(START_MS) == "2025-06-15 15:06:40 UTC"


def test_a_name_that_a_path_would_take_for_something_else_is_not_used() -> None:
    account = bytes(range(32))
    assert handle("node-1", account) == "node-1"
    for name in ("", ".", "..", "...", "ab" * 32):
        assert handle(name, account) == account.hex()


@given(st.lists(st.integers(0, 2**62), max_size=6))
def test_a_bar_is_whole_and_shows_whatever_is_there(values: list[int]) -> None:
    parts = bar([(str(at), "", value) for at, value in enumerate(values)])
    if not any(values):
        assert parts == []
        return
    assert sum(part.width for part in parts) == WIDTH
    assert [part.x for part in parts] == [sum(p.width for p in parts[:at]) for at in range(len(parts))]
    assert all((part.width >= 4) == (part.value > 0) for part in parts)


@given(st.lists(st.tuples(st.integers(0, 2**42), st.integers(0, 2**40)), max_size=9).map(sorted))
def test_a_line_stays_in_its_box(points: list[tuple[int, int]]) -> None:
    drawn = line(points, lowest=0)
    if len(points) < 2:
        assert drawn is None
        return
    assert drawn is not None
    numbers = [step.lstrip("ML").split() for step in drawn.line.replace(" L", "|L").split("|")]
    assert all(0 <= int(x) <= WIDTH and 0 <= int(y) <= HEIGHT for x, y in numbers)
    assert len(numbers) == len(points)


def test_a_list_is_shown_in_parts() -> None:
    rows = list(range(ROWS + 1))
    assert [listing(asked(query), rows).rows for query in ("", "page=2", "page=3")] == [
        rows[:ROWS],
        [ROWS],
        [],
    ]
    assert listing(asked("page=2"), rows).pages == 2
    for query in ("page=0", "page=", "page=-1", "page=01", "page=1.", "page=१", "page=12345678"):
        with pytest.raises(MalformedRecordError):
            listing(asked(query), rows)


def test_the_recent_log_is_followed_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with found(tmp_path / "pool") as ledger:
        fill(ledger, 20)
        recent = RecentLog(ledger)
        assert [one.index for one in recent.newest_first()] == list(range(19, -1, -1))
        fill(ledger, 25)
        assert [one.index for one in recent.newest_first()][:6] == [24, 23, 22, 21, 20, 19]
        monkeypatch.setattr(recent_log, "ENTRIES_MAX", 8)
        assert [one.index for one in RecentLog(ledger).newest_first()] == list(range(24, 16, -1))
        fill(ledger, 60)
        assert [one.index for one in recent.newest_first()] == list(range(59, 51, -1))
        monkeypatch.setattr(recent_log, "BYTES_MAX", 1_000)
        small = RecentLog(ledger).newest_first()
        assert 0 < sum(one.size for one in small) <= 1_000
        assert small[0].index == 59


def test_every_kind_of_entry_has_its_words() -> None:
    assert set(entry_story._WORDS) == set(LOGGED)
    assert Kind.RECEIPT not in entry_story._WORDS


def test_statements_are_made_one_at_a_time_and_with_rests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replay is the dearest thing that a stranger can ask for."""
    clock = FixedClock()

    def slow(ledger: Ledger, account: bytes) -> list[StatementLine]:
        clock.now += 100
        return statement(ledger, account)

    monkeypatch.setattr(statements, "statement", slow)
    with found(tmp_path / "pool") as ledger:
        fill(ledger, 12)
        ledger.append(registration(ledger.id, "other"))
        account, other = (signer(name).public_key for name in ("filler", "other"))
        made = Statements(ledger, elapsed=clock)
        lines = made.lines(account)
        assert len(lines) >= 9
        ledger.append(grant(ledger.id, "filler", 1, 99))
        assert made.lines(account) is lines
        clock.now += 100 * statements.REST - 1
        with pytest.raises(BusyError):
            made.lines(other)
        clock.now += 1
        assert len(made.lines(other)) == 1
        clock.now += 10_000
        assert len(made.lines(account)) == len(lines) + 1
        with pytest.raises(LimitError):
            Statements(ledger, elapsed=clock, entries_max=12).lines(account)


def test_templates_escape_everything_and_miss_nothing() -> None:
    templates = Templates(static_url=StaticFiles().url)
    text = templates.render("search.html", text="<i>&\"'", found=[], is_cut=False)
    assert "<i>" not in text
    assert "&lt;i&gt;&amp;" in text
    with pytest.raises(UndefinedError):
        templates.render("search.html", found=[], is_cut=False)


def test_a_file_has_another_version_with_another_content(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.js").write_bytes(b"1")
    (tmp_path / "notes.txt").write_bytes(b"not served")
    url = StaticFiles(tmp_path).url("deep/a.js")
    assert url == f"/static/deep/a.js?v={hashlib.sha256(b'1').hexdigest()[:16]}"
    (tmp_path / "deep" / "a.js").write_bytes(b"2")
    assert StaticFiles(tmp_path).url("deep/a.js") != url
    with pytest.raises(KeyError):
        StaticFiles(tmp_path).url("notes.txt")

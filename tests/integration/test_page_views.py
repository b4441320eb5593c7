"""Every view in a real browser, of `creditledger serve` of a pool that has lived: specs/service.md §9."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browsing import Tab, chromium, faults_of, focus_order
from creditledger.ledger.clock import system_clock
from creditledger.service.signed_request import sign_link
from fakes.cast import ed25519
from fakes.lively_pool import HOSTILE_WITNESS, LivelyPool
from ledger_pools import registration
from pool_processes import RunningPool, serving

pytestmark = pytest.mark.chromium

VIEWS = {
    "overview": "/",
    "leaderboard": "/leaderboard",
    "nodes": "/nodes",
    "node": "/nodes/node",
    "suspended": "/nodes/other-node",
    "idle": "/nodes/idle-node",
    "account": "/accounts/ada",
    "levies": "/accounts/node",
    "queues": "/queues",
    "queue": "/queues/queue",
    "search": "/search?q=no",
    "found nothing": "/search?q=%3Cscript%3Ealert(1)%3C/script%3E",
}
SHOWN = {
    "overview": ("Growth of the log", "Witnesses", "Spent on checked work", "certified a round", "met"),
    "leaderboard": ("other-node suspended", "4.27779"),
    "nodes": ("3 nodes", "never", "Canaries upheld"),
    "node": ("Earned, not yet yours", "tiny-llama", "check due", "page-link URL node"),
    "suspended": ("the node is suspended", "refuted"),
    "idle": ("Nothing is waiting to vest.",),
    "account": ("4,983.579", "Budget of 30 days", "low balance", "Delegation at queue"),
    "queues": ("12.1", "5,400.0036"),
    "queue": ("7 min 12 s", "released: finished", "cpu"),
    "search": ("node",),
    "found nothing": ("<script>alert(1)</script>",),
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPool]:
    folder = tmp_path_factory.mktemp("page") / "ledger"
    LivelyPool(folder, now_unix_ms=system_clock()).ledger.close()
    with serving(folder, "--interval", 1) as served:
        yield served


@pytest.fixture
def tab(browser: Any, pool: RunningPool) -> Iterator[Tab]:
    opened = Tab(browser, pool.url, viewport={"width": 1280, "height": 900})
    yield opened
    opened.close()


def ratios_of(pool: RunningPool, name: str) -> str:
    """The signed link to a node's own page."""
    return sign_link(
        ed25519(name),
        ledger_id=pool.ledger_id,
        target=f"/nodes/{name}",
        expires_unix_ms=system_clock() + 600_000,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_shows_its_facts_to_everybody(
    browser: Any, pool: RunningPool, scheme: str, tmp_path: Path
) -> None:
    """No error, nothing refused by the content policy, contrast, labels, heads and landmarks in order."""
    tab = Tab(browser, pool.url, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    for name, path in VIEWS.items():
        page = tab.open(path)
        text = page.inner_text("main")
        for words in SHOWN.get(name, ()):
            assert words in text.replace("\n", " "), (name, words)
        assert faults_of(page) == [], name
        tab.shoot(f"{name}-{scheme}".replace(" ", "-"), tmp_path)
    page = tab.open(ratios_of(pool, "node"))
    assert page.locator("#ratio-table tbody tr").count() > 20
    assert page.locator("figure[data-chart=ratio-table] .uplot").count() == 1
    assert faults_of(page) == []
    tab.shoot(f"ratios-{scheme}", tmp_path)
    assert tab.complaints == []
    tab.close()


def test_what_a_policy_names_is_text(tab: Tab) -> None:
    """A name that somebody else chose never becomes a part of the page."""
    page = tab.open("/")
    assert HOSTILE_WITNESS in page.inner_text("main")
    assert page.locator("main b:text-is('mallory')").count() == 0
    assert tab.complaints == []


def test_the_page_is_read_without_scripts(browser: Any, pool: RunningPool, tmp_path: Path) -> None:
    tab = Tab(browser, pool.url, java_script_enabled=False, viewport={"width": 1280, "height": 900})
    for name, path in VIEWS.items():
        page = tab.open(path)
        text = page.locator("main").inner_text()
        for words in SHOWN.get(name, ()):
            assert words in text.replace("\n", " "), (name, words)
    page = tab.open("/")
    assert page.locator("figure[data-chart] svg path.line").get_attribute("d")
    page.locator("#growth-details summary").click()
    assert page.locator("#growth-table tbody tr").count() > 50
    page.fill("#q", "idle")
    page.locator("#q").press("Enter")
    assert page.locator("h1").inner_text() == "Accounts that begin with “idle”"
    tab.shoot("without-scripts", tmp_path)
    tab.close()


def test_a_narrow_screen_needs_no_scrolling_sideways(browser: Any, pool: RunningPool, tmp_path: Path) -> None:
    tab = Tab(browser, pool.url, viewport={"width": 360, "height": 740})
    for name, path in VIEWS.items():
        assert faults_of(tab.open(path)) == [], name
    tab.open("/")
    tab.shoot("narrow", tmp_path)
    tab.close()


def test_everything_is_reached_with_the_keyboard_in_its_order(tab: Tab) -> None:
    tab.page.route("**/*since=*", lambda route: route.fulfill(status=204))  # the page stays as it was counted
    for path in ("/", "/nodes/node", "/accounts/ada"):
        page = tab.open(path)
        reached = focus_order(page)
        lost = [one["what"] for place, one in enumerate(reached) if one["place"] != place]
        assert lost == [], path
        assert reached[0]["name"] == "Skip to the content"
        assert all(one["outline"] and one["seen"] for one in reached), reached
    page.keyboard.press("Tab")
    page.goto("/")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_nothing_moves_for_who_asked_for_that(browser: Any, pool: RunningPool) -> None:
    moving = "document.getAnimations().filter((one) => one.playState === 'running').length"
    for choice, count in (("no-preference", 1), ("reduce", 0)):
        tab = Tab(browser, pool.url, reduced_motion=choice)
        assert tab.open("/").evaluate(moving) == count
        tab.close()


def test_what_is_logged_appears_by_itself(tab: Tab, pool: RunningPool) -> None:
    """The page stays the page: what was open stays open, and who stands somewhere stays there."""
    page = tab.open("/")
    page.evaluate("window.isTheSame = true")
    page.locator("#growth-details summary").click()
    page.locator("#growth-details summary").focus()
    before = page.locator("figure[data-chart] .uplot").element_handle()
    name = f"newcomer-{time.monotonic_ns()}"
    pool.outcomes([registration(pool.ledger_id, name)])
    page.locator(f"main a:text-is('{name}')").wait_for(timeout=15_000)
    assert page.evaluate("window.isTheSame") is True
    assert page.evaluate("document.getElementById('growth-details').open") is True
    assert page.evaluate("document.activeElement.textContent") == "As a table"
    assert page.locator("figure[data-chart] .uplot").count() == 1
    assert not before.is_visible()
    assert tab.complaints == []


def test_a_quiet_page_is_left_alone(tab: Tab) -> None:
    """Nothing new: 204, and not a node of the page is replaced."""
    statuses: list[int] = []
    tab.page.on("response", lambda found: statuses.append(found.status) if "since=" in found.url else None)
    page = tab.open("/queues")
    kept = page.locator("#live").element_handle()
    deadline = time.monotonic() + 15
    while not statuses and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    page.wait_for_timeout(200)
    assert set(statuses) == {204}
    assert kept.evaluate("(one) => one.isConnected")


def test_a_reader_finds_a_node_and_takes_a_statement(tab: Tab) -> None:
    page = tab.open("/")
    page.fill("#q", "node")
    page.get_by_role("button", name="Find").click()
    assert page.locator("h1").inner_text() == "node"
    page.get_by_role("link", name="account and statement").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV, for a spreadsheet").click()
    assert download.value.suggested_filename == "statement-node.csv"
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith("index,time_unix_ms")
    assert len(lines) > 10
    assert tab.complaints == []


def test_an_error_is_a_page_with_a_way_out(tab: Tab, tmp_path: Path) -> None:
    page = tab.page
    for path, words in (
        ("/nothing", "There is nothing at this path"),
        ("/nodes/nobody", "Nothing is known under this id"),
        ("/nodes/ada", "Nothing is known under this id"),
        ("/nodes?page=0", "Not what was asked for"),
        ("/accounts/%3Cimg src=x onerror=alert(1)%3E", "Nothing is known under this id"),
    ):
        tab.open(path)
        assert page.locator("h1").inner_text() == words
        assert faults_of(page) == []
    tab.shoot("error", tmp_path)
    assert not [one for one in tab.complaints if "status of 4" not in one]
    page.get_by_role("link", name="To the overview").click()
    assert page.locator("h1").inner_text() == "pool.example/lively"


FAULTY = """<!doctype html><title></title><body><h1>a</h1><h1>b</h1><h3>c</h3>
<main style="width: 9px"><table><tr><th>wide</th></tr></table></main>
<p id=x style="color: #999; background: #fff">faint</p><p id=x></p><img src=/static/mark.svg>
<input><a href=/></a><svg viewBox="0 0 1 1"></svg><table><tr><th>head</th></tr></table><nav></nav>
<p style="width: 3000px">wide</p>"""


def test_what_is_looked_for_on_every_page_is_found_on_a_bad_one(browser: Any, pool: RunningPool) -> None:
    """The looking itself: each fault beside pages that have none of them."""
    tab = Tab(browser, pool.url)
    tab.page.set_content(FAULTY)
    found = faults_of(tab.page)
    for fault in (
        "no language", "no title", "no viewport", "2 of h1", "0 of body > header", "level 3 after 1",
        "two of #x", "no label", "no alt", "nameless picture", "nameless:", "nameless nav", "no scope",
        "contrast 2.8", "scrolls sideways", "wider than its place",
    ):  # fmt: skip
        assert [one for one in found if one.startswith(fault)], (fault, found)
    tab.close()

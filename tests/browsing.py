"""Chromium for tests of the page, and what must hold on every page that it shows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = Path(os.environ.get("CREDITLEDGER_CHROMIUM", "/usr/bin/chromium"))
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; skips without one."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="chromium: the package playwright is missing"
    )
    if not CHROMIUM.exists():
        pytest.skip(f"chromium: there is none at {CHROMIUM}")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield browser
        browser.close()


class Tab:
    """One page, and all that its browser complained of."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        """``options``: of the browser's context, such as ``color_scheme``."""
        self.context = browser.new_context(base_url=url, **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("requestfailed", lambda failed: self.complaints.append(f"failed: {failed.url}"))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def open(self, path: str) -> Any:
        """Go there; the page."""
        self.page.goto(path)
        return self.page

    def shoot(self, name: str, tmp_path: Path) -> None:
        """A picture of all of the page, kept where ``CREDITLEDGER_SCREENSHOTS`` says."""
        folder = Path(os.environ.get("CREDITLEDGER_SCREENSHOTS", tmp_path))
        folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(folder / f"{name}.png"), full_page=True)

    def close(self) -> None:
        self.context.close()


def faults_of(page: Any) -> list[str]:
    """What a reader who sees, hears or types differently would stumble over: empty on a good page."""
    found: list[str] = page.evaluate(_FAULTS)
    return found


def focus_order(page: Any) -> list[dict[str, Any]]:
    """Everything that Tab reaches from the page's beginning, in its order, until it comes round."""
    page.evaluate("document.activeElement.blur()")
    expected: int = page.evaluate(_FOCUSABLE + "focusable().length")
    reached = []
    for _ in range(expected):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(_FOCUSABLE + _FOCUSED))
    return reached


_FOCUSABLE = """
const CONTROLS = "a[href], button, input, summary, [tabindex='0']";
// What must be scrolled sideways and has no control inside is reached too, to be scrolled.
const isScroller = (one) => one.scrollWidth > one.clientWidth && !one.querySelector(CONTROLS);
const focusable = () => [...document.querySelectorAll(`${CONTROLS}, .scroll`)]
  .filter((one) => one.checkVisibility() && !one.disabled && (one.matches(CONTROLS) || isScroller(one)));
"""
_FOCUSED = """(() => {
  const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  return { place: focusable().indexOf(one), what: one.cloneNode().outerHTML,
           name: one.textContent.trim() || one.id,
           outline: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2,
           seen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight };
})()"""

_FAULTS = """() => {
  const faults = [], say = (fault, one) => faults.push(`${fault}: ${one.outerHTML.slice(0, 120)}`);
  const all = (selector) => [...document.querySelectorAll(selector)];
  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title.trim()) faults.push("no title");
  if (!document.querySelector("meta[name=viewport]")) faults.push("no viewport");
  for (const [selector, count] of [["main", 1], ["h1", 1], ["body > header", 1]])
    if (all(selector).length !== count) faults.push(`${all(selector).length} of ${selector}`);
  let level = 0;
  for (const one of all("h1, h2, h3, h4")) {
    const own = Number(one.tagName[1]);
    if (own > level + 1) say(`level ${own} after ${level}`, one);
    level = own;
  }
  const ids = all("[id]").map((one) => one.id);
  for (const id of new Set(ids)) if (ids.filter((one) => one === id).length > 1) faults.push(`two of #${id}`);
  for (const name of ["aria-labelledby", "aria-describedby"])
    for (const one of all(`[${name}]`))
      if (!document.getElementById(one.getAttribute(name))) say(`${name} of nothing`, one);
  for (const one of all("input:not([type=hidden]), select, textarea"))
    if (!one.labels.length && !one.ariaLabel) say("no label", one);
  for (const one of all("img")) if (one.getAttribute("alt") === null) say("no alt", one);
  for (const one of all("svg")) {
    const isNamed = one.getAttribute("aria-label"), isHidden = one.closest("[aria-hidden=true], [role=img]");
    if (!isNamed && !isHidden) say("nameless picture", one);
  }
  for (const one of all("a[href], button, summary"))
    if (!(one.textContent.trim() || one.ariaLabel || one.querySelector("img[alt]:not([alt=''])")))
      say("nameless", one);
  for (const one of all("nav"))
    if (!one.ariaLabel && !one.getAttribute("aria-labelledby")) say("nameless nav", one);
  for (const table of all("table:not(.u-legend)")) {
    if (!table.querySelector("th")) say("table without heads", table);
    for (const head of table.querySelectorAll("th"))
      if (!["col", "row"].includes(head.scope)) say("no scope", head);
  }
  for (const one of all("[style*='display: none'] [autofocus], [tabindex]"))
    if (Number(one.getAttribute("tabindex")) > 0) say("order of its own", one);

  const channels = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    const scale = text.startsWith("color(") ? 255 : 1;
    return [found[0] * scale, found[1] * scale, found[2] * scale, found[3] ?? 1];
  };
  const over = (top, under) => top.slice(0, 3).map((one, at) => one * top[3] + under[at] * (1 - top[3]));
  const light = (rgb) => rgb.map((one) => one / 255)
    .map((one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4))
    .reduce((sum, one, at) => sum + one * [0.2126, 0.7152, 0.0722][at], 0);
  const groundOf = (one) => {
    const layers = [];
    for (let at = one; at; at = at.parentElement) {
      const layer = channels(getComputedStyle(at).backgroundColor);
      if (layer[3] > 0) layers.push(layer);
      if (layer[3] === 1) break;
    }
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const checked = (one, colour, what) => {
    const style = getComputedStyle(one), ground = groundOf(one), text = over(channels(colour), ground);
    const [high, low] = [light(text), light(ground)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < (isLarge ? 3 : 4.5)) say(`${what} ${ratio.toFixed(2)}`, one);
  };
  for (const one of all("body *")) {
    if (one.closest("svg, .hidden, .skip") || !one.checkVisibility()) continue;
    const hasText = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (hasText) checked(one, getComputedStyle(one).color, "contrast");
    if (one.placeholder) checked(one, getComputedStyle(one, "::placeholder").color, "contrast of a hint");
  }
  for (const one of all("main table")) {
    const isPlaced = one.closest(".scroll") || one.scrollWidth <= one.parentElement.clientWidth + 1;
    if (one.checkVisibility() && !isPlaced) say("wider than its place", one);
  }
  if (document.documentElement.scrollWidth > innerWidth) {
    const widest = all("body *").find((one) => one.getBoundingClientRect().right > innerWidth + 1
      && !one.closest(".scroll"));
    say("scrolls sideways", widest ?? document.body);
  }
  return faults;
}"""

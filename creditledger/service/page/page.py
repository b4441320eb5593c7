"""What all views have in common: the frame around them, what they keep, and how they stay up to date.

Source: specs/service.md §9."""

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from creditledger.credits.state import StateView
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.service.page.moments import Moment, Moments
from creditledger.service.page.page_headers import page_headers
from creditledger.service.page.recent_log import RecentLog
from creditledger.service.page.shelf import Shelf
from creditledger.service.page.statements import Statements
from creditledger.service.page.static_files import StaticFiles
from creditledger.service.page.templates import Templates
from creditledger.validation.standing import (
    NodeStanding,
    ValidatorStanding,
    all_standings,
    validator_standings,
)

SINCE: Final = "since"
"""The query parameter by which a page asks for what is new: the mark of what it shows."""
SCRIPTS: Final = ("vendor/htmx.min.js", "live.js")
CHART_SCRIPTS: Final = ("vendor/uPlot.iife.min.js", "charts.js")
HTML: Final = "text/html; charset=utf-8"

T = TypeVar("T")


class Page:
    """The frame of one ledger's page."""

    def __init__(self, ledger: Ledger, *, clock: Clock, elapsed: Clock) -> None:
        """``elapsed``: milliseconds that nobody sets, for what is kept."""
        self.ledger = ledger
        self.clock = clock
        self.static = StaticFiles()
        self.templates = Templates(static_url=self.static.url)
        self.recent = RecentLog(ledger)
        self.statements = Statements(ledger, elapsed=elapsed)
        self._moments = Moments(ledger, elapsed=elapsed)
        self._shelf = Shelf(elapsed=elapsed)

    def moment(self) -> Moment:
        """As of when views speak now."""
        return self._moments.latest()

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """What ``make`` gives, made once for each state of the log at most: see `Shelf.get`."""
        return self.kept_as(key, self.moment().size, make)

    def kept_as(self, key: Hashable, version: Hashable, make: Callable[[], T]) -> T:
        """The same for what follows something else than the log: see `Shelf.get`."""
        return self._shelf.get(key, version, make)

    def read(self, look: Callable[[StateView], T]) -> T:
        """What ``look`` sees in the state of one moment."""
        with self.ledger.read() as state:
            return look(state)

    def nodes(self) -> list[NodeStanding]:
        """Every node's standing, by name."""

        def make() -> list[NodeStanding]:
            return sorted(self.read(all_standings), key=lambda node: node.name)

        return self.kept("nodes", make)

    def validators(self) -> list[ValidatorStanding]:
        """The standing of every member of the committee in force."""
        return self.kept("validators", lambda: self.read(validator_standings))

    def show(
        self,
        request: Request,
        template: str,
        values: Mapping[str, Any],
        *,
        title: str,
        section: str = "",
        scripts: Sequence[str] = (),
        modules: Sequence[str] = (),
        is_live: bool = True,
        is_private: bool = False,
        status: int = 200,
    ) -> Response:
        """The view that ``template`` makes of ``values``, framed; 304 or 204 where the reader has it.

        ``section``: which part of the navigation this is. ``scripts``, ``modules``: static files beside the
        frame's own. ``is_live``: the page asks for news by itself. ``is_private``: kept by no cache."""
        content = self.templates.render(template, **values)
        mark = _mark(content)
        live = {"content": content, "news": _news(request, mark) if is_live else ""}
        if is_live and SINCE in request.query_params:
            return _news_since(request, mark, self.templates.render("live.html", **live))
        whole = self.templates.render(
            "base.html",
            **live,
            **self.frame(),
            title=title,
            section=section,
            scripts=(*SCRIPTS, *scripts),
            modules=modules,
        )
        return _answer(request, whole, is_private=is_private, status=status)

    def fragment(self, request: Request, template: str, values: Mapping[str, Any]) -> Response:
        """What ``template`` makes of ``values``, by itself; 204 where the reader has it."""
        content = self.templates.render(template, **values)
        return _news_since(request, _mark(content), content)

    def frame(self) -> dict[str, Any]:
        """What the frame itself shows."""
        moment = self.moment()
        pulse = self.templates.render("pulse.html", moment=moment)
        return {"origin": self.ledger.origin, "ledger_id": self.ledger.id, "moment": moment, "pulse": pulse}


_NOT_STORED: Final = {"cache-control": "no-store"}


def _mark(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _news_since(request: Request, mark: str, content: str) -> Response:
    headers = page_headers() | _NOT_STORED
    if request.query_params.get(SINCE) == mark:
        return Response(status_code=204, headers=headers)
    return Response(content, headers=headers, media_type=HTML)


def _news(request: Request, mark: str) -> str:
    """Where the page that ``request`` asked for asks for what came after ``mark``."""
    pairs = [(name, value) for name, value in request.query_params.multi_items() if name != SINCE]
    return f"{request.url.path}?{urlencode([*pairs, (SINCE, mark)])}"


def _answer(request: Request, content: str, *, is_private: bool, status: int) -> Response:
    headers = page_headers()
    if is_private:
        return Response(content, status, headers=headers | _NOT_STORED, media_type=HTML)
    etag = f'"{hashlib.sha256(content.encode()).hexdigest()[:32]}"'
    headers |= {"cache-control": "no-cache", "etag": etag}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, status, headers=headers, media_type=HTML)

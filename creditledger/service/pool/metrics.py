"""What a pool's server counts, for Prometheus. Home of prometheus_client. Source: specs/service.md §2."""

import threading
import time
from collections.abc import Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from creditledger.credits import reading
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.service.pool.appending import Commits
from creditledger.service.pool.group_commit import Commit
from creditledger.validation.standing import all_standings

STATE_MS: Final = 10_000
"""How long sums over the state are believed before they are taken anew."""
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE")
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counters of one server. No label has a value that a client chose."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._submissions = Counter(
            "creditledger_submissions", "Submissions by outcome", ["outcome"], registry=self.registry
        )
        self._commits = Histogram(
            "creditledger_commit_seconds",
            "Time of a durable commit",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._requests = Counter(
            "creditledger_requests",
            "Requests answered",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self._times = Histogram(
            "creditledger_request_seconds",
            "Time to answer a request",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        for outcome in ("logged", "repeated", "refused"):
            self._submissions.labels(outcome)

    def note_commit(self, commit: Commit) -> None:
        """Count what one commit came to."""
        self._commits.observe(commit.seconds)
        self._submissions.labels("logged").inc(commit.logged)
        self._submissions.labels("repeated").inc(commit.repeated)
        self._submissions.labels("refused").inc(commit.refused)

    def note_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one answer. ``route``: the server's own spelling of it."""
        known = method if method in METHODS else "other"
        self._requests.labels(route, known, str(status)).inc()
        self._times.labels(route).observe(seconds)


class CountedRequests:
    """ASGI middleware that counts answers by route."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status, began = 0, time.perf_counter()

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counting)
        finally:
            if status:
                route = str(getattr(scope.get("route"), "path", "none"))
                self._metrics.note_request(route, scope["method"], status, time.perf_counter() - began)


class _StateCollector:
    """Sums over the ledger's state, taken when they are read, though not more often than `STATE_MS`."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._turn = threading.Lock()
        self._taken_unix_ms = -STATE_MS
        self._families: list[GaugeMetricFamily] = []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        with self._turn:
            now = self._clock()
            if not 0 <= now - self._taken_unix_ms < STATE_MS:
                self._families, self._taken_unix_ms = list(self._take()), now
            families = self._families
        yield from families

    def _take(self) -> Iterator[GaugeMetricFamily]:
        with self._ledger.read() as state:
            sums, size = reading.totals(state), reading.tip(state).size
            nodes = all_standings(state)
        credits = GaugeMetricFamily(
            "creditledger_credits_micro", "Micro-credits of all accounts by state", labels=["state"]
        )
        for name in ("granted", "available", "overdrawn", "held", "unvested", "burned"):
            credits.add_metric([name], getattr(sums, f"{name}_micro"))
        yield credits
        checks = GaugeMetricFamily(
            "creditledger_checks", "Verdicts on receipts by outcome", labels=["outcome"]
        )
        for name in ("upheld", "refuted", "inconclusive"):
            checks.add_metric([name], sum(getattr(node, name) for node in nodes))
        yield checks
        yield GaugeMetricFamily("creditledger_entries", "Entries in the log", value=size)


def metrics_routes(metrics: Metrics, ledger: Ledger, commits: Commits, *, clock: Clock) -> list[BaseRoute]:
    """`GET /metrics`."""
    Gauge(
        "creditledger_waiting_submissions",
        "Submissions that no commit has taken yet",
        registry=metrics.registry,
    ).set_function(lambda: commits.waiting)
    metrics.registry.register(_StateCollector(ledger, clock))

    async def show(request: Request) -> Response:
        content = await run_in_threadpool(generate_latest, metrics.registry)
        headers = {"cache-control": "no-store", "content-type": CONTENT_TYPE_LATEST}
        return Response(content, headers=headers)

    return [Route("/metrics", show, methods=["GET"])]

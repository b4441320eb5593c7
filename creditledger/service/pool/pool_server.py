"""A served pool: what runs behind its routes, and the application in front. Source: specs/service.md §1."""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.types import Scope

from creditledger.errors import CreditLedgerError
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.standby import StandbyLedger
from creditledger.service.evidence_app import evidence_app
from creditledger.service.evidence_rights import LedgerRights
from creditledger.service.evidence_shelf import QUOTA, Quota
from creditledger.service.pool.account_routes import account_routes
from creditledger.service.pool.appending import Appending, SubmissionFilter
from creditledger.service.pool.event_log import EventLog
from creditledger.service.pool.group_commit import Commit, GroupCommit
from creditledger.service.pool.health import health_routes
from creditledger.service.pool.metrics import CountedRequests, Metrics, metrics_routes
from creditledger.service.pool.openapi import openapi_routes
from creditledger.service.pool.problems import plain_problem, problem_of
from creditledger.service.pool.published_files import published_files
from creditledger.service.pool.publishing import Publishing
from creditledger.service.pool.records_routes import records_routes
from creditledger.service.pool.request_bounds import Limits, RequestBounds
from creditledger.service.pool.staged_commit import StagedCommit
from creditledger.service.pool.steward import Steward

INTERVAL_SECONDS = 5
EVIDENCE = "/v1/evidence"


class PoolServer:
    """The threads that commit, publish and keep house over one ledger open for writing.

    A context: started on entering; on leaving, what waits is committed and published. The ledger is the
    caller's to close."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        interval_seconds: int = INTERVAL_SECONDS,
        clock: Clock = system_clock,
        events: EventLog | None = None,
        on_failure: Callable[[CreditLedgerError], None] = lambda error: None,
    ) -> None:
        """``on_failure`` is told once of an error after which nothing is written any more: end the server."""
        self.ledger = ledger
        self.clock = clock
        self.interval_seconds = interval_seconds
        self.events = events or EventLog(None)
        self.steward = Steward(ledger, events=self.events, on_failure=on_failure)
        self.publishing = Publishing(
            self.steward, interval_seconds=interval_seconds, clock=clock, events=self.events
        )
        self.metrics = Metrics()
        self.commits: GroupCommit | StagedCommit = self._new_commits(ledger)

    def __enter__(self) -> Self:
        self.publishing.start()
        try:
            self.commits.start()
        except BaseException:
            self.publishing.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.commits.stop()
        self.publishing.stop()

    def _new_commits(self, ledger: Ledger) -> GroupCommit | StagedCommit:
        if not isinstance(ledger, StandbyLedger):
            return GroupCommit(self.steward, on_commit=self._committed)
        return StagedCommit(
            self.steward,
            ledger,
            clock=self.clock,
            events=self.events,
            on_commit=self._committed,
            on_news=self.publishing.note_news,
        )

    def _committed(self, commit: Commit) -> None:
        self.metrics.note_commit(commit)
        if commit.logged:
            self.publishing.note_news()


def pool_app(
    server: PoolServer,
    *,
    more: Sequence[BaseRoute] = (),
    middleware: Sequence[Middleware] = (),
    submission_filter: SubmissionFilter | None = None,
    limits: Limits | None = None,
    evidence_quota: Quota = QUOTA,
) -> Starlette:
    """The ASGI application of a pool.

    ``more``: routes after the pool's own. ``middleware``: inside the bounds and outside every route; it may
    set ``scope[appending.TOKEN]``. ``submission_filter`` sees every submission first."""
    appending = Appending(
        server.ledger, server.commits, clock=server.clock, submission_filter=submission_filter
    )
    evidence = evidence_app(
        server.ledger.directory,
        rights=LedgerRights(server.ledger),
        ledger_id=server.ledger.id,
        audience=server.ledger.id,
        clock=server.clock,
        quota=evidence_quota,
    )
    bounds = Middleware(
        RequestBounds, limits=limits or Limits(), events=server.events, is_stream=_is_evidence
    )
    counted = Middleware(CountedRequests, metrics=server.metrics)
    app = Starlette(
        routes=[
            *records_routes(appending),
            *account_routes(server.ledger, clock=server.clock),
            *published_files(server.ledger.directory),
            *health_routes(
                server.steward,
                server.publishing,
                clock=server.clock,
                interval_seconds=server.interval_seconds,
            ),
            *metrics_routes(server.metrics, server.ledger, server.commits, clock=server.clock),
            *openapi_routes(),
            Mount(EVIDENCE, app=evidence),
            *more,
        ],
        middleware=[counted, bounds, *middleware],
        exception_handlers={CreditLedgerError: _refused, HTTPException: _http_error},
    )
    app.router.redirect_slashes = False
    return app


def _is_evidence(scope: Scope) -> bool:
    return str(scope["path"]).startswith(f"{EVIDENCE}/")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, CreditLedgerError)
    return problem_of(error).response()


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return plain_problem(error.status_code, headers=error.headers).response()

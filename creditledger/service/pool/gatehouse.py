"""All that lets in or keeps out, for one open ledger. Source: specs/service.md §4."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from creditledger.credits import reading
from creditledger.ledger.clock import Clock, steady_clock, system_clock
from creditledger.ledger.ledger import Ledger
from creditledger.service.pool.admission_desk import AdmissionDesk
from creditledger.service.pool.gate import Gate
from creditledger.service.pool.gate_settings import GateSettings
from creditledger.service.pool.gate_store import open_gate_store
from creditledger.service.pool.rate_limits import RateLimits
from creditledger.service.pool.submission_gate import SubmissionGate
from creditledger.service.pool.tokens import Tokens

if TYPE_CHECKING:
    from starlette.middleware import Middleware
    from starlette.routing import BaseRoute


class Gatehouse:
    """Settings, tokens, desk and limits of one server, and what it hangs in front of itself. A context."""

    def __init__(self, ledger: Ledger, *, clock: Clock = system_clock, elapsed: Clock = steady_clock) -> None:
        """``elapsed``: milliseconds that nobody sets, for the rate limits.

        Raises MalformedRecordError for a ``service.toml`` that cannot be followed; StorageError."""
        self.settings = GateSettings.load(ledger.directory.service_settings)
        with ledger.read() as state:
            policy = self.settings.policy_for(reading.parameters_in_force(state).admission)
        self._store = open_gate_store(ledger.directory)
        self.tokens = Tokens(self._store, clock=clock)
        self.desk = AdmissionDesk(ledger, self._store, policy=policy, clock=clock)
        self.limits = RateLimits(self.settings.limits, clock=elapsed)
        self.submissions = SubmissionGate(ledger, self.limits, self.desk)

    @property
    def middleware(self) -> "Middleware":
        """The `Gate`, around every route."""
        from starlette.middleware import Middleware

        return Middleware(Gate, settings=self.settings, tokens=self.tokens, limits=self.limits)

    @property
    def routes(self) -> "list[BaseRoute]":
        """`/v1/admissions`."""
        from creditledger.service.pool.admission_routes import admission_routes

        return admission_routes(self.desk)

    def close(self) -> None:
        """Let go of the store; a second call does nothing."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

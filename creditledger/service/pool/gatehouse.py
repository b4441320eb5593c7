"""All that lets in or keeps out, for one open ledger. Source: specs/service.md §4."""

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from creditledger.credits import reading
from creditledger.ledger.clock import Clock, system_clock
from creditledger.ledger.ledger import Ledger
from creditledger.service.pool.admission_desk import AdmissionDesk
from creditledger.service.pool.gate import App, Gate
from creditledger.service.pool.gate_settings import GateSettings
from creditledger.service.pool.gate_store import open_gate_store
from creditledger.service.pool.rate_limits import RateLimits
from creditledger.service.pool.submission_gate import SubmissionGate
from creditledger.service.pool.tokens import Tokens

if TYPE_CHECKING:
    from starlette.routing import BaseRoute


class Gatehouse:
    """Settings, tokens, desk and limits of one server, and what it hangs in front of itself.

    ``middleware`` wraps the whole application, ``check`` looks at submissions, ``routes`` are mounted."""

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        *,
        clock: Clock = system_clock,
        monotonic: Clock | None = None,
    ) -> None:
        """``ledger``: the one that is open now. ``monotonic``: milliseconds for the rate limits.

        Raises MalformedRecordError for a ``service.toml`` that cannot be followed; StorageError."""
        opened = ledger()
        self.settings = GateSettings.load(opened.directory.service_settings)
        with opened.read() as state:
            policy = self.settings.policy_for(reading.parameters_in_force(state).admission)
        self._store = open_gate_store(opened.directory)
        self.tokens = Tokens(self._store, clock=clock)
        self.desk = AdmissionDesk(ledger, self._store, policy=policy, clock=clock)
        self.limits = RateLimits(self.settings.limits, clock=monotonic or clock)
        self.check = SubmissionGate(ledger, self.limits, self.desk).check

    def middleware(self, app: App) -> Gate:
        """``app`` behind the gate."""
        return Gate(app, settings=self.settings, tokens=self.tokens, limits=self.limits)

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

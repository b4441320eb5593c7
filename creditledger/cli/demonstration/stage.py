"""Where the parties play: all in this process, or each in its own. The acts are the same."""

from collections.abc import Callable
from typing import Any, Protocol

from creditledger.activations.runners.weights import LoadedModel
from creditledger.cli.demonstration.cast import Cast
from creditledger.cli.demonstration.scene import Progress, Scene
from creditledger.credits.state import StateView
from creditledger.ledger.audit import AuditReport
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger

Measure = Callable[[StateView], tuple[int, int]]
"""How much of something is done, and how much there is to do."""


class ClientPart(Protocol):
    """See `client.Client`."""

    def order(self) -> list[str]: ...
    def send(self) -> None: ...
    def confirm(self) -> None: ...


class OwnerPart(Protocol):
    """See `spending.Owner`."""

    def buy(self) -> int: ...
    def voucher(self) -> str: ...


class QueuePart(Protocol):
    """See `spending.Queue`."""

    def run(self, voucher: str) -> dict[str, Any]: ...


class Stage(Protocol):
    """The pool at work, with everybody in it."""

    @property
    def url(self) -> str | None:
        """Where the pool is served; None where it is not."""

    @property
    def ledger(self) -> Ledger:
        """What the audience sees of the pool."""

    @property
    def client(self) -> ClientPart:
        """Whoever orders."""

    @property
    def owner(self) -> OwnerPart:
        """Whoever spends what the first node earned."""

    @property
    def queue(self) -> QueuePart:
        """Whoever runs what was bought."""

    @property
    def profiles(self) -> tuple[str, ...]:
        """What each node runs: a kernel's name, or the way it cheats."""

    def until(self, what: str, measure: Measure) -> None:
        """Go on when all of it is done; meanwhile the committee and the operator do their work.

        Raises BusyError if it is not done in time."""

    def audit(self) -> AuditReport:
        """Replay the whole published log."""

    def require_alive(self) -> None:
        """Raises BusyError if a party has ended."""

    def close(self) -> None:
        """Everybody goes home; a second call does nothing."""


class OpenStage(Protocol):
    """Makes a stage of a founded pool, whose ledger it then owns."""

    def __call__(
        self,
        scene: Scene,
        cast: Cast,
        ledger: Ledger,
        model: LoadedModel,
        *,
        clock: Clock,
        progress: Progress,
    ) -> Stage: ...

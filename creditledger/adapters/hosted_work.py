"""One answer while a model of this process works on it. Source: specs/service.md §8."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event
from typing import Final

from creditledger.activations.sampler import Sampler
from creditledger.errors import ConflictError, CreditLedgerError, RefusedError
from creditledger.minting.minter import Minter
from creditledger.minting.selection import Selection
from creditledger.minting.session import Session
from creditledger.minting.work_order import WorkOrder

END_SECONDS_MAX: Final = 600.0
"""How long a model may go on after the answer's connection ended, before its receipts are given up."""


class HostedWork:
    """A client's order, how its tokens are to be drawn, and the session that records the rows.

    Whoever runs the model finds it by `current_work` and runs inside `running`, once."""

    def __init__(self, *, order: WorkOrder, sampler: Sampler, session: Session, minter: Minter) -> None:
        self.order = order
        self.sampler = sampler
        self.refusal: CreditLedgerError | None = None
        """Why the model would not run it, for the client to be told."""
        self.is_given_back = False
        """Whether the order may be taken again, since the model never began."""
        self._session = session
        self._minter = minter
        self._ended = Event()
        self._was_run = False

    @property
    def positions_max(self) -> int:
        """The most positions, prompt included, that the order pays for."""
        return self.order.job.max_positions

    @property
    def was_run(self) -> bool:
        """Whether the model ever began."""
        return self._was_run

    def require_fits(self, prompt_positions: int) -> None:
        """Before `running`: that the order pays for the prompt. Raises RefusedError, for the client too."""
        if prompt_positions > self.positions_max:
            self.refusal = RefusedError(
                "the prompt has more positions than the order pays for",
                expected=f"at most {self.positions_max}",
                found=str(prompt_positions),
            )
            raise self.refusal

    @contextmanager
    def running(self, selection: Selection = slice(0, 1)) -> Iterator[Session]:
        """Run the model inside, on this thread: hooks record the rows of ``selection``, see `Minter.rows`.

        Leaving it by an error makes no receipt of a window that is not whole, and is told to the client
        if it is a `CreditLedgerError`. Raises ConflictError for a second run."""
        if self._was_run or self.is_given_back:
            raise ConflictError("an order is worked on once", found=self.order.job.id.hex())
        self._was_run = True
        try:
            with self._session, self._minter.rows({self._session: selection}):
                yield self._session
        except CreditLedgerError as error:
            self.refusal = error
            raise
        finally:
            self._ended.set()

    def ended(self) -> Session | None:
        """The session once the model is done with it; None if it never ran, or does not end. Waits."""
        return self._session if self._was_run and self._ended.wait(END_SECONDS_MAX) else None


_CURRENT: ContextVar[HostedWork | None] = ContextVar("creditledger-hosted-work", default=None)


def current_work() -> HostedWork | None:
    """What the request that is being answered here was ordered by, if it was."""
    return _CURRENT.get()


@contextmanager
def working_on(work: HostedWork) -> Iterator[None]:
    """Make ``work`` the current one of everything that is called inside."""
    token = _CURRENT.set(work)
    try:
        yield
    finally:
        _CURRENT.reset(token)

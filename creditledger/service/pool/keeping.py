"""What is kept of a request under a client's key, in the commit of what it asks for.

Source: specs/service.md §2."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from creditledger.credits.state import StateView
from creditledger.ledger.clock import Clock
from creditledger.ledger.writer import Outcome
from creditledger.records.entry import Submission
from creditledger.service.pool import kept_answers
from creditledger.service.pool.kept_answers import Answer, KeyedRequest
from creditledger.service.pool.tellings import Asked, Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """Writes the answer to a keyed request beside the log."""

    request: KeyedRequest
    telling: Telling
    asked: Asked
    ledger_id: bytes
    clock: Clock

    def __call__(self, kept: StateView, outcomes: Sequence[Outcome]) -> None:
        """``outcomes``: of the submissions among what was asked, in order. See `writer.Beside`."""
        answer = answer_to(self.asked, outcomes, self.telling, self.ledger_id)
        kept_answers.keep(kept, self.request, answer, now_unix_ms=self.clock())


def answer_to(asked: Asked, outcomes: Sequence[Outcome], telling: Telling, ledger_id: bytes) -> Answer:
    """The answer to all that was asked, given what became of the submissions among it."""
    rest: Iterator[Outcome] = iter(outcomes)
    return telling([next(rest) if isinstance(one, Submission) else one for one in asked], asked, ledger_id)

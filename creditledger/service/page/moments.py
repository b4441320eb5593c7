"""As of when a page speaks. Source: specs/service.md §9."""

from dataclasses import dataclass

from creditledger.credits import reading
from creditledger.errors import CreditLedgerError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.quantities import RoundNumber, UnixMillisecond
from creditledger.transparency.checkpoint import parse_checkpoint_note

LOOK_MS = 1_000
"""The log is looked at anew after so long: what is appended faster is shown together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How far a ledger has come."""

    size: int
    """Entries logged."""
    time_unix_ms: UnixMillisecond
    """Of the last entry."""
    certified_round: RoundNumber
    """0 before the first."""
    certified_size: int
    note: bytes
    """The published checkpoint; empty before there is one."""
    published_size: int


class Moments:
    """The latest moment of a ledger, at most `LOOK_MS` old."""

    def __init__(self, ledger: Ledger, *, elapsed: Clock) -> None:
        """``elapsed``: milliseconds that nobody sets."""
        self._ledger = ledger
        self._elapsed = elapsed
        self._taken: tuple[int, Moment] | None = None

    def latest(self) -> Moment:
        """Raises StorageError, IntegrityError."""
        taken, now = self._taken, self._elapsed()
        if taken is None or not 0 <= now - taken[0] < LOOK_MS:
            # Two at once both look: that costs less than to wait.
            taken = self._taken = now, self._take()
        return taken[1]

    def _take(self) -> Moment:
        with self._ledger.read() as state:
            tip, certified = reading.tip(state), reading.latest_certified_round(state)
        note, published = self._published()
        return Moment(
            size=tip.size,
            time_unix_ms=tip.time_unix_ms,
            certified_round=0 if certified is None else certified.round.number,
            certified_size=0 if certified is None else certified.round.log_size,
            note=note,
            published_size=published,
        )

    def _published(self) -> tuple[bytes, int]:
        try:
            note = self._ledger.checkpoint()
            return note, parse_checkpoint_note(note).size
        except CreditLedgerError:
            return b"", 0

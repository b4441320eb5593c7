"""Statements on request: the log replayed, one at a time and with rests. Source: specs/service.md §9."""

import threading
from collections.abc import Sequence
from typing import Final

from creditledger.errors import BusyError, LimitError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.redemption.statement import StatementLine, statement
from creditledger.service.page.shelf import Shelf

ENTRIES_MAX: Final = 50_000
"""Of a longer log no statement is made here: whoever wants one replays it on their own machine."""
REST: Final = 2
"""The server replays for a third of the time at most, whoever asks for what."""


class Statements:
    """Statements of one ledger, one replay at a time. Safe to use from several threads."""

    def __init__(self, ledger: Ledger, *, elapsed: Clock, entries_max: int = ENTRIES_MAX) -> None:
        """``elapsed``: milliseconds that nobody sets."""
        self._ledger = ledger
        self._elapsed = elapsed
        self._entries_max = entries_max
        self._shelf = Shelf(elapsed=elapsed, kept_max=4)
        self._turn = threading.Lock()
        self._rests_until_ms = 0

    def lines(self, account: bytes) -> Sequence[StatementLine]:
        """The account's lines, or those it had a few replays ago.

        Raises LimitError for a log that is too long, BusyError while another is being made."""
        size = self._ledger.size
        if size > self._entries_max:
            raise LimitError(
                "the log is too long to replay it here: use `creditledger statement`",
                expected=f"at most {self._entries_max} entries",
                found=str(size),
            )
        return self._shelf.get(account, size, lambda: self._replay(account))

    def _replay(self, account: bytes) -> Sequence[StatementLine]:
        if self._elapsed() < self._rests_until_ms or not self._turn.acquire(blocking=False):
            raise BusyError("another statement is being made, or was just now")
        began = self._elapsed()
        try:
            return statement(self._ledger, account)
        finally:
            ended = self._elapsed()
            self._rests_until_ms = ended + REST * (ended - began)
            self._turn.release()

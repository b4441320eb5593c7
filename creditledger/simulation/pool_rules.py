"""The pool's rules as one node meets them: production's functions, asked with plain numbers; and the rules of
pools that do not hold, to show that the simulation sees it. Source: specs/simulation.md §2."""

from collections import deque
from dataclasses import dataclass, field
from typing import TypeAlias

from creditledger.credits.ballot import Ballot, after_mismatch
from creditledger.credits.duty import CERTAIN_PPM, rate_ppm
from creditledger.credits.lots import is_vesting_due
from creditledger.credits.standing import Probation
from creditledger.records.parameters import Parameters

Lot: TypeAlias = tuple[int, int, int, int]
"""Settled round and time, the node's settled value then, amount."""


@dataclass(slots=True, kw_only=True, eq=False)
class Account:
    """A node under one name: balances, standing and unvested lots, the oldest first."""

    available_micro: int = 0
    unvested_micro: int = 0
    settled_micro: int = 0
    cusum_micro: int = 0
    is_alarmed: bool = False
    is_suspended: bool = False
    awaits_slash: bool = False
    probation: Probation = field(default_factory=Probation)
    seen_failures: int = 0
    upheld_in_row: int = 0
    lots: deque[Lot] = field(default_factory=deque)

    def vest(self, parameters: Parameters, *, round_number: int, now_unix_ms: int) -> None:
        """Make final what is due. A later lot is never due before an older one."""
        while self.lots and not self.is_suspended:
            settled_round, settled_unix_ms, settled_micro, amount = self.lots[0]
            if not is_vesting_due(
                parameters,
                lot_settled_micro=settled_micro,
                lot_settled_round=settled_round,
                lot_settled_unix_ms=settled_unix_ms,
                node_settled_micro=self.settled_micro,
                round_number=round_number,
                now_unix_ms=now_unix_ms,
            ):
                return
            self.lots.popleft()
            self.unvested_micro -= amount
            self.available_micro += amount

    def slash(self, amount_micro: int) -> None:
        """A certified slash: burns the newest lots first, ends a suspension, restarts probation."""
        left = min(amount_micro, self.unvested_micro)
        self.unvested_micro -= left
        while left:
            settled_round, time, settled, amount = self.lots.pop()
            if amount > left:
                self.lots.append((settled_round, time, settled, amount - left))
            left -= min(left, amount)
        if self.is_suspended:
            self.is_suspended = False
            self.probation = self.probation.replace(from_micro=self.settled_micro)
        self.awaits_slash = False


class PoolRules:
    """What the pool does with a node, by its parameters."""

    burns_silence = True

    def __init__(self, parameters: Parameters, *, receipt_micro: int) -> None:
        self.parameters = parameters
        self._receipt_micro = receipt_micro

    def rate(self, account: Account) -> int:
        """At which rate, in 10^-6, its next receipts are checked."""
        return rate_ppm(
            self.parameters,
            settled_micro=account.settled_micro,
            is_alarmed=account.is_alarmed,
            value_micro=self._receipt_micro,
            certain_until_micro=account.probation.certain_until_micro,
            probation_from_micro=account.probation.from_micro,
        )

    def judge(self, account: Account, before: Ballot, after: Ballot) -> None:
        """What one more verdict on a receipt means for its node."""
        if after.refuted == before.refuted and after.has_failed == before.has_failed:
            return
        account.probation = after_mismatch(
            account.probation,
            before,
            after,
            settled_micro=account.settled_micro,
            probation_micro=self.parameters.probation_micro,
        )
        if after.has_failed and not before.has_failed:
            account.is_suspended = True


class OneOverN(PoolRules):
    """BOINC's: the first ten results are checked, then one in as many as were upheld in a row; no penalty."""

    def rate(self, account: Account) -> int:
        """Never a floor."""
        return CERTAIN_PPM if account.upheld_in_row < 10 else CERTAIN_PPM // account.upheld_in_row

    def judge(self, account: Account, before: Ballot, after: Ballot) -> None:
        """A failure costs the receipt and ends the row."""
        if after.refuted > before.refuted:
            account.upheld_in_row = 0
        elif after.is_complete and after.upheld > before.upheld and not after.refuted:
            account.upheld_in_row += 1
        if after.has_failed and not before.has_failed:
            account.probation = account.probation.replace(confirmed=account.probation.confirmed + 1)


class FreeSilence(PoolRules):
    """As the pool's, but who shows no data only loses the receipt."""

    burns_silence = False

    def judge(self, account: Account, before: Ballot, after: Ballot) -> None:
        """Silence is held against nobody."""
        if after.refuted > before.refuted:
            super().judge(account, before, after)


class FlatRate(PoolRules):
    """Every receipt at the floor's rate, whatever is known of its node; no penalty but the receipt."""

    def rate(self, account: Account) -> int:
        """No probation, no alarm, no memory."""
        return self.parameters.check_floor_ppm

    def judge(self, account: Account, before: Ballot, after: Ballot) -> None:
        """Only counted."""
        if after.has_failed and not before.has_failed:
            account.probation = account.probation.replace(confirmed=account.probation.confirmed + 1)

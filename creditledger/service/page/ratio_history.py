"""How a node's checks came out, one by one: for the holder of its key. Source: specs/service.md §9.

What is published of a ratio is the step that it adds to the running sum of `specs/check.md` §5.3, clipped and
in a coarse grain; this turns it back into a ratio beside the line that it is measured against."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from creditledger.activations.cusum import CUSUM_DEVIATION, CUSUM_SHIFT
from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.ledger.ledger import Ledger, Snapshot
from creditledger.quantities import AccountId, Digest, LeafIndex, MemberIndex, RoundNumber, UnixMillisecond
from creditledger.records.verdict import CUSUM_STEP_BIAS, Outcome, Reason, Reveal, Verdict
from creditledger.service.page.recent_log import Logged

CHECKS_MAX: Final = 200
VERDICTS_READ_MAX: Final = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """One verdict on the node's work."""

    index: LeafIndex
    time_unix_ms: UnixMillisecond
    round: RoundNumber
    member: MemberIndex
    receipt: Digest
    outcome: str
    reason: str
    step_micro: int
    """Clipped, in 10^-6."""

    @property
    def ratio(self) -> float:
        """Of the check to the line between honest work and too coarse work: 1 is on it."""
        return math.exp(self.step_micro / 1_000_000 * CUSUM_DEVIATION**2 / CUSUM_SHIFT)


def ratio_history(ledger: Ledger, node: AccountId, entries: Sequence[Logged]) -> list[CheckRow]:
    """The newest verdicts on ``node`` that ``entries``, the newest first, show; the oldest of them first."""
    with ledger.snapshot() as snapshot:
        verdicts = islice(_verdicts(snapshot, entries), VERDICTS_READ_MAX)
        rows = (_row(snapshot.state, node, logged, verdict) for logged, verdict in verdicts)
        return list(islice((row for row in rows if row is not None), CHECKS_MAX))[::-1]


def _verdicts(snapshot: Snapshot, entries: Sequence[Logged]) -> Iterator[tuple[Logged, Verdict]]:
    for logged in entries:
        if isinstance(logged.record, Reveal):
            for body in reversed(snapshot.log.bodies(logged.record)):
                yield logged, Verdict.decode(body)


def _row(state: StateView, node: bytes, logged: Logged, verdict: Verdict) -> CheckRow | None:
    receipt = reading.receipt_state(state, verdict.receipt)
    if receipt is None or receipt.node != node:
        return None
    return CheckRow(
        index=logged.index,
        time_unix_ms=logged.time_unix_ms,
        round=verdict.round,
        member=verdict.member,
        receipt=verdict.receipt,
        outcome=Outcome(verdict.outcome).name.lower(),
        reason=Reason(verdict.reason).name.lower().replace("_", " "),
        step_micro=verdict.cusum_step_biased - CUSUM_STEP_BIAS,
    )

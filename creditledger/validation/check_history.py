"""What validators have said so far: outcomes by node and round, and the ratios of one's own journal.

Source: specs/validation.md §8."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.ledger.ledger import Ledger
from creditledger.quantities import AccountId, Digest, RoundNumber
from creditledger.records.verdict import Outcome, Reason, Reveal, Verdict
from creditledger.validation.journal import RoundVerdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class RevealedVerdict:
    """One verdict in the log, with the node it is about."""

    round: RoundNumber
    node: AccountId
    receipt: Digest
    outcome: Outcome
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredVerdict:
    """One verdict of a validator's own, with what it measured: no units."""

    revealed: RevealedVerdict
    ratio: float
    threshold: float
    tail: float


def revealed_verdicts(ledger: Ledger) -> Iterator[RevealedVerdict]:
    """Every verdict that was revealed, ascending by round and member. Raises IntegrityError."""
    with ledger.read() as state:
        latest = reading.latest_round(state)
        reveals = [
            duty.reveal_index
            for number in range(1, 1 + (0 if latest is None else latest.round.number))
            for _, duty in sorted(reading.members_on_duty(state, number).items())
            if duty.reveal_index
        ]
        for index in reveals:
            record = ledger.entry(index).record
            if isinstance(record, Reveal):
                yield from _about(state, map(Verdict.decode, ledger.bodies(record)))


def measured_verdicts(state: StateView, journal: Iterable[RoundVerdicts]) -> Iterator[MeasuredVerdict]:
    """The verdicts in a journal for which a ratio was measured, in its order."""
    for verdicts in journal:
        for noted in verdicts.verdicts:
            measured = noted.measured()
            if measured is None:
                continue
            for revealed in _about(state, [noted.verdict]):
                yield MeasuredVerdict(
                    revealed=revealed,
                    ratio=measured.ratio,
                    threshold=measured.threshold,
                    tail=measured.tail,
                )


def _about(state: StateView, verdicts: Iterable[Verdict]) -> Iterator[RevealedVerdict]:
    for verdict in verdicts:
        receipt = reading.receipt_state(state, verdict.receipt)
        if receipt is not None:
            yield RevealedVerdict(
                round=verdict.round,
                node=receipt.node,
                receipt=verdict.receipt,
                outcome=Outcome(verdict.outcome),
                reason=Reason(verdict.reason),
            )

"""Canaries: receipts wrong on purpose, committed to before the draw and opened after the verdicts.

Source: specs/credits.md §12."""

from typing import Final

from creditledger.credits.conduct import count_canary
from creditledger.credits.confirmation import forget_second_look
from creditledger.credits.rounds import round_info
from creditledger.credits.state import State
from creditledger.credits.step import Step
from creditledger.credits.verdicts import receipt_of
from creditledger.errors import ConflictError, OpeningError, RefusedError
from creditledger.quantities import Count, LeafIndex
from creditledger.records.record import Fields
from creditledger.records.state import ReceiptState, receipt_key
from creditledger.records.verdict import Canary, CanaryCommit, Outcome, canary_commitment

_PLANTED: Final = b"P/"
_OPENED: Final = b"Q/"
_COUNTS: Final = b"t/canaries"


class _Planted(Fields):
    """A canary's commitment in the log."""

    index: LeafIndex


class CanaryCounts(Fields):
    """How many canaries there are."""

    committed: Count = 0
    opened: Count = 0


def apply_canary_commit(step: Step, commit: CanaryCommit) -> None:
    """By the operator; each commitment once."""
    step.require_operator()
    key = _PLANTED + commit.commitment
    if step.state.view.get(key) is not None:
        raise ConflictError("canary was committed to", found=commit.commitment.hex())
    step.state.put_row(key, _Planted(index=step.index))
    counts = canary_counts(step.state)
    step.state.put_row(_COUNTS, counts.replace(committed=counts.committed + 1))


def apply_canary(step: Step, canary: Canary) -> None:
    """By the operator: it was committed to before the round that drew it, and all verdicts are in."""
    step.require_operator()
    state = step.state
    if state.view.get(_OPENED + canary.receipt) is not None:
        raise ConflictError("receipt was opened as a canary", found=canary.receipt.hex())
    receipt = receipt_of(state, canary.receipt)
    _require_judged(receipt, canary)
    key = _PLANTED + canary_commitment(receipt=canary.receipt, salt=canary.salt)
    planted = state.row(_Planted, key)
    if planted is None or planted.index >= _log_size(state, canary.round):
        raise OpeningError(
            "nothing before the round opens to this receipt",
            expected=f"a commitment before round {canary.round}",
        )
    state.view.put(_OPENED + canary.receipt, b"")
    state.put_entry(receipt_key(canary.receipt), receipt.replace(outcome=Outcome.REFUTED))
    forget_second_look(state, canary.receipt)
    count_canary(state, canary.receipt)
    counts = canary_counts(state)
    state.put_row(_COUNTS, counts.replace(opened=counts.opened + 1))


def canary_counts(state: State) -> CanaryCounts:
    """How many canaries were committed to, and how many of them opened."""
    return state.row(CanaryCounts, _COUNTS) or CanaryCounts()


def _require_judged(receipt: ReceiptState, canary: Canary) -> None:
    if receipt.round == 0 or receipt.round != canary.round:
        raise RefusedError(
            "receipt is not of this round", expected=str(receipt.round), found=str(canary.round)
        )
    if not receipt.is_judged:
        given = receipt.upheld + receipt.refuted + receipt.inconclusive
        raise RefusedError("checks are due", expected=f"{receipt.due} verdicts", found=str(given))
    if receipt.settled:
        raise RefusedError("receipt is settled", expected="a canary opened before it is paid")


def _log_size(state: State, number: int) -> int:
    info = round_info(state, number)
    if info is None:
        raise AssertionError("a receipt is of a round that was never logged")
    return info.round.log_size

"""What verdicts, and checks that nobody did, add up to: a receipt's outcome, and what no validator was shown.

Source: specs/credits.md §9."""

from typing import Final

from creditledger.credits.account import suspend
from creditledger.credits.standing import after_verdict, put_standing, standing_of
from creditledger.credits.state import State
from creditledger.errors import UnknownIdError
from creditledger.records.state import ReceiptState, receipt_key
from creditledger.records.verdict import Outcome, Reason, Verdict

_NO_DATA: Final = b"w/"

SUSPENDING_REFUTALS: Final = 2
"""So many members must refute one receipt before its node is suspended."""


def receipt_of(state: State, digest: bytes) -> ReceiptState:
    """What is believed of the receipt. Raises UnknownIdError."""
    found = state.entry(ReceiptState, receipt_key(digest))
    if found is None:
        raise UnknownIdError("no such receipt", found=digest.hex())
    return found


def count_verdict(state: State, verdict: Verdict) -> None:
    """Add one verdict to its receipt and to its node's standing."""
    receipt = with_verdict(receipt_of(state, verdict.receipt), verdict)
    state.put_entry(receipt_key(verdict.receipt), receipt)
    if verdict.reason == Reason.NO_DATA:
        add_no_data(state, verdict.receipt)
    put_standing(state, receipt.node, after_verdict(standing_of(state, receipt.node), verdict))
    if receipt.refuted >= SUSPENDING_REFUTALS:
        suspend(state, receipt.node)


def with_verdict(receipt: ReceiptState, verdict: Verdict) -> ReceiptState:
    """The receipt's counters and outcome after one more verdict. Source: specs/credits.md §9."""
    upheld = receipt.upheld + (verdict.outcome == Outcome.UPHELD)
    refuted = receipt.refuted + (verdict.outcome == Outcome.REFUTED)
    inconclusive = receipt.inconclusive + (verdict.outcome == Outcome.INCONCLUSIVE)
    return _judged(receipt.replace(upheld=upheld, refuted=refuted, inconclusive=inconclusive))


def lapse_check(state: State, digest: bytes) -> None:
    """One check of this receipt is asked of nobody any more; the verdicts that are in may then decide."""
    state.put_entry(receipt_key(digest), without_check(receipt_of(state, digest)))


def without_check(receipt: ReceiptState) -> ReceiptState:
    """The receipt with one check less to wait for: inconclusive if none is left and nobody judged it.

    Source: specs/credits.md §9."""
    return _judged(receipt.replace(due=receipt.due - 1))


def _judged(receipt: ReceiptState) -> ReceiptState:
    """The outcome of a drawn receipt by its counters."""
    outcome = Outcome.UNCHECKED
    if receipt.refuted:
        outcome = Outcome.REFUTED
    elif receipt.inconclusive or receipt.due == 0:
        outcome = Outcome.INCONCLUSIVE
    elif receipt.upheld >= receipt.due:
        outcome = Outcome.UPHELD
    return receipt.replace(outcome=outcome)


def no_data_count(state: State, receipt: bytes) -> int:
    """How many validators were shown no data for this receipt."""
    found = state.view.get(_NO_DATA + receipt)
    return 0 if found is None else found[0]


def add_no_data(state: State, receipt: bytes) -> None:
    """One validator more was shown no data."""
    state.view.put(_NO_DATA + receipt, (no_data_count(state, receipt) + 1).to_bytes(1, "big"))

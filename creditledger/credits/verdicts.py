"""What verdicts, and checks that nobody did, add up to: a receipt's outcome, and what no validator was shown.

Source: specs/credits.md §9."""

from dataclasses import replace
from typing import Final

from creditledger.credits.account import account_of
from creditledger.credits.standing import after_verdict, put_standing, standing_of
from creditledger.credits.state import State
from creditledger.errors import UnknownIdError
from creditledger.records.state import ReceiptState, account_key, receipt_key
from creditledger.records.verdict import Outcome, Reason, Verdict

_NO_DATA: Final = b"w/"

SUSPENDING_REFUTALS: Final = 2
"""So many members must refute one receipt before its node is suspended."""


def count_verdict(state: State, verdict: Verdict) -> None:
    """Add one verdict to its receipt and to its node's standing."""
    known = state.entry(ReceiptState, receipt_key(verdict.receipt))
    if known is None:
        raise UnknownIdError("no such receipt", found=verdict.receipt.hex())
    receipt = with_verdict(known, verdict)
    state.put_entry(receipt_key(verdict.receipt), receipt)
    if verdict.reason == Reason.NO_DATA:
        count = no_data_count(state, verdict.receipt) + 1
        state.view.put(_NO_DATA + verdict.receipt, count.to_bytes(1, "big"))
    put_standing(state, receipt.node, after_verdict(standing_of(state, receipt.node), verdict))
    if receipt.refuted >= SUSPENDING_REFUTALS:
        _suspend(state, receipt.node)


def with_verdict(receipt: ReceiptState, verdict: Verdict) -> ReceiptState:
    """The receipt's counters and outcome after one more verdict. Source: specs/credits.md §9."""
    upheld = receipt.upheld + (verdict.outcome == Outcome.UPHELD)
    refuted = receipt.refuted + (verdict.outcome == Outcome.REFUTED)
    inconclusive = receipt.inconclusive + (verdict.outcome == Outcome.INCONCLUSIVE)
    return _judged(replace(receipt, upheld=upheld, refuted=refuted, inconclusive=inconclusive))


def lapse_check(state: State, digest: bytes) -> None:
    """One check of this receipt is asked of nobody any more; the verdicts that are in may then decide."""
    known = state.entry(ReceiptState, receipt_key(digest))
    if known is None:
        raise AssertionError("a check is due of a receipt without a state")
    state.put_entry(receipt_key(digest), without_check(known))


def without_check(receipt: ReceiptState) -> ReceiptState:
    """The receipt with one check less to wait for: inconclusive if none is left and nobody judged it.

    Source: specs/credits.md §9."""
    return _judged(replace(receipt, due=receipt.due - 1))


def _judged(receipt: ReceiptState) -> ReceiptState:
    """The outcome of a drawn receipt by its counters."""
    outcome = Outcome.UNCHECKED
    if receipt.refuted:
        outcome = Outcome.REFUTED
    elif receipt.inconclusive or receipt.due == 0:
        outcome = Outcome.INCONCLUSIVE
    elif receipt.upheld >= receipt.due:
        outcome = Outcome.UPHELD
    return replace(receipt, outcome=outcome)


def no_data_count(state: State, receipt: bytes) -> int:
    """How many validators were shown no data for this receipt."""
    found = state.view.get(_NO_DATA + receipt)
    return 0 if found is None else found[0]


def _suspend(state: State, node: bytes) -> None:
    account = account_of(state, node)
    if not account.suspended:
        state.put_entry(account_key(node), replace(account, suspended=1))

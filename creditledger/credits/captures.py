"""Captures: what each took, and what of it was given back since. Source: specs/credits.md §14."""

from typing import Final

from creditledger.credits.state import State
from creditledger.errors import UnknownIdError
from creditledger.quantities import AccountId, Digest, MicroCredit
from creditledger.records.record import Fields
from creditledger.records.transfer import Capture

_CAPTURE: Final = b"R/"


class CapturedSum(Fields):
    """What one capture took, and what has come back of it."""

    hold: Digest
    queue: AccountId
    amount_micro: MicroCredit
    refunded_micro: MicroCredit
    metered_micro: MicroCredit
    """Of the queue's metered earnings, what is still owed to this capture."""


def note_capture(state: State, digest: bytes, capture: Capture, *, metered_micro: int) -> None:
    """Keep what a refund will be measured by."""
    put_captured_sum(
        state,
        digest,
        CapturedSum(
            hold=capture.hold,
            queue=capture.queue,
            amount_micro=capture.amount_micro,
            refunded_micro=0,
            metered_micro=metered_micro,
        ),
    )


def captured_sum(state: State, capture: bytes) -> CapturedSum:
    """What the capture with this digest took. Raises UnknownIdError."""
    found = state.row(CapturedSum, _CAPTURE + capture)
    if found is None:
        raise UnknownIdError("no such capture", found=capture.hex())
    return found


def put_captured_sum(state: State, capture: bytes, taken: CapturedSum) -> None:
    """Set what has become of a capture."""
    state.put_row(_CAPTURE + capture, taken)

"""Receipts that no certified round covers yet, in log order, each with what it is worth.

Source: specs/credits.md §7."""

from typing import Final

from creditledger.credits.state import State, decode_row
from creditledger.quantities import Digest, MicroCredit
from creditledger.records.record import Fields

_UNCOVERED: Final = b"f/"


class UncoveredReceipt(Fields):
    """A receipt that waits for its round."""

    receipt: Digest
    value_micro: MicroCredit
    """What its window alone would earn."""


def await_round(state: State, batch_index: int, place: int, waiting: UncoveredReceipt) -> None:
    """List receipt number ``place`` of the batch at ``batch_index``."""
    state.put_row(_UNCOVERED + batch_index.to_bytes(8, "big") + place.to_bytes(4, "big"), waiting)


def take_covered(state: State, *, log_size: int) -> list[UncoveredReceipt]:
    """Remove and return all receipts of batches before ``log_size``, in log order."""
    taken = []
    for key, encoded in state.view.scan(_UNCOVERED):
        if int.from_bytes(key[2:10], "big") >= log_size:
            break
        taken.append((key, decode_row(UncoveredReceipt, encoded)))
    for key, _ in taken:
        state.view.delete(key)
    return [waiting for _, waiting in taken]

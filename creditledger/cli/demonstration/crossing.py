"""Rows on their way over a boundary, with the sender's signed word for each window of them.

Source: specs/minting.md §9."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from creditledger.activations.bf16 import Bf16Bits
from creditledger.activations.delivered import delivered_root
from creditledger.errors import MalformedRecordError, VerificationError
from creditledger.minting.handover import require_handover, sign_handover
from creditledger.records import canonical
from creditledger.records.job import Job
from creditledger.records.receipt import WINDOW, Handover
from creditledger.transparency.keys import Ed25519Signer

CROSSING_BYTES_MAX: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """A prefix ``(T, hidden)`` of one job, and one signed handover for each of its windows."""

    rows: Bf16Bits
    handovers: tuple[bytes, ...]

    def encode(self) -> bytes:
        """As it goes over HTTP."""
        rows = np.ascontiguousarray(self.rows, dtype="<u2")
        return canonical.encode([len(rows), rows.tobytes(), list(self.handovers)], most=CROSSING_BYTES_MAX)

    @classmethod
    def decode(cls, encoded: bytes) -> "Crossing":
        """The inverse of `encode`. Raises MalformedRecordError for any other bytes."""
        match canonical.decode(encoded, most=CROSSING_BYTES_MAX):
            case [int(count), bytes(rows), list(handovers)] if (
                count and rows and len(rows) % (2 * count) == 0
            ):
                if all(isinstance(handover, bytes) for handover in handovers):
                    bits = np.frombuffer(rows, dtype="<u2").reshape(count, -1)
                    return cls(rows=bits.astype(np.uint16), handovers=tuple(handovers))
        raise MalformedRecordError("not rows that cross a boundary")


def windows_of(positions: int) -> Iterator[range]:
    """The windows that receipts are made of."""
    for start in range(0, positions, WINDOW):
        yield range(start, min(start + WINDOW, positions))


def handed_over(
    rows: Bf16Bits,
    *,
    job: bytes,
    sender: bytes,
    boundary: int,
    key: bytes,
    signer: Ed25519Signer,
    ledger_id: bytes,
) -> Crossing:
    """``rows`` with the word of the client, who has no receipts for what it sends.

    ``key``: the boundary's. What a node delivers, `Minter.hand_over` signs."""
    words = [
        Handover(
            job=job,
            sender=sender,
            boundary=boundary,
            window_start=window.start,
            positions=len(window),
            root=_root(rows, window, key),
        )
        for window in windows_of(len(rows))
    ]
    signed = tuple(sign_handover(word, key=signer, ledger_id=ledger_id) for word in words)
    return Crossing(rows=rows, handovers=signed)


def require_handed_over(crossing: Crossing, *, job: Job, boundary: int, key: bytes, ledger_id: bytes) -> None:
    """Check that whoever the plan names as the sender signed for exactly these rows.

    Raises VerificationError, SignatureError, MalformedRecordError."""
    before = [span.node for span in job.plan if span.layer_stop == boundary]
    windows = list(windows_of(len(crossing.rows)))
    if len(windows) != len(crossing.handovers):
        raise VerificationError(
            "not one handover for each window", expected=str(len(windows)), found=str(len(crossing.handovers))
        )
    for window, handover in zip(windows, crossing.handovers, strict=True):
        require_handover(
            handover,
            ledger_id=ledger_id,
            job=job.digest(ledger_id),
            sender=before[0] if before else job.client,
            boundary=boundary,
            window_start=window.start,
            root=_root(crossing.rows, window, key),
        )


def _root(rows: Bf16Bits, window: range, key: bytes) -> bytes:
    return delivered_root(rows[window.start : window.stop], boundary_key=key, first_position=window.start)

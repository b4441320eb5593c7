"""Which receipts a client countersigns: those whose outputs are what it received, from the first on.

Source: specs/redemption.md §3."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, TypeAlias

from creditledger.activations.delivered import boundary_key, delivered_root, require_rows
from creditledger.records.job import Job, PlanSpan
from creditledger.records.receipt import ChainHead, Receipt

Chains: TypeAlias = Mapping[int, Sequence[Receipt]]
"""For each span, by its first layer, the receipts logged for it, by window."""
Roots: TypeAlias = Mapping[int, bytes]
"""The root that each window must have, by the window's first position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """What may be countersigned, and what may not."""

    heads: tuple[ChainHead, ...]
    """One for each span with an accepted receipt, by first layer."""
    refused: tuple[Receipt, ...]
    """Receipts that differ from what was received, or follow one that does."""


def confirm_receipts(
    job: Job,
    chains: Chains,
    *,
    secret: bytes,
    ledger_id: bytes,
    outputs: Mapping[int, Any] | None,
    checked: Collection[bytes] | None = None,
) -> Confirmation:
    """Accept each chain up to its first receipt that is not what the client received.

    ``outputs``: for a boundary (the layer that begins there), the rows that crossed it from position 0 on:
    uint16, float16 or float32, ``(positions, hidden)``. Where rows are given, a receipt's root over that
    boundary must be theirs. Where a span's output was not seen, it must be what the next span's accepted
    receipt names as its input. None accepts what is logged.
    ``checked``: digests of receipts; where given, no other is accepted. Raises ActivationError.
    Source: specs/redemption.md §3."""
    heads: list[ChainHead] = []
    refused: list[Receipt] = []
    wanted: Roots | None = None
    for span in reversed(job.plan):
        chain = chains.get(span.layer_start, ())
        accepted = (
            len(chain)
            if outputs is None
            else _accepted(span, chain, secret=secret, outputs=outputs, wanted=wanted)
        )
        if checked is not None:
            known = takewhile(lambda receipt: receipt.digest(ledger_id) in checked, chain[:accepted])
            accepted = sum(1 for _ in known)
        wanted = {receipt.window_start: receipt.input_root for receipt in chain[:accepted]}
        refused.extend(chain[accepted:])
        if accepted:
            heads.append(_head(span, chain[:accepted], ledger_id))
    return Confirmation(heads=tuple(reversed(heads)), refused=tuple(refused))


def _accepted(
    span: PlanSpan,
    chain: Sequence[Receipt],
    *,
    secret: bytes,
    outputs: Mapping[int, Any],
    wanted: Roots | None,
) -> int:
    """How many receipts from the first on match rows or the next span; ``wanted``: that span's inputs."""
    for count, receipt in enumerate(chain):
        if span.layer_start in outputs:
            root = _root(outputs[span.layer_start], receipt, secret, boundary=span.layer_start)
            if root != receipt.input_root:
                return count
        if span.layer_stop in outputs:
            root = _root(outputs[span.layer_stop], receipt, secret, boundary=span.layer_stop)
        else:
            root = None if wanted is None else wanted.get(receipt.window_start)
        if root != receipt.output_root:
            return count
    return len(chain)


def _root(rows: Any, receipt: Receipt, secret: bytes, *, boundary: int) -> bytes | None:
    """The root over the receipt's window of ``rows``; None if they do not reach that far."""
    start, stop = receipt.window_start, receipt.window_start + receipt.positions
    known = require_rows(rows)
    if stop > len(known):
        return None
    key = boundary_key(secret, boundary)
    return delivered_root(known[start:stop], boundary_key=key, first_position=start)


def _head(span: PlanSpan, accepted: Sequence[Receipt], ledger_id: bytes) -> ChainHead:
    return ChainHead(
        node=span.node,
        layer_start=span.layer_start,
        receipt=accepted[-1].digest(ledger_id),
        positions=sum(receipt.positions for receipt in accepted),
    )

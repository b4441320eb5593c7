"""What one node ran, and what it was paid for, of late. Source: specs/service.md §9."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final

from creditledger.credits import reading
from creditledger.credits.lots import WaitingLot
from creditledger.credits.state import StateView
from creditledger.ledger.ledger import Ledger, Snapshot
from creditledger.quantities import AccountId, Digest, LayerIndex, LeafIndex, MicroCredit, UnixMillisecond
from creditledger.records.kinds import Kind
from creditledger.records.receipt import Batch, Receipt
from creditledger.records.record import signing_prefix
from creditledger.records.transfer import Settlement
from creditledger.records.verdict import Outcome
from creditledger.service.page.recent_log import Logged
from creditledger.service.page.wording import counted

RECEIPTS_MAX: Final = 40
PAYMENTS_MAX: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptRow:
    """One receipt, and what is believed of it."""

    receipt: Digest
    body: Receipt
    model: str
    """Its name in the pool's terms, or the beginning of its digest."""
    batch_index: LeafIndex
    time_unix_ms: UnixMillisecond
    """Of the batch's entry."""
    outcome: str
    is_settled: bool
    is_drawn: bool
    """Whether a check of it is due or was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRow:
    """What one settlement paid the node for one span."""

    index: LeafIndex
    time_unix_ms: UnixMillisecond
    job: Digest
    layer_start: LayerIndex
    positions: int
    amount_micro: MicroCredit
    levy_micro: MicroCredit


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """The newest of what a node did, as far as the recent entries reach."""

    receipts: tuple[ReceiptRow, ...]
    payments: tuple[PaymentRow, ...]
    reaches_to: LeafIndex
    """The first entry that was looked at."""


def node_facts(ledger: Ledger, node: AccountId, entries: Sequence[Logged]) -> NodeFacts:
    """What ``entries``, the newest first, say of ``node``."""
    with ledger.snapshot() as snapshot:
        receipts = tuple(islice(_receipts(snapshot, node, entries, ledger.id), RECEIPTS_MAX))
    return NodeFacts(
        receipts=receipts,
        payments=tuple(islice(_payments(node, entries), PAYMENTS_MAX)),
        reaches_to=entries[-1].index if entries else 0,
    )


def why_unvested(lot: WaitingLot, *, time_unix_ms: int, is_suspended: bool) -> list[str]:
    """What must still come before a lot is final, in words; ``time_unix_ms``: of the last entry."""
    reasons = ["the node is suspended"] if is_suspended else []
    if lot.rounds_left:
        reasons.append(counted(lot.rounds_left, "more certified round"))
    if lot.from_unix_ms > time_unix_ms:
        reasons.append("its date")
    if lot.value_left_micro:
        reasons.append("more settled work")
    return reasons or ["the next certified round"]


def _receipts(
    snapshot: Snapshot, node: bytes, entries: Sequence[Logged], ledger_id: bytes
) -> Iterator[ReceiptRow]:
    prefix = signing_prefix(Kind.RECEIPT, ledger_id)
    models = {terms.model: terms.name for terms in reading.parameters_in_force(snapshot.state).models}
    for logged in entries:
        if not isinstance(logged.record, Batch) or logged.record.node != node:
            continue
        for encoded in reversed(snapshot.log.bodies(logged.record)):
            receipt = Receipt.decode(encoded)
            yield _row(
                snapshot.state,
                logged,
                receipt,
                digest=sha256(prefix + encoded).digest(),
                model=models.get(receipt.model, receipt.model.hex()[:12]),
            )


def _row(state: StateView, logged: Logged, receipt: Receipt, *, digest: bytes, model: str) -> ReceiptRow:
    known = reading.receipt_state(state, digest)
    outcome = Outcome.UNCHECKED if known is None else Outcome(known.outcome)
    return ReceiptRow(
        receipt=digest,
        body=receipt,
        model=model,
        batch_index=logged.index,
        time_unix_ms=logged.time_unix_ms,
        outcome=outcome.name.lower(),
        is_settled=known is not None and bool(known.settled),
        is_drawn=known is not None and bool(known.due),
    )


def _payments(node: bytes, entries: Sequence[Logged]) -> Iterator[PaymentRow]:
    for logged in entries:
        if not isinstance(logged.record, Settlement):
            continue
        for payment in logged.record.payments:
            if payment.node == node:
                yield PaymentRow(
                    index=logged.index,
                    time_unix_ms=logged.time_unix_ms,
                    job=logged.record.job,
                    layer_start=payment.layer_start,
                    positions=payment.positions,
                    amount_micro=payment.amount_micro,
                    levy_micro=payment.levy_micro,
                )

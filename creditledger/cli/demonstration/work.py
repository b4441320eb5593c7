"""The nodes at work: each checks the hold, runs its layers, mints, and hands over."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from creditledger.activations.bf16 import Float32Array
from creditledger.cli.demonstration.cast import Party
from creditledger.cli.demonstration.cheating import Kernel
from creditledger.errors import VerificationError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.minting.minter import Minter
from creditledger.minting.work_order import WorkOrder
from creditledger.records.receipt import Receipt
from creditledger.records.state import HoldState, HoldStatus
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import verify_bundle


@dataclass(slots=True)
class Node:
    """A party that serves a span with some kernel."""

    party: Party
    span: tuple[int, int]
    profile: str
    """What it runs: the kernel's name, or the way it cheats."""
    minter: Minter
    kernel: Kernel
    blocks: Any = None
    """A torch module of the span's blocks; None where the kernel is a NumPy one."""
    receipts: list[Receipt] = field(default_factory=list)

    def work(
        self, order: WorkOrder, inputs: Float32Array, *, hold: bytes, policy: TrustPolicy
    ) -> Float32Array:
        """Run the span on a whole prefix ``(T, hidden)`` and mint its receipts; the output.

        Nothing is run before the hold that pays for it is proven. Raises VerificationError."""
        _require_paid(hold, order, policy)
        with self.minter.session(order) as session:
            if self.blocks is not None:
                with self.minter.rows({session: slice(0, len(inputs))}):
                    outputs: Float32Array = self.blocks.run(inputs)
            else:
                outputs = self.kernel(inputs)
                session.record(inputs=inputs, outputs=outputs, positions=range(len(inputs)))
        self.receipts += session.receipts
        return outputs


def open_node(
    ledger: Ledger,
    party: Party,
    span: tuple[int, int],
    kernel: Kernel,
    *,
    profile: str,
    blocks: Any,
    outbox: Path,
    model: bytes,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
) -> Node:
    """A node that is ready to serve; with ``blocks``, their forward hooks feed the minter."""
    minter = Minter(
        ledger, key=party.file, model=model, clock=clock, random_bytes=random_bytes, outbox=outbox
    )
    if blocks is not None:
        minter.attach(blocks, layers=range(span[1] - span[0]))
    return Node(party=party, span=span, profile=profile, minter=minter, kernel=kernel, blocks=blocks)


def serve(
    nodes: tuple[Node, ...],
    orders: Mapping[int, WorkOrder],
    inputs: Float32Array,
    *,
    hold: bytes,
    policy: TrustPolicy,
) -> dict[int, Float32Array]:
    """Send a prompt through all nodes; the rows that crossed each boundary, the last being the answer."""
    rows = {nodes[0].span[0]: inputs}
    for node in nodes:
        start, stop = node.span
        rows[stop] = node.work(orders[start], rows[start], hold=hold, policy=policy)
    return rows


def _require_paid(hold: bytes, order: WorkOrder, policy: TrustPolicy) -> None:
    verified = verify_bundle(hold, policy)
    state = verified.state
    job = order.job.digest(policy.ledger_id or b"")
    if not isinstance(state, HoldState) or state.status != HoldStatus.OPEN or state.job != job:
        raise VerificationError("no open hold covers the job", expected=job.hex())

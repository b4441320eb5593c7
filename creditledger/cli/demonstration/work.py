"""A node at work: it checks the hold, runs its layers, mints, and hands over."""

from dataclasses import dataclass, field
from typing import Any

from creditledger.activations.bf16 import Float32Array, from_bf16_bits, to_bf16_bits
from creditledger.cli.demonstration.cast import Party
from creditledger.cli.demonstration.cheating import Kernel
from creditledger.cli.demonstration.crossing import Crossing, require_handed_over
from creditledger.errors import UnknownIdError, VerificationError
from creditledger.minting.minter import Minter
from creditledger.minting.session import Session
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
    _orders: dict[bytes, WorkOrder] = field(default_factory=dict)

    def take(self, order: WorkOrder, *, hold: bytes, policy: TrustPolicy) -> None:
        """Be ready for a job's rows. ``hold``: the bundle of the hold that pays. Raises VerificationError."""
        _require_paid(hold, order, policy)
        self._orders[order.job.digest(policy.ledger_id or b"")] = order

    def serve(self, job: bytes, crossing: Crossing, *, policy: TrustPolicy) -> Crossing:
        """Run a job that was taken on what the party before handed over; what goes on to the next.

        Raises UnknownIdError for a job not taken, VerificationError for rows that nobody signed for."""
        order = self._orders.pop(job, None)
        if order is None:
            raise UnknownIdError("the job was not taken", found=job.hex())
        ledger_id = policy.ledger_id or b""
        require_handed_over(
            crossing, job=order.job, boundary=self.span[0], key=order.input_key, ledger_id=ledger_id
        )
        for handover in crossing.handovers:
            self.minter.keep_handover(handover)
        outputs, session = self._run(order, from_bf16_bits(crossing.rows))
        handovers = tuple(self.minter.hand_over(receipt) for receipt in session.receipts)
        return Crossing(rows=to_bf16_bits(outputs), handovers=handovers)

    def work(
        self, order: WorkOrder, inputs: Float32Array, *, hold: bytes, policy: TrustPolicy
    ) -> Float32Array:
        """Run the span on a whole prefix ``(T, hidden)`` and mint its receipts; the output.

        Nothing is run before the hold that pays for it is proven. Raises VerificationError."""
        _require_paid(hold, order, policy)
        return self._run(order, inputs)[0]

    def _run(self, order: WorkOrder, inputs: Float32Array) -> tuple[Float32Array, Session]:
        with self.minter.session(order) as session:
            if self.blocks is not None:
                with self.minter.rows({session: slice(0, len(inputs))}):
                    outputs: Float32Array = self.blocks.run(inputs)
            else:
                outputs = self.kernel(inputs)
                session.record(inputs=inputs, outputs=outputs, positions=range(len(inputs)))
        self.receipts += session.receipts
        return outputs, session


def _require_paid(hold: bytes, order: WorkOrder, policy: TrustPolicy) -> None:
    verified = verify_bundle(hold, policy)
    state = verified.state
    job = order.job.digest(policy.ledger_id or b"")
    if not isinstance(state, HoldState) or state.status != HoldStatus.OPEN or state.job != job:
        raise VerificationError("no open hold covers the job", expected=job.hex())

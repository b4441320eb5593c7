"""A node's process: it takes orders and rows, runs its span, mints, and hands over.

One process may serve under several accounts, each with a kernel of its own: the honest one, and cheats."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from creditledger.activations.bf16 import Bf16Bits, Float32Array, from_bf16_bits, to_bf16_bits
from creditledger.activations.delivered import delivered_root
from creditledger.activations.runners.weights import LoadedModel, load_model
from creditledger.cli.demonstration.cast import Party
from creditledger.cli.demonstration.chance import stream
from creditledger.cli.demonstration.work import Node
from creditledger.ledger.ledger import Ledger
from creditledger.minting.handover import require_handover, sign_handover
from creditledger.minting.minter import Minter
from creditledger.minting.work_order import WorkOrder
from creditledger.records.receipt import Handover
from tests.benchmarks.split_model.desk import DeskLine
from tests.benchmarks.split_model.kernels import HONEST, TORCH, TWO_FACED, Memory, numpy_kernel, torch_blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An account under which a process works, and what it runs."""

    party: Party
    cheat: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSetup:
    """What a process is told at its start."""

    engine: str
    span: tuple[int, int]
    ledger: Path
    outboxes: Path
    services: tuple[Service, ...]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One job: the account that is to work, its order, and the bundle of the hold that pays."""

    node: bytes
    order: bytes
    hold: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Rows on their way over a boundary, and the sender's signed word for them."""

    rows: Bf16Bits
    handover: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """Have all receipts logged, and say what went wrong so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flushed:
    """What went wrong in a process since its start."""

    failures: dict[str, int]
    refused: int
    waiting: int


def run_node(
    setup: NodeSetup,
    orders: Connection,
    upstream: Connection,
    downstream: Connection,
    desk: socket.socket,
) -> None:
    """Serve until ``orders`` ends. Rows come in from ``upstream`` and go on to ``downstream``."""
    if setup.engine == TORCH:
        import torch

        torch.set_num_threads(1)
    with Ledger.open(setup.ledger, read_only=True) as ledger:
        process = NodeProcess(setup, ledger, load_model(), DeskLine(desk))
        while True:
            try:
                asked = orders.recv()
            except EOFError:
                break
            if isinstance(asked, Flush):
                orders.send(process.flush())
            else:
                downstream.send(process.serve(asked, upstream.recv()))
        process.close()


@dataclass(slots=True)
class NodeProcess:
    """The accounts of one process, each with a minter; cheats keep their weights only while they work."""

    setup: NodeSetup
    ledger: Ledger
    model: LoadedModel
    desk: DeskLine
    memory: Memory = field(default_factory=Memory)
    _nodes: dict[bytes, Node] = field(default_factory=dict)
    _cheating: bytes = b""

    def serve(self, work: Work, crossing: Crossing) -> Crossing:
        """Run one order: only for rows that their sender signed for, under a hold that is proven."""
        order = WorkOrder.decode(work.order)
        node = self._node(work.node)
        self._require_handed_over(order, crossing)
        node.minter.keep_handover(crossing.handover)
        inputs = from_bf16_bits(crossing.rows)
        outputs = node.work(order, inputs, hold=work.hold, policy=self.ledger.policy())
        if node.profile == HONEST:
            self.memory.keep(inputs, outputs)
        if node.profile == TWO_FACED:
            return self._other_rows(node, order, inputs)
        return Crossing(rows=to_bf16_bits(outputs), handover=node.minter.hand_over(node.receipts[-1]))

    def flush(self) -> Flushed:
        """Log what every account has minted."""
        minters = [node.minter for node in self._nodes.values()]
        for minter in minters:
            minter.flush()
        failures: dict[str, int] = {}
        for minter in minters:
            for name, count in minter.failures.items():
                failures[name] = failures.get(name, 0) + count
        return Flushed(
            failures=failures,
            refused=sum(len(minter.refused) for minter in minters),
            waiting=sum(minter.waiting for minter in minters),
        )

    def close(self) -> None:
        for node in self._nodes.values():
            node.minter.close()

    def _require_handed_over(self, order: WorkOrder, crossing: Crossing) -> None:
        job = order.job
        before = [span.node for span in job.plan if span.layer_stop == order.layer_start]
        require_handover(
            crossing.handover,
            ledger_id=self.ledger.id,
            job=job.digest(self.ledger.id),
            sender=before[0] if before else job.client,
            boundary=order.layer_start,
            window_start=0,
            root=delivered_root(crossing.rows, boundary_key=order.input_key, first_position=0),
        )

    def _other_rows(self, node: Node, order: WorkOrder, inputs: Float32Array) -> Crossing:
        """The span's inputs in place of its outputs, under the node's own signature."""
        rows, receipt = to_bf16_bits(inputs), node.receipts[-1]
        word = Handover(
            job=receipt.job,
            sender=receipt.node,
            boundary=receipt.layer_stop,
            window_start=receipt.window_start,
            positions=receipt.positions,
            root=delivered_root(rows, boundary_key=order.output_key, first_position=0),
        )
        signed = sign_handover(word, key=node.party.key.ed25519(), ledger_id=self.ledger.id)
        return Crossing(rows=rows, handover=signed)

    def _node(self, account: bytes) -> Node:
        service = next(one for one in self.setup.services if one.party.account == account)
        if service.cheat != HONEST and self._cheating != account:
            self._forget(self._cheating)
            self._cheating = account
        node = self._nodes.get(account) or self._opened(service)
        self._nodes[account] = node
        if node.blocks is None and node.kernel is _nothing:
            self._equip(node, service.cheat)
        return node

    def _opened(self, service: Service) -> Node:
        name = service.party.name
        minter = Minter(
            self.ledger,
            key=service.party.file,
            model=self.model.description,
            random_bytes=stream(self.setup.seed, f"salts of {name}"),
            outbox=self.setup.outboxes / name,
            submit=self.desk.submit,
        )
        return Node(
            party=service.party, span=self.setup.span, profile=service.cheat, minter=minter, kernel=_nothing
        )

    def _equip(self, node: Node, cheat: str) -> None:
        make: Callable[..., Any] = torch_blocks if self.setup.engine == TORCH else numpy_kernel
        made = make(self.model, self.setup.span, cheat, memory=self.memory, seed=self.setup.seed)
        if self.setup.engine == TORCH:
            node.blocks = made
            node.minter.attach(made, layers=range(len(made.layers)))
        else:
            node.kernel = made

    def _forget(self, account: bytes) -> None:
        """Let go of a cheat's weights."""
        node = self._nodes.get(account)
        if node is not None:
            node.blocks, node.kernel = None, _nothing


def _nothing(inputs: Any) -> Any:
    raise AssertionError("a node without a kernel was asked to work")

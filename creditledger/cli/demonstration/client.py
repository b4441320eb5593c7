"""The client: orders work, sends its prompts to the nodes, countersigns what it received."""

from dataclasses import dataclass, field
from typing import Protocol

from creditledger.activations.bf16 import to_bf16_bits
from creditledger.activations.delivered import boundary_key
from creditledger.activations.runners.weights import LoadedModel
from creditledger.cli.demonstration import founding
from creditledger.cli.demonstration.cast import CLIENT, Party
from creditledger.cli.demonstration.chance import stream
from creditledger.cli.demonstration.crossing import Crossing, handed_over, require_handed_over
from creditledger.cli.demonstration.prompts import prompt_tokens
from creditledger.cli.demonstration.scene import NODES, PROMPT_POSITIONS, Scene, node_name, spans_of
from creditledger.credits import reading
from creditledger.credits.tariff import span_flops, span_price
from creditledger.errors import UnknownIdError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.records.job import PlanSpan
from creditledger.redemption.order import Order
from creditledger.redemption.wallet import Wallet


class NodeLine(Protocol):
    """The way to the nodes, in this process or behind their URLs."""

    def tell(self, number: int, order: bytes, hold: bytes) -> None:
        """Give node ``number`` its work order, and the bundle of the hold that pays."""

    def send(self, job: bytes, crossing: Crossing) -> Crossing:
        """Hand the first node a job's rows; what the last one handed over."""


@dataclass(slots=True, kw_only=True)
class Client:
    """Whoever needs the model. Its secrets never leave it but as keys of single boundaries."""

    scene: Scene
    ledger: Ledger
    model: LoadedModel
    party: Party
    line: NodeLine
    clock: Clock
    _orders: list[Order] = field(default_factory=list)
    _prompts: list[list[int]] = field(default_factory=list)
    _received: list[tuple[Crossing, Crossing]] = field(default_factory=list)

    def order(self) -> list[str]:
        """Sign a bound for each prompt and hold the credits for it; the jobs' digests in hex."""
        draw = stream(self.scene.seed, "prompts")
        wallet = self._wallet("client")
        plan = self._plan()
        for positions in PROMPT_POSITIONS:
            self._prompts.append(prompt_tokens(self.model, positions, draw=draw))
            digest = self.model.description.digest
            self._orders.append(wallet.order(digest, plan, positions, self._price(positions)))
        return [order.job.digest(self.ledger.id).hex() for order in self._orders]

    def send(self) -> None:
        """Every prompt runs through the nodes. Raises VerificationError for an answer nobody signed."""
        wallet = self._wallet("confirmations")
        for order, tokens in zip(self._orders, self._prompts, strict=True):
            job = order.job.digest(self.ledger.id)
            hold = wallet.voucher(self._hold_of(job))
            for number, span in enumerate(order.job.plan):
                self.line.tell(number, order.work_order(span.layer_start).encode(), hold)
            self._received.append(self._exchanged(order, job, tokens))

    def confirm(self) -> None:
        """Countersign the receipts that are logged for what was sent and what came back."""
        wallet = self._wallet("deliveries")
        for order, (sent, received) in zip(self._orders, self._received, strict=True):
            edges = {0: sent.rows, order.job.plan[-1].layer_stop: received.rows}
            wallet.confirm(order, edges)

    def _exchanged(self, order: Order, job: bytes, tokens: list[int]) -> tuple[Crossing, Crossing]:
        sent = handed_over(
            to_bf16_bits(self.model.embedding(tokens)),
            job=job,
            sender=self.party.account,
            boundary=0,
            key=boundary_key(order.secret, 0),
            signer=self.party.key.ed25519(),
            ledger_id=self.ledger.id,
        )
        received = self.line.send(job, sent)
        end = order.job.plan[-1].layer_stop
        require_handed_over(
            received,
            job=order.job,
            boundary=end,
            key=boundary_key(order.secret, end),
            ledger_id=self.ledger.id,
        )
        return sent, received

    def _plan(self) -> list[PlanSpan]:
        spans = spans_of(self.model.description.shape.layers)
        with self.ledger.read() as state:
            nodes = [reading.account_named(state, node_name(number)) for number in range(NODES)]
        return [
            PlanSpan(layer_start=start, layer_stop=stop, node=node)
            for (start, stop), node in zip(spans, nodes, strict=True)
            if node is not None
        ]

    def _hold_of(self, job: bytes) -> bytes:
        with self.ledger.read() as state:
            progress = reading.job_status(state, job)
        if progress is None:
            raise UnknownIdError("the job is not logged", found=job.hex())
        return progress.hold

    def _price(self, positions: int) -> int:
        terms = founding.model_terms(self.model.description)
        spans = spans_of(self.model.description.shape.layers)
        flops = [span_flops(terms, stop - start, 0, positions) for start, stop in spans]
        return sum(span_price(terms, flop) for flop in flops) + 1

    def _wallet(self, purpose: str) -> Wallet:
        draw = stream(self.scene.seed, f"wallet {purpose}")
        return Wallet(self.ledger, key=self.scene.key_file(CLIENT), clock=self.clock, random_bytes=draw)

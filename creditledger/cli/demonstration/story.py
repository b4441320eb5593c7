"""The acts of the demo, in the order data flows. Source: specs/cli.md §14."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from creditledger.activations.bf16 import Float32Array, to_bf16_bits
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel, load_model
from creditledger.cli.demonstration import founding
from creditledger.cli.demonstration.cast import VALIDATORS, Cast, make_cast
from creditledger.cli.demonstration.chance import stream
from creditledger.cli.demonstration.cheating import Kernel, cheating_kernel, honest_kernel
from creditledger.cli.demonstration.profiles import span_profiles
from creditledger.cli.demonstration.prompts import prompt_tokens
from creditledger.cli.demonstration.work import Node, open_node, serve
from creditledger.credits import reading
from creditledger.credits.tariff import span_flops, span_price
from creditledger.ledger.audit import AuditReport, audit
from creditledger.ledger.clock import Clock
from creditledger.ledger.directory import require_free
from creditledger.ledger.ledger import Ledger
from creditledger.ledger.prove import prover
from creditledger.quantities import MicroCredit
from creditledger.records.job import PlanSpan
from creditledger.records.transfer import Grant
from creditledger.redemption.client_id import new_client_id
from creditledger.redemption.order import Order
from creditledger.redemption.queues.job_outcome import JobOutcome
from creditledger.redemption.queues.local import LocalQueue
from creditledger.redemption.wallet import Wallet
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.validation.validator import Validator
from creditledger.validation.validator_key import ValidatorKey

NODES: Final = 3
CHEAT: Final = 1
"""The node in the middle is the one that cheats."""
PROMPT_POSITIONS: Final = (256, 300)
"""One job of a whole window, one with a short last window."""
GRANT_MICRO: Final[MicroCredit] = 1_000_000_000
HARDWARE: Final = "cpu"
GENERATION_MS: Final = 45_000
"""GPU time that the spending owner buys; what is not used comes back."""
ROUNDS_MAX: Final = 20
NUMPY_KERNEL: Final = "numpy-fused"
TORCH_KERNEL: Final = "torch-sdpa"

Progress = Callable[[str, int, int], None]
"""``progress(what, done, all)``."""


@dataclass(slots=True)
class Story:
    """The world after each act, and what the report is made of."""

    folder: Path
    seed: int | None
    cheat: str | None
    clock: Clock
    progress: Progress
    model_path: Path | None = None
    model: LoadedModel = field(init=False)
    cast: Cast = field(init=False)
    ledger: Ledger = field(init=False)
    policy: TrustPolicy = field(init=False)
    nodes: tuple[Node, ...] = field(init=False)
    validators: list[Validator] = field(init=False)
    orders: list[Order] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)
    job: JobOutcome | None = None
    held_micro: int = 0
    bundles: list[dict[str, Any]] = field(default_factory=list)
    audit: AuditReport | None = None
    held_open: ExitStack = field(default_factory=ExitStack)

    def tell(self) -> None:
        """All acts. What they open is closed with ``held_open``; the ledger stays in ``folder``.

        Raises StorageError at once if ``folder`` is taken."""
        require_free(self.folder)
        self.load()
        self.found()
        self.order()
        self.work()
        self.check()
        self.settle()
        self.spend()
        self.prove()

    def load(self) -> None:
        """The model, and the profiles that its spans are judged by."""
        self.model = load_model(
            self.model_path, progress=lambda done, all_: self.progress("load the model", done, all_)
        )
        layers = self.model.description.shape.layers
        self.cast = make_cast(self.folder, layers=layers, nodes=NODES, seed=self.seed)

    def found(self) -> None:
        """A pool with accounts, and credits for the client under a certified round."""
        spans = self.cast.spans
        profiles = span_profiles(
            self.model, spans, progress=lambda done, all_: self.progress("calibrate the spans", done, all_)
        )
        description = self.model.description
        self.ledger = founding.found_pool(self.folder, self.cast, description, profiles, self.clock)
        self.held_open.callback(self.ledger.close)
        self.policy = self.ledger.policy()
        self.validators = [self._validator(number) for number in range(VALIDATORS)]
        for number, party in enumerate(self.cast.parties):
            founding.register(self.ledger, party)
            self.progress("register accounts", number + 1, len(self.cast.parties))
        grant = Grant(
            id=self._new_id("grant"),
            account=self.cast.client.account,
            amount_micro=GRANT_MICRO,
            reason="allocation",
        )
        self.ledger.append(self.ledger.sign(grant))
        self._certify("certify the grant", rounds=2)

    def order(self) -> None:
        """The client signs a bound for each prompt and holds the credits for it."""
        draw = stream(self.seed, "prompts")
        wallet = self._wallet("client", self.cast.client.file)
        plan = [
            PlanSpan(layer_start=start, layer_stop=stop, node=party.account)
            for (start, stop), party in zip(self.cast.spans, self.cast.nodes, strict=True)
        ]
        for positions in PROMPT_POSITIONS:
            self.prompts.append(prompt_tokens(self.model, positions, draw=draw))
            model = self.model.description.digest
            self.orders.append(wallet.order(model, plan, positions, self._price(positions)))
        self._certify("certify the holds")

    def work(self) -> None:
        """Every prompt runs through the nodes; they mint, the client countersigns."""
        self.nodes = tuple(self._node(number) for number in range(NODES))
        wallet = self._wallet("confirmations", self.cast.client.file)
        crossed = []
        for number, (order, tokens) in enumerate(zip(self.orders, self.prompts, strict=True)):
            hold = wallet.voucher(_hold_of(order, self.ledger))
            orders = {start: order.work_order(start) for start, _ in self.cast.spans}
            inputs = self.model.embedding(tokens)
            crossed.append(serve(self.nodes, orders, inputs, hold=hold, policy=self.policy))
            self.progress("run the prompts", number + 1, len(self.orders))
        for node in self.nodes:
            node.minter.close()
        for order, rows in zip(self.orders, crossed, strict=True):
            wallet.confirm(order, {boundary: to_bf16_bits(values) for boundary, values in rows.items()})

    def check(self) -> None:
        """The round is certified; the drawn receipts are run again; verdicts are bound to, then shown."""
        self._certify("certify the receipts")
        duties = 2 * VALIDATORS
        done = 0
        for _ in range(ROUNDS_MAX):
            done_now = sum(len(validator.step()) for validator in self.validators)
            if not done_now:
                break
            done += done_now
            self.progress("run drawn receipts again", min(done, duties), duties)

    def settle(self) -> None:
        """Holds become the honest nodes' unvested credits; a round later these vest."""
        self.ledger.settle_due()
        self._certify("settle and vest", rounds=3)

    def spend(self) -> None:
        """The first node's owner buys machine time with what it earned."""
        owner = self._wallet("owner", self.cast.nodes[0].file)
        queue = self.cast.queue.account
        quote = owner.quote(queue, hardware=HARDWARE, gpus=1, duration_ms=GENERATION_MS)
        self.held_micro = quote.amount_micro
        held = owner.hold(quote)
        self._certify("certify the voucher")
        self.progress("run the queued job", 0, 1)
        with LocalQueue(
            self.folder / "queue",
            ledger=self.ledger,
            key=self.cast.queue.file,
            policy=self.policy,
            slots=1,
            hardware=HARDWARE,
            clock=self.clock,
        ) as local:
            self.job = local.run(held.voucher, self._generation())
        self.progress("run the queued job", 1, 1)
        self._certify("certify the capture", rounds=2)

    def prove(self) -> None:
        """A bundle of each node's first receipt and of the owner's balance; the audit of it all."""
        folder = self.folder / "bundles"
        folder.mkdir()
        with prover(self.ledger) as prove:
            for node in self.nodes:
                digest = node.receipts[0].digest(self.ledger.id)
                self._keep(folder / f"{node.party.name}.receipt", digest, "receipt", prove.receipt(digest))
            account = self.cast.nodes[0].account
            self._keep(folder / "node-1.balance", account, "account", prove.account(account))
        self.progress("audit the log", 0, 1)
        self.audit = audit(self.folder, now_unix_ms=self.clock())
        self.progress("audit the log", 1, 1)

    def _keep(self, path: Path, digest: bytes, kind: str, bundle: bytes) -> None:
        path.write_bytes(bundle)
        self.bundles.append({"id": digest.hex(), "kind": kind, "path": str(path)})

    def _certify(self, what: str, *, rounds: int = 1) -> None:
        """Close, attest and certify ``rounds`` rounds, every validator on its own replica of the log."""
        for number in range(rounds):
            self.progress(what, number, rounds)
            self.ledger.publish()
            self.ledger.close_round()
            for validator in self.validators:
                validator.step()
            self.ledger.certify()
            self.ledger.publish()
        self.progress(what, rounds, rounds)

    def _validator(self, number: int) -> Validator:
        key = ValidatorKey.load(self.folder / "keys" / f"validator-{number}.key", ledger_id=self.ledger.id)
        validator = Validator(
            self.ledger,
            key=key,
            runner=NumpyLlama(self.model),
            journal=self.folder / "journals" / f"validator-{number}",
            clock=self.clock,
            random_bytes=stream(self.seed, f"validator {number}"),
        )
        self.held_open.callback(validator.close)
        return validator

    def _node(self, number: int) -> Node:
        party, span = self.cast.nodes[number], self.cast.spans[number]
        is_cheat = self.cheat is not None and number == CHEAT
        is_torch = number == 0 and find_spec("torch") is not None
        return open_node(
            self.ledger,
            party,
            span,
            self._cheating_kernel(span) if is_cheat else honest_kernel(self.model, span),
            profile=(self.cheat or "") if is_cheat else TORCH_KERNEL if is_torch else NUMPY_KERNEL,
            blocks=_torch_blocks(self.model, span) if is_torch else None,
            outbox=self.folder / "outbox" / party.name,
            model=self.model.description.digest,
            clock=self.clock,
            random_bytes=stream(self.seed, f"salts of {party.name}"),
        )

    def _cheating_kernel(self, span: tuple[int, int]) -> Kernel:
        other = prompt_tokens(self.model, max(PROMPT_POSITIONS), draw=stream(self.seed, "another prompt"))
        earlier: Float32Array = NumpyLlama(self.model).yardstick(
            self.model.embedding(other), layer_start=0, layer_stop=span[0]
        )
        return cheating_kernel(self.cheat or "", self.model, span, earlier=earlier, seed=self.seed or 0)

    def _wallet(self, purpose: str, key: Path) -> Wallet:
        return Wallet(
            self.ledger, key=key, clock=self.clock, random_bytes=stream(self.seed, f"wallet {purpose}")
        )

    def _price(self, positions: int) -> int:
        terms = founding.model_terms(self.model.description)
        flops = [span_flops(terms, stop - start, 0, positions) for start, stop in self.cast.spans]
        return sum(span_price(terms, flop) for flop in flops) + 1

    def _new_id(self, purpose: str) -> bytes:
        return new_client_id(now_unix_ms=self.clock(), random_bytes=stream(self.seed, purpose))

    def _generation(self) -> list[str]:
        command = [sys.executable, "-m", "creditledger.cli.generate", "The credits of a compute pool are"]
        return [*command, "--model", str(self.model_path)] if self.model_path else command


def _hold_of(order: Order, ledger: Ledger) -> bytes:
    with ledger.read() as state:
        progress = reading.job_status(state, order.job.digest(ledger.id))
    return b"" if progress is None else progress.hold


def _torch_blocks(model: LoadedModel, span: tuple[int, int]) -> Any:
    from creditledger.activations.runners.torch_blocks import TorchBlocks

    return TorchBlocks(model, layer_start=span[0], layer_stop=span[1], attention="sdpa")


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Seconds since the block began."""
    started = time.monotonic()
    yield lambda: time.monotonic() - started

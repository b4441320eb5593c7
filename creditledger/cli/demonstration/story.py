"""The acts of the demo, in the order data flows. Source: specs/cli.md §14."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from creditledger.activations.runners.weights import LoadedModel, load_model
from creditledger.cli.demonstration import founding
from creditledger.cli.demonstration.cast import Cast, make_cast
from creditledger.cli.demonstration.chance import stream
from creditledger.cli.demonstration.profiles import span_profiles
from creditledger.cli.demonstration.scene import PROMPT_POSITIONS, Progress, Scene, spans_of
from creditledger.cli.demonstration.stage import OpenStage, Stage
from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.ledger.audit import AuditReport
from creditledger.ledger.clock import Clock
from creditledger.ledger.directory import require_free
from creditledger.ledger.prove import prover
from creditledger.quantities import MicroCredit
from creditledger.records.entry import Entry
from creditledger.records.kinds import Kind
from creditledger.records.state import ReceiptState
from creditledger.records.transfer import Grant
from creditledger.redemption.client_id import new_client_id

ROUND_KINDS: Final = (Kind.ROUND, Kind.ATTESTATION, Kind.CERTIFICATE)
GRANT_MICRO: Final[MicroCredit] = 1_000_000_000


@dataclass(slots=True)
class Story:
    """The world after each act, and what the report is made of."""

    scene: Scene
    clock: Clock
    progress: Progress
    open_stage: OpenStage
    is_alone: bool = True
    """Whether the committee's keys lie with the operator's."""
    model: LoadedModel = field(init=False)
    cast: Cast = field(init=False)
    stage: Stage = field(init=False)
    jobs: list[bytes] = field(default_factory=list)
    job: dict[str, Any] | None = None
    """What became of the queued job."""
    held_micro: int = 0
    bundles: list[dict[str, Any]] = field(default_factory=list)
    audit: AuditReport | None = None
    held_open: ExitStack = field(default_factory=ExitStack)

    def tell(self) -> None:
        """All acts. What they open is closed with ``held_open``; the ledger stays in the scene's folder.

        Raises StorageError at once if that folder is taken."""
        require_free(self.scene.folder)
        self.load()
        self.found()
        self.order()
        self.work()
        self.check()
        self.settle()
        self.spend()
        self.prove()

    def load(self) -> None:
        """The model, and everybody's keys."""
        self.model = load_model(
            self.scene.model_path, progress=lambda done, all_: self.progress("load the model", done, all_)
        )
        self.cast = make_cast(self.scene)

    def found(self) -> None:
        """A pool with accounts, and credits for the client under a certified round."""
        profiles = span_profiles(
            self.model,
            spans_of(self.model.description.shape.layers),
            progress=lambda done, all_: self.progress("calibrate the spans", done, all_),
        )
        description = self.model.description
        ledger = founding.found_pool(
            self.scene.folder, self.cast, description, profiles, self.clock, is_alone=self.is_alone
        )
        with ExitStack() as unless_staged:
            unless_staged.callback(ledger.close)
            for number, party in enumerate(self.cast.parties):
                founding.register(ledger, party)
                self.progress("register accounts", number + 1, len(self.cast.parties))
            ledger.append(ledger.sign(self._grant()))
            self.stage = self.open_stage(
                self.scene, self.cast, ledger, self.model, clock=self.clock, progress=self.progress
            )
            unless_staged.pop_all()
        self.held_open.callback(self.stage.close)
        self.stage.until("certify the grant", self._granted)
        self._certified("certify the grant")

    def order(self) -> None:
        """The client signs a bound for each prompt and holds the credits for it."""
        self.jobs = [bytes.fromhex(job) for job in self.stage.client.order()]
        self._certified("certify the holds")

    def work(self) -> None:
        """Every prompt runs through the nodes; they mint, the client countersigns."""
        self.progress("run the prompts", 0, 1)
        self.stage.client.send()
        self.progress("run the prompts", 1, 1)
        self.stage.until("log the receipts", self._logged)
        self.stage.client.confirm()

    def check(self) -> None:
        """The round is certified; the drawn receipts are run again; verdicts are bound to, then shown."""
        self._certified("certify the receipts")
        self.stage.until("run drawn receipts again", self._judged)

    def settle(self) -> None:
        """Holds become the honest nodes' unvested credits; a round later these vest."""
        self.stage.until("settle and vest", self._vested)

    def spend(self) -> None:
        """The first node's owner buys machine time with what it earned."""
        self.held_micro = self.stage.owner.buy()
        self._certified("certify the voucher")
        self.progress("run the queued job", 0, 1)
        self.job = self.stage.queue.run(self.stage.owner.voucher())
        self.progress("run the queued job", 1, 1)
        self._certified("certify the capture")

    def prove(self) -> None:
        """A bundle of each node's first receipt and of the owner's balance; the audit of it all."""
        folder = self.scene.folder / "bundles"
        folder.mkdir()
        with self.stage.ledger.read() as state:
            first = {receipt.node: receipt for receipt in reversed(self._receipts(state))}
        with prover(self.stage.ledger) as prove:
            for party in self.cast.nodes:
                digest = first[party.account].receipt
                self._keep(f"{party.name}.receipt", digest, "receipt", prove.receipt(digest))
            account = self.cast.nodes[0].account
            self._keep(f"{self.cast.nodes[0].name}.balance", account, "account", prove.account(account))
        self.progress("audit the log", 0, 1)
        self.audit = self.stage.audit()
        self.progress("audit the log", 1, 1)

    def receipts_of(self, state: StateView, node: bytes) -> int:
        """How many receipts of a node are logged."""
        return sum(receipt.node == node for receipt in self._receipts(state))

    def _keep(self, name: str, digest: bytes, kind: str, bundle: bytes) -> None:
        path = self.scene.folder / "bundles" / name
        path.write_bytes(bundle)
        self.bundles.append({"id": digest.hex(), "kind": kind, "path": str(path)})

    def _certified(self, what: str) -> None:
        """Go on when a certified round speaks of everything that is logged now.

        Nothing waits for a round over attestations and certificates alone."""
        with self.stage.ledger.snapshot() as snapshot:
            size = snapshot.log.size
            while Entry.decode(snapshot.log.entry_bytes(size - 1)).record.KIND in ROUND_KINDS:
                size -= 1

        def measure(state: StateView) -> tuple[int, int]:
            latest = reading.latest_certified_round(state)
            return int(latest is not None and latest.round.log_size >= size), 1

        self.stage.until(what, measure)

    def _granted(self, state: StateView) -> tuple[int, int]:
        account = reading.account_state(state, self.cast.client.account)
        return 0 if account is None else account.available_micro, GRANT_MICRO

    def _logged(self, state: StateView) -> tuple[int, int]:
        """Positions that have a receipt."""
        done = sum(receipt.positions for receipt in self._receipts(state))
        return done, sum(PROMPT_POSITIONS) * len(self.cast.nodes)

    def _judged(self, state: StateView) -> tuple[int, int]:
        """Receipts that were drawn, with all their verdicts; this pool draws every one."""
        receipts = self._receipts(state)
        return sum(receipt.due > 0 and receipt.is_judged for receipt in receipts), len(receipts)

    def _vested(self, state: StateView) -> tuple[int, int]:
        """Receipts that are settled, of nodes with nothing unvested left."""
        receipts = self._receipts(state)
        accounts = [reading.account_state(state, party.account) for party in self.cast.nodes]
        waiting = {account.account for account in accounts if account is not None and account.unvested_micro}
        return sum(receipt.settled and receipt.node not in waiting for receipt in receipts), len(receipts)

    def _receipts(self, state: StateView) -> list[ReceiptState]:
        """All receipts of the client's jobs that are logged, job by job and span by span."""
        digests = [
            digest
            for job in self.jobs
            for leg in reading.job_legs(state, job)
            for _, digest in reading.job_receipts(state, job, leg.layer_start)
        ]
        found = [reading.receipt_state(state, digest) for digest in digests]
        return [receipt for receipt in found if receipt is not None]

    def _grant(self) -> Grant:
        draw = stream(self.scene.seed, "grant")
        return Grant(
            id=new_client_id(now_unix_ms=self.clock(), random_bytes=draw),
            account=self.cast.client.account,
            amount_micro=GRANT_MICRO,
            reason="allocation",
        )


@contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Seconds since the block began."""
    started = time.monotonic()
    yield lambda: time.monotonic() - started

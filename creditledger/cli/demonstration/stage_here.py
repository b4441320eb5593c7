"""The stage inside one process: the story itself is operator, committee and everybody else in turn."""

from contextlib import ExitStack
from typing import Final

from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.activations.runners.weights import LoadedModel
from creditledger.cli.demonstration.cast import Cast, validator_name
from creditledger.cli.demonstration.chance import stream
from creditledger.cli.demonstration.client import Client
from creditledger.cli.demonstration.crossing import Crossing
from creditledger.cli.demonstration.node_part import open_node
from creditledger.cli.demonstration.scene import Progress, Scene
from creditledger.cli.demonstration.spending import Owner, Queue
from creditledger.cli.demonstration.stage import Measure
from creditledger.cli.demonstration.work import Node
from creditledger.errors import BusyError
from creditledger.ledger.audit import AuditReport, audit
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.minting.work_order import WorkOrder
from creditledger.validation.validator import Validator
from creditledger.validation.validator_key import ValidatorKey

TURNS_MAX: Final = 40


class StageHere:
    """Everybody in this process, over one ledger that is open for writing."""

    def __init__(
        self,
        scene: Scene,
        cast: Cast,
        ledger: Ledger,
        model: LoadedModel,
        *,
        clock: Clock,
        progress: Progress,
    ) -> None:
        """``ledger`` is this stage's from now on: `close` closes it."""
        self.url = None
        self.ledger = ledger
        self._scene = scene
        self._clock = clock
        self._progress = progress
        self._opened = ExitStack()
        self._opened.callback(ledger.close)
        self._validators = [self._validator(number, model) for number in range(len(cast.validators))]
        self._line = _Line(
            nodes=tuple(
                open_node(scene, number, party, ledger, model, clock=clock, may_use_torch=True)
                for number, party in enumerate(cast.nodes)
            ),
            ledger=ledger,
        )
        for node in self._line.nodes:
            self._opened.callback(node.minter.close)
        self.profiles = tuple(node.profile for node in self._line.nodes)
        self.client = Client(
            scene=scene, ledger=ledger, model=model, party=cast.client, line=self._line, clock=clock
        )
        self.owner = Owner(scene=scene, ledger=ledger, name=cast.nodes[0].name, clock=clock)
        self.queue = Queue(scene=scene, ledger=ledger, clock=clock)

    def until(self, what: str, measure: Measure) -> None:
        """See `Stage.until`."""
        for _ in range(TURNS_MAX):
            with self.ledger.read() as state:
                done, total = measure(state)
            self._progress(what, done, total)
            if done >= total:
                return
            self._turn()
        raise BusyError(f"the pool did not come to: {what}", expected=str(total), found=str(done))

    def audit(self) -> AuditReport:
        """See `Stage.audit`."""
        return audit(self.ledger.path, now_unix_ms=self._clock())

    def require_alive(self) -> None:
        """See `Stage.require_alive`."""

    def close(self) -> None:
        """See `Stage.close`."""
        self._opened.close()

    def _turn(self) -> None:
        """Whoever has something to do does it; when nobody has, a round is closed and certified."""
        self.ledger.settle_due()
        self.ledger.publish()
        if not self._step():
            self.ledger.close_round()
            self._step()
            self.ledger.certify()
        self.ledger.publish()

    def _step(self) -> bool:
        """Let every validator do what is due; whether anybody did anything."""
        return sum(len(validator.step()) for validator in self._validators) > 0

    def _validator(self, number: int, model: LoadedModel) -> Validator:
        path = self._scene.key_file(validator_name(number))
        validator = Validator(
            self.ledger,
            key=ValidatorKey.load(path, ledger_id=self.ledger.id),
            runner=NumpyLlama(model),
            journal=self._scene.folder / "journals" / validator_name(number),
            clock=self._clock,
            random_bytes=stream(self._scene.seed, f"validator {number}"),
        )
        self._opened.callback(validator.close)
        return validator


class _Line:
    """Node after node, in this process."""

    def __init__(self, *, nodes: tuple[Node, ...], ledger: Ledger) -> None:
        self.nodes = nodes
        self._policy = ledger.policy()

    def tell(self, number: int, order: bytes, hold: bytes) -> None:
        self.nodes[number].take(WorkOrder.decode(order), hold=hold, policy=self._policy)

    def send(self, job: bytes, crossing: Crossing) -> Crossing:
        for node in self.nodes:
            crossing = node.serve(job, crossing, policy=self._policy)
            node.minter.flush()
        return crossing

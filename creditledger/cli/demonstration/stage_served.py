"""The stage where every party is a process of its own, over HTTP on this machine's loopback."""

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from creditledger.activations.runners.weights import LoadedModel
from creditledger.cli.demonstration.cast import Cast, validator_name
from creditledger.cli.demonstration.node_part import profile_of
from creditledger.cli.demonstration.part_process import Call
from creditledger.cli.demonstration.processes import CuedProcess, Processes
from creditledger.cli.demonstration.reached import reach
from creditledger.cli.demonstration.scene import NODES, Progress, Scene, node_name
from creditledger.cli.demonstration.stage import Measure
from creditledger.errors import BusyError
from creditledger.ledger.audit import AuditReport, audit_source
from creditledger.ledger.clock import Clock
from creditledger.ledger.directory import replace_file
from creditledger.ledger.keyring import bind_key, save_key
from creditledger.ledger.ledger import Ledger
from creditledger.service.http_source import HttpSource

ACT_SECONDS: Final = 300.0
LOOK_SECONDS: Final = 0.25
INTERVAL_SECONDS: Final = 1
"""How often the operator settles and closes rounds, and a validator looks for work."""


class StageServed:
    """A server, two validators, three nodes, a client and a queue; the story looks on, and gives cues."""

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
        """``ledger`` is closed: its server is its one writer from now on. Raises BusyError, StorageError."""
        self._scene = scene
        self._clock = clock
        self._progress = progress
        self._opened = ExitStack()
        self.profiles = tuple(profile_of(scene, number, may_use_torch=False) for number in range(NODES))
        try:
            self._raise_curtain(cast, ledger)
        except BaseException:
            self._opened.close()
            raise

    def _raise_curtain(self, cast: Cast, founded: Ledger) -> None:
        scene = self._scene
        keys = [self._kept_validator(cast, number, founded.id) for number in range(len(cast.validators))]
        founded.close()
        self._processes = Processes(scene.folder / "logs")
        self._opened.callback(self._processes.close)
        self.url = self._served()
        self.ledger = reach(self.url, scene.folder, clock=self._clock)
        self._opened.callback(self.ledger.close)
        for number, key in enumerate(keys):
            self._start_validator(validator_name(number), key)
        nodes = [self._part(node_name(number), "node", number) for number in range(NODES)]
        urls = tuple(str(node.do("url")) for node in nodes)
        self.client = _Client(self._part("client", "client", nodes=urls))
        self.owner = _Owner(nodes[0])
        self.queue = _Queue(self._part("queue", "queue"))

    def until(self, what: str, measure: Measure) -> None:
        """See `Stage.until`."""
        deadline = time.monotonic() + ACT_SECONDS
        while True:
            self._processes.require_alive()
            with self.ledger.read() as state:
                done, total = measure(state)
            self._progress(what, done, total)
            if done >= total:
                return
            if time.monotonic() > deadline:
                raise BusyError(f"the pool did not come to: {what}", expected=str(total), found=str(done))
            time.sleep(LOOK_SECONDS)

    def audit(self) -> AuditReport:
        """See `Stage.audit`: as any stranger does, over HTTP."""
        return audit_source(HttpSource(self.url), self.ledger.policy(), now_unix_ms=self._clock())

    def require_alive(self) -> None:
        """Raises BusyError if a party has ended."""
        self._processes.require_alive()

    def close(self) -> None:
        """See `Stage.close`."""
        self._opened.close()

    def _kept_validator(self, cast: Cast, number: int, ledger_id: bytes) -> Path:
        """The validator's key file, away from the operator's, and the policy that it reads under."""
        folder = self._scene.folder.absolute() / "validators" / validator_name(number)
        folder.mkdir(mode=0o700, parents=True)
        path = folder / "key"
        save_key(path, cast.validators[number])
        bind_key(path, ledger_id=ledger_id)
        replace_file(folder / "policy", (self._scene.folder / "policy").read_bytes())
        return path

    def _served(self) -> str:
        """Start the pool's server; its URL."""
        reading, writing = os.pipe()
        with open(reading) as ready:
            words = ["serve", str(self._scene.folder), "--listen", "127.0.0.1:0"]
            timing = ["--interval", str(INTERVAL_SECONDS), "--ready-fd", str(writing)]
            try:
                self._processes.start("server", ["creditledger", *words, *timing], passed=[writing])
            finally:
                os.close(writing)
            self._processes.await_line(reading)
            address = ready.readline().strip()
        if not address:
            time.sleep(LOOK_SECONDS)
            self._processes.require_alive()
            raise BusyError("the server did not say where it is")
        return f"http://{address}"

    def _start_validator(self, name: str, key: Path) -> None:
        """It has its folder, and the pool's URL: rounds, evidence and verdicts come and go over HTTP."""
        words = ["validate", self.url, "--key", str(key), "--policy", str(key.with_name("policy"))]
        if self._scene.model_path is not None:
            words += ["--model", str(self._scene.model_path.absolute())]
        words += ["--interval", str(INTERVAL_SECONDS)]
        self._processes.start(name, ["creditledger", *words], home=key.parent)

    def _part(self, name: str, part: str, number: int = 0, nodes: tuple[str, ...] = ()) -> CuedProcess:
        call = Call(part=part, number=number, url=self.url, nodes=nodes, scene=self._scene)
        return CuedProcess(self._processes, name, call.encode())


class _Client:
    """See `client.Client`."""

    def __init__(self, process: CuedProcess) -> None:
        self._process = process

    def order(self) -> list[str]:
        jobs: list[str] = self._process.do("order")
        return jobs

    def send(self) -> None:
        self._process.do("send")

    def confirm(self) -> None:
        self._process.do("confirm")


class _Owner:
    """See `spending.Owner`."""

    def __init__(self, process: CuedProcess) -> None:
        self._process = process

    def buy(self) -> int:
        return int(self._process.do("buy"))

    def voucher(self) -> str:
        return str(self._process.do("voucher"))


class _Queue:
    """See `spending.Queue`."""

    def __init__(self, process: CuedProcess) -> None:
        self._process = process

    def run(self, voucher: str) -> dict[str, Any]:
        outcome: dict[str, Any] = self._process.do("run", voucher)
        return outcome

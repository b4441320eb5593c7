"""The end of the story: what a node earned buys time on a queue, which runs a real process for it."""

import sys
from dataclasses import dataclass, field
from typing import Any, Final

from creditledger.cli.demonstration.cast import QUEUE
from creditledger.cli.demonstration.chance import stream
from creditledger.cli.demonstration.scene import Scene
from creditledger.credits import reading
from creditledger.errors import UnknownIdError
from creditledger.ledger.clock import Clock
from creditledger.ledger.ledger import Ledger
from creditledger.redemption.queues.local import LocalQueue
from creditledger.redemption.wallet import Wallet

HARDWARE: Final = "cpu"
GENERATION_MS: Final = 45_000
"""GPU time that the spending owner buys; what is not used comes back."""
PROMPT: Final = "The credits of a compute pool are"


@dataclass(slots=True, kw_only=True)
class Owner:
    """Whose node has earned."""

    scene: Scene
    ledger: Ledger
    name: str
    clock: Clock
    _hold: bytes = field(default=b"")

    def buy(self) -> int:
        """Hold credits for time on the queue; how many micro-credits."""
        wallet = self._wallet()
        with self.ledger.read() as state:
            queue = reading.account_named(state, QUEUE)
        if queue is None:
            raise UnknownIdError("the pool has no queue", expected=QUEUE)
        quote = wallet.quote(queue, hardware=HARDWARE, gpus=1, duration_ms=GENERATION_MS)
        self._hold = wallet.hold(quote).digest
        return quote.amount_micro

    def voucher(self) -> str:
        """The proof of that hold, in hex. Raises BusyError until a certified round covers it."""
        return self._wallet().voucher(self._hold).hex()

    def _wallet(self) -> Wallet:
        draw = stream(self.scene.seed, "wallet owner")
        return Wallet(self.ledger, key=self.scene.key_file(self.name), clock=self.clock, random_bytes=draw)


@dataclass(slots=True, kw_only=True)
class Queue:
    """One slot of this machine."""

    scene: Scene
    ledger: Ledger
    clock: Clock

    def run(self, voucher: str) -> dict[str, Any]:
        """Generate text for a voucher (hex); what became of it."""
        with LocalQueue(
            self.scene.folder / "queue",
            ledger=self.ledger,
            key=self.scene.key_file(QUEUE),
            policy=self.ledger.policy(),
            slots=1,
            hardware=HARDWARE,
            clock=self.clock,
        ) as local:
            job = local.run(bytes.fromhex(voucher), self._command())
        return {
            "exit_code": job.exit_code,
            "gpu_ms": job.gpu_ms,
            "captured_micro": job.captured_micro,
            "released_micro": job.released_micro,
            "stdout": str(job.stdout),
        }

    def _command(self) -> list[str]:
        model = self.scene.model_path
        command = [sys.executable, "-m", "creditledger.cli.generate", PROMPT]
        return command if model is None else [*command, "--model", str(model)]

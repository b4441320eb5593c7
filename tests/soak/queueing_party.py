"""A queue: captures what a voucher's job used and releases the rest; sometimes it tries to charge twice."""

import random
import time
from typing import Final

from creditledger.records.entry import Submission
from creditledger.records.transfer import Capture, Hold
from fakes.cast import ed25519
from soak.asking import Asker
from soak.handing_over import handed
from soak.soak_scene import Scene, name_of
from soak.told_file import ToldFile

PAUSE_SECONDS: Final = 0.1


class Queue:
    """A queue's turns."""

    def __init__(self, scene: Scene, name: str, ask: Asker, told: ToldFile, chance: random.Random) -> None:
        self._scene, self._name, self._ask, self._told, self._chance = scene, name, ask, told, chance
        self._key = ed25519(name)

    def live(self) -> None:
        """Serve vouchers until there is an end."""
        while not self._scene.is_told("end"):
            for path, content in handed(self._scene.path, self._name):
                hold = Submission.decode(content).record
                assert isinstance(hold, Hold)
                self._serve(hold)
                path.unlink()
            time.sleep(self._chance.uniform(0.5, 1.5) * PAUSE_SECONDS)

    def _serve(self, hold: Hold) -> None:
        papers, digest = self._scene.papers, hold.digest(self._scene.genesis.ledger_id)
        captured = 0
        if self._chance.random() < 0.8:
            used_ms = self._chance.randint(1, hold.duration_ms)
            submission = papers.capture(self._key, hold, used_ms)
            capture = submission.record
            assert isinstance(capture, Capture)
            if self._ask.one(f"/v1/holds/{digest.hex()}/capture", submission) == 201:
                captured = capture.amount_micro
            if self._chance.random() < 0.2:
                again = papers.capture(self._key, hold, used_ms, tag="again")
                self._ask.one(f"/v1/holds/{digest.hex()}/capture", again, 409)
        if self._ask.one(f"/v1/holds/{digest.hex()}/release", papers.release(self._key, digest)) == 201:
            holder = name_of(hold.holder)
            self._told.note(
                effect="redeemed", holder=holder, queue=self._name, held=hold.amount_micro, captured=captured
            )

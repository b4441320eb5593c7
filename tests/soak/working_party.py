"""A node: signs a batch of receipts for the orders it is handed, and says that it has delivered."""

import random
import time
from typing import Final

from creditledger.records.entry import Submission
from creditledger.records.job import Job
from fakes.cast import ed25519
from soak.asking import Asker
from soak.handing_over import hand_over, handed
from soak.ordering_party import receipts_of
from soak.soak_scene import Scene
from soak.told_file import ToldFile

PAUSE_SECONDS: Final = 0.4


class Node:
    """One node's turns."""

    def __init__(self, scene: Scene, name: str, ask: Asker, told: ToldFile, chance: random.Random) -> None:
        self._scene, self._name, self._ask, self._told, self._chance = scene, name, ask, told, chance
        self._key = ed25519(name)

    def live(self) -> None:
        """Work until there is an end."""
        while not self._scene.is_told("end"):
            self._work()
            time.sleep(self._chance.uniform(0.5, 1.5) * PAUSE_SECONDS)

    def _work(self) -> None:
        orders = list(handed(self._scene.path, self._name))
        receipts = []
        for _, content in orders:
            job = Submission.decode(content).record
            assert isinstance(job, Job)
            for chain in receipts_of(self._scene, job):
                receipts += [one for one in chain if one.node == self._key.public_key]
        if not receipts:
            return
        batch = self._scene.papers.batch(self._key, receipts, sealed=self._chance.randbytes(64))
        outcomes = self._ask.records([batch])
        if not outcomes or "index" not in outcomes[0]:
            return
        for one in receipts:
            self._told.note(receipt=one.digest(self._scene.genesis.ledger_id).hex())
        for path, _ in orders:
            client = path.name.rsplit("-", 1)[0]
            path.unlink()
            hand_over(self._scene.path, client, f"{path.name}@{self._name}", self._name.encode())

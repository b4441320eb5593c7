"""``python timed_party.py FOLDER``: honest requests, timed; one slice for each line ``SECONDS`` on stdin.

A request's time is until its right answer, refusals and retries included. After the last line the parties'
payments are told."""

import json
import random
import sys
import threading
import time
from pathlib import Path
from typing import Final

from fakes.cast import ed25519
from soak.asking import Asker
from soak.soak_scene import PAYERS, Scene
from soak.told_file import ToldFile

PAUSE_SECONDS: Final = 0.02
KINDS: Final = ("append", "account", "checkpoint", "receipt")


class Payer:
    """One honest user: pays a micro-credit and reads a little, one request after the other."""

    def __init__(self, scene: Scene, name: str, other: str) -> None:
        self._scene, self._name, self._other = scene, name, other
        self._told, self._chance = ToldFile(scene.path, name), random.Random(f"{scene.seed} {name}")
        self._ask = Asker(scene, self._told, chance=self._chance, repeats=0, hangs_up=0)
        self._turn = 0

    def pass_time(self, seconds: float, times: list[tuple[str, float]]) -> None:
        """Requests for so long, each with its time in seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._turn += 1
            kind = KINDS[self._turn % len(KINDS)]
            began = time.monotonic()
            self._do(kind)
            times.append((kind, time.monotonic() - began))
            time.sleep(self._chance.uniform(0.5, 1.5) * PAUSE_SECONDS)

    def close(self) -> None:
        """Say what was counted."""
        self._ask.close()

    def _do(self, kind: str) -> None:
        if kind == "append":
            self._pay()
        elif kind == "account":
            self._ask.get(f"/v1/accounts/{self._other}")
        elif kind == "checkpoint":
            self._ask.get("/checkpoint")
        else:
            self._ask.get(f"/v1/receipts/{self._chance.randbytes(32).hex()}", 404)

    def _pay(self) -> None:
        payee, key = ed25519(self._other).public_key, ed25519(self._name)
        paper = self._scene.papers.transfer(key, payee, 1, id=self._chance.randbytes(16))
        outcomes = self._ask.records([paper])
        if outcomes and "index" in outcomes[0]:
            self._told.note(effect="transfer", payer=self._name, payee=self._other, amount=1)


def main(folder: Path) -> None:
    """A slice for each line."""
    scene = Scene.load(folder)
    payers = [Payer(scene, PAYERS[0], PAYERS[1]), Payer(scene, PAYERS[1], PAYERS[0])]
    for line in sys.stdin:
        times: list[tuple[str, float]] = []
        threads = [
            threading.Thread(target=payer.pass_time, args=(float(line), times), name="payer")
            for payer in payers
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        print(json.dumps(times), flush=True)
    for payer in payers:
        payer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

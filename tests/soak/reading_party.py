"""Readers: one replays the whole log, others ask for accounts, receipts and bundles; all verify."""

import contextlib
import json
import random
import time
from typing import Final

from creditledger.errors import BusyError, CreditLedgerError
from creditledger.ledger.replica import Replica
from creditledger.transparency.verification import verify_bundle
from soak.asking import Asker
from soak.soak_scene import NODES, Scene, roles
from soak.told_file import ToldFile

PAUSE_SECONDS: Final = 0.25
PLAIN_PATHS: Final = ("/v1/status", "/v1/rounds/latest", "/healthz", "/policy")


class Follower:
    """Replays and re-checks everything that is published."""

    def __init__(self, scene: Scene, name: str, ask: Asker, told: ToldFile, chance: random.Random) -> None:
        self._scene, self._ask, self._told, self._chance = scene, ask, told, chance
        self._source = ask.log()
        self._replica = Replica(self._source, scene.policy)

    def live(self) -> None:
        """Follow until there is an end."""
        followed = 0
        with contextlib.closing(self._source):
            while not self._scene.is_told("end"):
                try:
                    self._replica.follow(int(time.time() * 1000))
                    followed += 1
                except BusyError:
                    pass
                except CreditLedgerError as error:
                    self._told.wrong("the log does not hold", error=f"{type(error).__name__}: {error}"[:500])
                    return
                time.sleep(PAUSE_SECONDS)
        self._told.note(
            counts={"checkpoints followed": followed, "entries replayed by a reader": self._replica.size}
        )


class Reader:
    """Asks for this and that, and believes what a proof shows."""

    def __init__(self, scene: Scene, name: str, ask: Asker, told: ToldFile, chance: random.Random) -> None:
        self._scene, self._ask, self._told, self._chance = scene, ask, told, chance
        self._etag = ""
        self._bundles = 0

    def live(self) -> None:
        """Read until there is an end."""
        while not self._scene.is_told("end"):
            share = self._chance.random()
            if share < 0.4:
                self._read_plainly()
            elif share < 0.6:
                self._read_checkpoint()
            else:
                self._verify()
            time.sleep(self._chance.uniform(0.5, 1.5) * PAUSE_SECONDS)
        self._told.note(counts={"bundles verified": self._bundles})

    def _read_plainly(self) -> None:
        names = [f"/v1/accounts/{name}" for name in roles()]
        # A process that has just begun may have published nothing yet.
        self._ask.get(self._chance.choice([*PLAIN_PATHS, *names]), 200, 503)

    def _read_checkpoint(self) -> None:
        answer = self._ask.get("/checkpoint", 200, 304, if_none_match=self._etag)
        if answer is not None and answer.status_code == 200:
            self._etag = answer.headers["etag"]
            try:
                self._scene.policy.verify_checkpoint(answer.content, now_unix_ms=int(time.time() * 1000))
            except CreditLedgerError as error:
                self._told.wrong("checkpoint", error=f"{type(error).__name__}: {error}"[:500])

    def _verify(self) -> None:
        receipt = self._some_receipt()
        if receipt is None:
            return
        self._ask.get(f"/v1/receipts/{receipt}", 200)
        # Logged, but perhaps under no checkpoint yet.
        answer = self._ask.get(f"/v1/bundles/{receipt}", 200, 404, 409, 422)
        if answer is None:
            return
        if answer.status_code != 200:
            self._told.note(counts={f"bundle {answer.json()['error']}": 1})
            return
        try:
            verify_bundle(answer.content, self._scene.policy, require="signed")
            self._bundles += 1
        except CreditLedgerError as error:
            self._told.wrong("bundle", error=f"{type(error).__name__}: {error}"[:500], receipt=receipt)

    def _some_receipt(self) -> str | None:
        """One of the last that a node was told to be logged."""
        path = self._scene.path / "told" / self._chance.choice(NODES)
        if not path.exists():
            return None
        with path.open("rb") as told:
            told.seek(max(0, path.stat().st_size - 40_000))
            lines = told.read().splitlines()[1:-1]
        found = [line for line in lines if line.startswith(b'{"receipt"')]
        return str(json.loads(self._chance.choice(found))["receipt"]) if found else None

"""A validator: replays the published log over HTTP, attests rounds, commits to and reveals its verdicts."""

import contextlib
import random
import time
from typing import Final

from creditledger.credits import reading
from creditledger.errors import BusyError
from creditledger.ledger.replica import Replica
from creditledger.records.entry import Submission
from soak.asking import Asker
from soak.soak_scene import Scene
from soak.told_file import ToldFile

PAUSE_SECONDS: Final = 0.5
TOO_LATE: Final = ("RefusedError", "ConflictError", "UnknownIdError")
"""A round that was certified, or a duty that has passed on, while this validator was at it."""


class Member:
    """One committee member's turns. It believes every receipt: no model is run."""

    def __init__(self, scene: Scene, name: str, ask: Asker, told: ToldFile, chance: random.Random) -> None:
        self._scene, self._ask, self._told, self._chance = scene, ask, told, chance
        self._index = int(name.rsplit("-", 1)[1])
        self._source = ask.log()
        self._replica = Replica(self._source, scene.policy)
        self._sent: set[bytes] = set()
        self._finished = 0

    def live(self) -> None:
        """Do what is due until there is an end."""
        with contextlib.closing(self._source):
            while not self._scene.is_told("end"):
                with contextlib.suppress(BusyError):
                    self._replica.follow(int(time.time() * 1000))
                if self._replica.size:
                    self._attest()
                    self._do_duties()
                time.sleep(self._chance.uniform(0.5, 1.5) * PAUSE_SECONDS)
        self._told.note(counts={"entries replayed by validators": self._replica.size})

    def _attest(self) -> None:
        info = reading.latest_round(self._replica.state)
        checkpoint = self._replica.checkpoint
        if info is None or info.is_certified or checkpoint is None or checkpoint.size <= info.index:
            return
        parameters = self._scene.genesis.parameters
        self._send(self._scene.papers.attestation(self._index, info.round, parameters))

    def _do_duties(self) -> None:
        latest = reading.latest_certified_round(self._replica.state)
        if latest is None:
            return
        is_behind_us = True
        for number in range(self._finished + 1, latest.round.number + 1):
            is_done = self._do_duty(number)
            is_behind_us &= is_done
            if is_behind_us:
                self._finished = number

    def _do_duty(self, number: int) -> bool:
        """Do the next thing for one round; whether nothing is left to do for it."""
        state = self._replica.state
        info = reading.round_numbered(state, number)
        duty = reading.member_duty(state, self._index, number)
        if info is None or not info.is_certified or duty is None or duty.reveal_index or duty.missed:
            return True
        due = reading.duties_of(state, self._index, number)
        verdicts = self._scene.papers.verdicts(number, self._index, due)
        if not duty.committed:
            self._send(self._scene.papers.commit(self._index, verdicts))
        elif all(each.committed for each in reading.members_on_duty(state, number).values()):
            self._send(self._scene.papers.reveal(self._index, verdicts))
        return False

    def _send(self, submission: Submission) -> None:
        encoded = submission.record.encode()
        if encoded not in self._sent and self._ask.records([submission], *TOO_LATE):
            self._sent.add(encoded)

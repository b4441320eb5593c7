"""Front ends that are killed while they sequence, clients that send again, and a log to bear them out."""

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2

from creditledger.ledger.clock import system_clock
from creditledger.ledger.fsck import fsck
from creditledger.ledger.ledger import Ledger
from creditledger.records.entry import Submission
from ledger_pools import found, grant, registration
from pool_processes import RunningPool, envelope, packed
from postgres_server import asking, new_schema

FRONT_ENDS: Final = 3
CLIENTS: Final = 4
AT_ONCE: Final = 4
RECOVERY_SECONDS: Final = 5.0
GIVE_UP_SECONDS: Final = 60.0
_SEQUENCER: Final = (
    "SELECT application_name FROM pg_stat_activity JOIN pg_locks USING (pid) "
    "WHERE locktype = 'advisory' AND granted AND application_name LIKE '%sequencer%'"
)


@dataclass(kw_only=True)
class Found:
    """What came of a campaign."""

    kills: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    entries: int = 0
    fsck: str = ""
    errors: list[str] = field(default_factory=list)

    def wrong(self) -> list[str]:
        """What must not be; empty for a good run."""
        wrong = [*self.lost, *self.twice, *self.errors]
        if self.fsck:
            wrong.append(f"fsck: {self.fsck}")
        if self.kills and max(self.recoveries, default=GIVE_UP_SECONDS) >= RECOVERY_SECONDS:
            wrong.append(f"recoveries {self.recoveries}")
        if not self.kills or not self.acknowledged:
            wrong.append("nothing was tried")
        return wrong

    def as_json(self) -> dict[str, Any]:
        """The figures."""
        return {
            "kills": self.kills,
            "acknowledged": self.acknowledged,
            "entries": self.entries,
            "lost": len(self.lost),
            "twice": len(self.twice),
            "recovery_seconds_max": round(max(self.recoveries, default=0.0), 2),
            "recovery_seconds_median": round(sorted(self.recoveries)[len(self.recoveries) // 2], 2)
            if self.recoveries
            else None,
            "wrong": self.wrong()[:20],
        }


class Campaign:
    """Three front ends, their clients, and who kills them."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = new_schema(url)
        self.folder = folder
        with found(folder / "0", clock=system_clock, store=self.url) as ledger:
            self.ledger_id = ledger.id
            ledger.append(registration(ledger.id, "payee"))
        for number in range(1, FRONT_ENDS):
            shutil.copytree(folder / "0", folder / str(number))
        self.pools: list[RunningPool] = [self.start(number) for number in range(FRONT_ENDS)]
        self.result = Found()
        self.acknowledged: dict[bytes, tuple[int, str]] = {}
        self.turn = threading.Lock()
        self.is_over = threading.Event()
        self.count = 0

    def start(self, number: int) -> RunningPool:
        return RunningPool(self.folder / str(number), "--interval", 1)

    def new_grants(self, many: int) -> list[Submission]:
        with self.turn:
            first, self.count = self.count, self.count + many
        return [grant(self.ledger_id, "payee", 1, 10**6 + first + each) for each in range(many)]

    def append(self, chance: random.Random, submissions: Sequence[Submission]) -> None:
        """Send them to any front end until one acknowledges them. Sometimes to two."""
        body = envelope(submissions)
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline:
            pool = chance.choice(self.pools)
            try:
                answer = httpx2.post(
                    f"{pool.url}/v1/records", content=body, headers=packed({}), timeout=8, trust_env=False
                )
            except httpx2.HTTPError:
                time.sleep(0.05)
                continue
            if answer.status_code == 200:
                self.note(submissions, answer.json()["outcomes"])
                if chance.random() < 0.95:
                    return
            else:
                time.sleep(0.1)
        self.result.errors.append("a client gave up")

    def note(self, submissions: Sequence[Submission], outcomes: Sequence[dict[str, Any]]) -> None:
        for submission, outcome in zip(submissions, outcomes, strict=True):
            if "index" not in outcome:
                self.result.errors.append(str(outcome))
                continue
            digest = submission.record.digest(self.ledger_id)
            place = (outcome["index"], outcome["leaf_hash"])
            with self.turn:
                if self.acknowledged.setdefault(digest, place) != place:
                    self.result.twice.append(f"{digest.hex()} at {place}")

    def client(self, seed: int) -> None:
        chance = random.Random(seed)
        while not self.is_over.is_set():
            self.append(chance, self.new_grants(AT_ONCE))

    def sequencer(self) -> int | None:
        """Which front end writes now."""
        with asking(self.url) as session:
            names = [row[0] for row in session.execute(_SEQUENCER).fetchall()]
        pids = {pool.process.pid: number for number, pool in enumerate(self.pools)}
        return next((pids.get(int(name.split()[-1])) for name in names), None)

    def kill_sequencer(self) -> None:
        """Kill it, see how long until a new record is acknowledged elsewhere, and start it again."""
        number = self.sequencer()
        if number is None:
            return
        dead = self.pools[number]
        dead.end(signal.SIGKILL)
        began = time.monotonic()
        self.pools[number] = self.pools[(number + 1) % FRONT_ENDS]
        self.append(random.Random(number), self.new_grants(1))
        self.result.recoveries.append(time.monotonic() - began)
        self.result.kills += 1
        self.pools[number] = self.start(number)

    def run(self, seconds: float, kill_every: float) -> Found:
        clients = [threading.Thread(target=self.client, args=(seed,)) for seed in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            end = time.monotonic() + seconds
            while time.monotonic() + kill_every < end:
                time.sleep(kill_every)
                self.kill_sequencer()
            time.sleep(max(0.0, end - time.monotonic()))
        finally:
            self.is_over.set()
            for client in clients:
                client.join()
            codes = [pool.end() for pool in set(self.pools)]
        self.result.errors += [f"exit {code}: {said[-300:]}" for code, said in codes if code]
        self.read_log()
        return self.result

    def read_log(self) -> None:
        """Every acknowledged record stands where it was said to, and nothing is logged twice."""
        places: dict[bytes, int] = {}
        with Ledger.open(self.folder / "0", read_only=True) as ledger:
            self.result.entries = ledger.size
            for index in range(ledger.size):
                digest = ledger.entry(index).record.digest(self.ledger_id)
                if digest in places:
                    self.result.twice.append(f"{digest.hex()} at {places[digest]} and {index}")
                places[digest] = index
            with ledger.snapshot() as snapshot:
                for digest, (index, leaf) in self.acknowledged.items():
                    if places.get(digest) != index or snapshot.log.node(0, index).hex() != leaf:
                        self.result.lost.append(f"{digest.hex()} at {index}")
        indices = [index for index, _ in self.acknowledged.values()]
        if len(set(indices)) != len(indices):
            self.result.twice.append("an index was given twice")
        self.result.acknowledged = len(indices)
        self.result.fsck = fsck(self.folder / "0").problem


def failover(folder: Path, url: str, *, seconds: float, kill_every: float) -> Found:
    """Run a campaign against the database at ``url``."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return Campaign(folder, url).run(seconds, kill_every)

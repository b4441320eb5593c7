"""A client: orders jobs and holds credits for them, buys vouchers, pays others, and tries what must fail."""

import random
import time
from collections.abc import Iterator
from typing import Final

from creditledger.records.entry import Submission
from creditledger.records.job import Job
from creditledger.records.receipt import Receipt
from creditledger.records.transfer import Hold
from fakes.cast import MODEL, ed25519
from soak.asking import Asker
from soak.books import fair_price
from soak.handing_over import hand_over, handed
from soak.soak_scene import CLIENTS, EXPIRY_MS, NODES, QUEUE, Scene
from soak.told_file import ToldFile

PAUSE_SECONDS: Final = 0.2
WINDOW: Final = 256


def receipts_of(scene: Scene, job: Job) -> Iterator[list[Receipt]]:
    """The receipts of each span: whoever has the order knows them, for no model is run."""
    for span in job.plan:
        yield scene.papers.receipts(job, span, job.max_positions)


class Client:
    """One client's turns."""

    def __init__(self, scene: Scene, name: str, ask: Asker, told: ToldFile, chance: random.Random) -> None:
        self._scene, self._name, self._ask, self._told, self._chance = scene, name, ask, told, chance
        self._key = ed25519(name)
        self._orders = 0
        self._under_way: dict[str, tuple[Job, set[str]]] = {}

    def live(self) -> None:
        """Order until told to stop, then wait for what is under way."""
        while not self._scene.is_told("end"):
            self._confirm()
            if self._scene.is_told("stop"):
                if not self._under_way:
                    break
            else:
                share = self._chance.random()
                self._order() if share < 0.4 else self._buy() if share < 0.75 else self._pay_or_try()
            time.sleep(self._chance.uniform(0.5, 1.5) * PAUSE_SECONDS)

    def _tag(self) -> tuple[str, int]:
        self._orders += 1
        return self._name, self._orders

    def _order(self) -> None:
        papers, tag = self._scene.papers, self._tag()
        submission = papers.job(
            self._key,
            [ed25519(node).public_key for node in self._chance.sample(NODES, 2)],
            parameters=self._scene.genesis.parameters.digest(self._scene.genesis.ledger_id),
            tag=tag,
            max_positions=self._chance.randint(1, 3 * WINDOW),
            expires_unix_ms=int(time.time() * 1000) + EXPIRY_MS,
        )
        job = submission.record
        assert isinstance(job, Job)
        if not self._ask.records([submission]):
            return
        if self._ask.one("/v1/holds", papers.job_hold(self._key, job)) != 201:
            return
        self._told.note(effect="order", holder=self._name, amount=job.max_price_micro)
        name = f"{self._name}-{tag[1]:08}"
        self._under_way[name] = job, set()
        for node in NODES:
            hand_over(self._scene.path, node, name, submission.encode())

    def _confirm(self) -> None:
        """Countersign what both nodes have delivered."""
        for path, content in handed(self._scene.path, self._name):
            name, node = path.name.rsplit("@", 1)
            path.unlink()
            job, done = self._under_way[name]
            done.add(node + content.decode())
            if len(done) < len(NODES):
                continue
            heads = [chain[-1] for chain in receipts_of(self._scene, job)]
            outcomes = self._ask.records([self._scene.papers.delivery(self._key, heads)])
            if not outcomes or "index" not in outcomes[0]:
                continue
            pays = [
                (
                    next(n for n in NODES if ed25519(n).public_key == span.node),
                    fair_price(MODEL, layers=span.layer_stop - span.layer_start, positions=job.max_positions),
                )
                for span in job.plan
            ]
            self._told.note(effect="job", holder=self._name, held=job.max_price_micro, pays=pays)
            del self._under_way[name]

    def _buy(self) -> None:
        queue, tag = ed25519(QUEUE).public_key, self._tag()
        expires = int(time.time() * 1000) + EXPIRY_MS
        duration_ms = self._chance.randint(1, 100_000)
        submission = self._scene.papers.voucher_hold(
            self._key, queue, tag=tag, duration_ms=duration_ms, expires_unix_ms=expires
        )
        hold = submission.record
        assert isinstance(hold, Hold)
        if self._ask.one("/v1/holds", submission) == 201:
            self._told.note(effect="hold", holder=self._name, amount=hold.amount_micro)
            hand_over(self._scene.path, QUEUE, f"{self._name}-{tag[1]:08}", submission.encode())

    def _pay_or_try(self) -> None:
        other = next(name for name in CLIENTS if name != self._name)
        self._chance.choice([self._pay, self._overspend, self._confuse, self._babble])(other)

    def _pay(self, other: str) -> None:
        amount, payee = self._chance.randint(1, 10_000), ed25519(other).public_key
        paper = self._scene.papers.transfer(self._key, payee, amount, id=self._id())
        twin = self._scene.papers.transfer(self._key, payee, 1, id=self._id())
        outcomes = self._ask.records([paper, twin, paper])
        if outcomes:
            if outcomes[2] != outcomes[0]:
                self._told.wrong("a repeat has another place", outcomes=outcomes)
            self._told.note(effect="transfer", payer=self._name, payee=other, amount=amount + 1)

    def _overspend(self, other: str) -> None:
        submission = self._scene.papers.voucher_hold(
            self._key,
            ed25519(QUEUE).public_key,
            tag=self._tag(),
            gpus=64,
            duration_ms=10**9,
            hardware=self._scene.genesis.parameters.hardware[1],
            expires_unix_ms=int(time.time() * 1000) + EXPIRY_MS,
        )
        self._ask.one("/v1/holds", submission, 402)

    def _confuse(self, other: str) -> None:
        """The same id for two payments: one of them is made."""
        payee, id = ed25519(other).public_key, self._id()
        papers = [self._scene.papers.transfer(self._key, payee, amount, id=id) for amount in (1, 2)]
        outcomes = self._ask.records(papers, "ConflictError")
        if outcomes:
            if ["index" in each for each in outcomes] != [True, False]:
                self._told.wrong("two payments under one id", outcomes=outcomes)
            self._told.note(effect="transfer", payer=self._name, payee=other, amount=1)

    def _babble(self, other: str) -> None:
        good = self._scene.papers.transfer(self._key, ed25519(other).public_key, 1, id=self._id())
        forged = Submission(record=good.record, signature=bytes(64))
        self._ask.records([forged], "SignatureError")
        self._ask.post("/v1/records", self._chance.randbytes(40), 400)
        self._ask.get(f"/v1/receipts/{self._chance.randbytes(32).hex()}", 404)

    def _id(self) -> bytes:
        return self._chance.randbytes(16)

"""A pool in which a little of everything happened of late, with the key files that a server of it needs."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from creditledger.ledger.keyring import KeyFile, KeyRole, bind_key, save_key
from creditledger.ledger.ledger import OPERATOR_KEY, WITNESS_KEY
from creditledger.records.registration import Role
from creditledger.records.transfer import Hold
from creditledger.records.verdict import Outcome
from creditledger.transparency.cosignature import CosignatureSigner
from creditledger.transparency.quorum import PolicyWitness
from creditledger.transparency.trust_policy import TrustPolicy
from fakes.cast import HOUR_MS, ed25519
from fakes.committee import fake_digest
from fakes.shown_pool import ShownPool

ORIGIN: Final = "pool.example/lively"
MINUTE_MS: Final = 60_000
HOSTILE_WITNESS: Final = "<b>mallory</b>"
STEPS_MICRO: Final = (-6_000_000, -3_000_000, -6_000_000, 0, -3_000_000, -6_000_000)
"""What each round's verdicts add to the running sum."""
ROUNDS: Final = len(STEPS_MICRO)


class LivelyPool(ShownPool):
    """Some hours of work that end a minute before ``now_unix_ms``. Close its ledger before serving it."""

    def __init__(self, folder: Path, *, now_unix_ms: int) -> None:
        super().__init__(
            folder,
            origin=ORIGIN,
            start_unix_ms=now_unix_ms - 3 * HOUR_MS,
            rule_set=4,
            vesting_ms=2 * HOUR_MS,
        )
        self._until = now_unix_ms + 2 * HOUR_MS
        self._keep_keys()
        self._name_witness()
        self._people()
        for number in range(ROUNDS):
            self._round(number)
        self._spend()
        self.clock.now = now_unix_ms - 2 * MINUTE_MS
        self.work(self.order("under way", self.node, expires_unix_ms=self._until), 300)
        self.certify()

    def _keep_keys(self) -> None:
        """Where `creditledger serve` looks for them."""
        for name, role, whose in (
            (OPERATOR_KEY, KeyRole.OPERATOR, "operator"),
            (WITNESS_KEY, KeyRole.WITNESS, "witness"),
        ):
            path = self.ledger.directory.keys / name
            path.parent.mkdir(exist_ok=True)
            save_key(path, KeyFile(role=role, secret=fake_digest("ed25519", whose)))
            bind_key(path, ledger_id=self.ledger.id)

    def _name_witness(self) -> None:
        """The policy names one more, which nobody has to wait for; its name tries to be more."""
        path = self.ledger.directory.policy
        policy = TrustPolicy.load(path)
        vkey = CosignatureSigner("mallory", ed25519("mallory")).vkey
        witness = PolicyWitness(name=HOSTILE_WITNESS, vkey=vkey)
        path.write_bytes(replace(policy, witnesses=(*policy.witnesses, witness)).serialize())

    def _people(self) -> None:
        for name, role in (("ada", Role.CLIENT), ("grace", Role.CLIENT), ("idle-node", Role.NODE)):
            self.ledger.append(self.papers.registration(ed25519(name), name, role))
        self.ledger.append(self.papers.grant(ed25519("ada").public_key, 5 * 10**9))
        self.ledger.append(self.papers.credit_line(ed25519("grace").public_key, 10**8))
        self.certify()

    def _round(self, number: int) -> None:
        """Two jobs, judged; in the last round one has a mismatch, which suspends the second node."""
        self.clock.now += 15 * MINUTE_MS
        both = self.order(("both", number), self.node, self.other_node, expires_unix_ms=self._until)
        one = self.order(("one", number), self.node, expires_unix_ms=self._until)
        chains = [self.work(both, 512), self.work(one, 300)]
        for chain in chains:
            self.deliver([span[-1] for span in chain])
        self.certify()
        outcomes = {}
        if number == ROUNDS - 1:
            outcomes = {self.digest(chains[0][1][0]): Outcome.REFUTED}
        if number == 2:
            outcomes = {self.digest(chains[1][0][-1]): Outcome.INCONCLUSIVE}
        self.judge(outcomes, step_micro=STEPS_MICRO[number])
        self.certify()
        self.ledger.settle_due()
        self.certify()

    def _spend(self) -> None:
        """Jobs at the queue: one that ran, one that is held, one of a delegate's."""
        papers, queue, ada = self.papers, self.queue.public_key, ed25519("ada")
        self.ledger.append(papers.budget(ada, 10**9, days=30, notice_micro=6 * 10**9))
        self.ledger.append(
            papers.delegation(ada, ed25519("machine").public_key, queue, until_unix_ms=self._until)
        )
        for tag in ("ran", "held", "half"):
            submission = papers.voucher_hold(
                ada, queue, tag=tag, duration_ms=600_000, expires_unix_ms=self._until
            )
            self.ledger.append(submission)
            hold = submission.record
            assert isinstance(hold, Hold)
            if tag == "ran":
                self.ledger.append(papers.capture(self.queue, hold, 432_100))
                self.ledger.append(papers.release(self.queue, self.digest(hold)))
        delegated = papers.delegated_hold(
            ed25519("machine"), ada.public_key, queue, expires_unix_ms=self._until
        )
        self.ledger.append(delegated)
        self.certify()

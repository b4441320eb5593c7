"""A real ledger on a real store against plain dicts, with crashes between: both always say the same."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from crash_pools import hold_of_alice, in_memory
from creditledger.credits import reading
from creditledger.credits.account import all_accounts, check_invariant
from creditledger.errors import (
    AmountError,
    ConflictError,
    CreditLedgerError,
    HoldClosedError,
    HoldExpiredError,
    InsufficientCreditError,
    RefusedError,
    UnknownIdError,
)
from creditledger.ledger.head import HeadFile
from creditledger.ledger.ledger import Acknowledgement, Ledger
from creditledger.ledger.lmdb_store import LmdbStore
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import Submission
from creditledger.records.parameters import HardwarePrice
from creditledger.records.registration import Role
from creditledger.records.transfer import Capture, Expire, Hold, Release
from creditledger.transparency.checkpoint import parse_checkpoint
from creditledger.transparency.merkle import leaf_hash
from ledger_pools import START_MS, FixedClock, found, grant, registration, signed, signer

EXAMPLES = int(os.environ.get("CREDITLEDGER_MODEL_EXAMPLES", "60"))
STEPS = int(os.environ.get("CREDITLEDGER_MODEL_STEPS", "50"))
"""The long tier sets 20,000 examples of 100 steps."""
GRACE_MS = 5_000
LEVY_PPM = 30_000
FUNDS = 100_000
BACK_MS_MAX = 60_000
"""The clock may go back, within the tolerance; entries are never dated before the one before."""
NAMES = ("alice", "bob")
EVENTS = ("hold", "capture", "release", "expire", "repeat")
STATES = ("unknown", "open", "overdue", "captured", "released", "expired")
visited: Counter[tuple[str, str]] = Counter()


class Crashed(BaseException):
    """The process is gone at this point."""


@dataclass
class ModelHold:
    record: Hold
    holder: str
    submission: Submission
    status: str = "unknown"
    captured: int = 0


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    memory = in_memory(tmp_path_factory.mktemp("model"))
    path = memory / "pool"
    hardware = HardwarePrice(name="gpu", micro_per_gpu_second=1_000)
    with found(path, hardware=(hardware,), grace_ms=GRACE_MS, levy_ppm=LEVY_PPM) as ledger:
        ledger.append(registration(ledger.id, "queue", Role.QUEUE))
        for number, name in enumerate(NAMES):
            ledger.append(registration(ledger.id, name))
            ledger.append(grant(ledger.id, name, FUNDS, 10**6 + number))
        ledger.complete_round()
    yield path
    shutil.rmtree(memory)


@contextmanager
def crashing(moment: str) -> Iterator[None]:
    """The process ends before the store's commit, or between it and the head's replacement."""
    owner, name = {"before": (LmdbStore, "_commit"), "after": (HeadFile, "replace")}[moment]
    real = getattr(owner, name)

    def crash(*arguments: object) -> None:
        raise Crashed

    setattr(owner, name, crash)
    try:
        yield
    finally:
        setattr(owner, name, real)


class LedgerModel(RuleBasedStateMachine):
    """Random events; each outcome is predicted, tried, and compared."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="model-", dir=self.template.parent))
        self.pool = Path(shutil.copytree(self.template, self.folder / "pool"))
        self.clock = FixedClock(START_MS)
        self.time = self.latest = START_MS
        self.ledger = Ledger.open(self.pool, clock=self.clock)
        self.leaves = [self.leaf(index) for index in range(self.ledger.size)]
        self.available = dict.fromkeys(NAMES, FUNDS) | {"queue": 0}
        self.held = dict.fromkeys((*NAMES, "queue"), 0)
        self.burned = 0
        self.pending: list[tuple[str, int]] = []
        self.logged: list[tuple[Submission, int]] = []
        self.holds: list[ModelHold] = []
        self.published = self.count = 0

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)

    def leaf(self, index: int) -> bytes:
        return leaf_hash(self.ledger.entry_bytes(index))

    @property
    def now(self) -> int:
        return max(self.time, self.clock.now)

    def tag(self) -> int:
        self.count += 1
        return self.count

    def attempt(self, submission: Submission, error: type[CreditLedgerError] | None) -> bool:
        """Whether it was logged, which is exactly when no error was predicted."""
        (outcome,) = self.ledger.submit([submission])
        if error is not None:
            assert isinstance(outcome, error), (outcome, error)
            return False
        assert isinstance(outcome, Acknowledgement), outcome
        assert (outcome.index, outcome.repeated) == (len(self.leaves), False)
        self.took(submission, outcome)
        return True

    def took(self, submission: Submission, outcome: Acknowledgement) -> None:
        self.time = self.now
        self.leaves.append(outcome.leaf_hash)
        self.logged.append((submission, outcome.index))

    def a_hold(self, pick: int) -> ModelHold:
        """One of the holds, or one that nobody has heard of."""
        at = pick % (len(self.holds) + 1)
        if at < len(self.holds):
            return self.holds[at]
        return self.new_hold("alice", 1, 1_000)

    def new_hold(self, holder: str, seconds: int, lasts_ms: int) -> ModelHold:
        record = hold_of_alice().replace(
            id=self.tag().to_bytes(16, "big"),
            holder=signer(holder).public_key,
            amount_micro=1_000 * seconds,
            duration_ms=1_000 * seconds,
            job=ZERO_DIGEST,
            expires_unix_ms=self.now + lasts_ms,
        )
        return ModelHold(record, holder, signed(self.ledger.id, record, signer(holder)))

    def visit(self, hold: ModelHold, event: str) -> None:
        overdue = hold.status == "open" and self.now >= hold.record.expires_unix_ms
        visited["overdue" if overdue else hold.status, event] += 1

    def digest(self, hold: ModelHold) -> bytes:
        return hold.record.digest(self.ledger.id)

    @initialize()
    def begin_with_a_hold_in_every_state(self) -> None:
        for name, lasts in (("alice", 1), ("alice", 10**9), ("bob", 10**9), ("bob", 10**9)):
            self.hold(name, 5, lasts)
        self.wait(GRACE_MS + 1)
        self.expire(0)
        self.capture(1, 2_000)
        self.release(2)
        self.hold("alice", 5, 1)
        self.wait(2)
        for pick in range(len(self.holds)):
            self.hold_with_the_same_id(pick)
            self.repeat_a_hold(pick)
        for pick in (1, 4):
            self.capture(pick, 1)

    @rule(name=st.sampled_from(NAMES), amount=st.integers(1, 30_000))
    def grant(self, name: str, amount: int) -> None:
        assert self.attempt(grant(self.ledger.id, name, amount, self.tag()), None)
        self.pending.append((name, amount))

    @rule(name=st.sampled_from(NAMES), seconds=st.integers(1, 60), lasts=st.integers(1, 20_000))
    def hold(self, name: str, seconds: int, lasts: int) -> None:
        hold = self.new_hold(name, seconds, lasts)
        self.visit(hold, "hold")
        lacks = self.available[name] < hold.record.amount_micro
        if self.attempt(hold.submission, InsufficientCreditError if lacks else None):
            self.available[name] -= hold.record.amount_micro
            self.held[name] += hold.record.amount_micro
            hold.status = "open"
            self.holds.append(hold)

    @rule(pick=st.integers(0, 12))
    def hold_with_the_same_id(self, pick: int) -> None:
        if not self.holds:
            return
        hold = self.holds[pick % len(self.holds)]
        self.visit(hold, "hold")
        other = hold.record.replace(expires_unix_ms=hold.record.expires_unix_ms + 1)
        self.attempt(signed(self.ledger.id, other, signer(hold.holder)), ConflictError)

    @rule(pick=st.integers(0, 12), gpu_ms=st.integers(0, 20_000))
    def capture(self, pick: int, gpu_ms: int) -> None:
        hold = self.a_hold(pick)
        self.visit(hold, "capture")
        amount = gpu_ms
        record = Capture(
            id=self.tag().to_bytes(16, "big"),
            hold=self.digest(hold),
            queue=signer("queue").public_key,
            gpu_ms=gpu_ms,
            amount_micro=amount,
        )
        error: type[CreditLedgerError] | None = None
        if hold.status != "open":
            error = UnknownIdError if hold.status == "unknown" else HoldClosedError
        elif self.now >= hold.record.expires_unix_ms:
            error = HoldExpiredError
        elif amount > hold.record.amount_micro:
            error = AmountError
        if self.attempt(signed(self.ledger.id, record, signer("queue")), error):
            levy = amount * LEVY_PPM // 10**6
            self.held[hold.holder] -= amount
            self.available["queue"] += amount - levy
            self.burned += levy
            hold.status, hold.captured = "captured", amount

    @rule(pick=st.integers(0, 12))
    def release(self, pick: int) -> None:
        hold = self.a_hold(pick)
        self.visit(hold, "release")
        record = Release(
            id=self.tag().to_bytes(16, "big"),
            hold=self.digest(hold),
            queue=signer("queue").public_key,
            reason="finished",
        )
        is_live = hold.status in ("open", "captured")
        error = None if is_live else UnknownIdError if hold.status == "unknown" else HoldClosedError
        if self.attempt(signed(self.ledger.id, record, signer("queue")), error):
            self.give_back(hold, "released")

    def give_back(self, hold: ModelHold, status: str) -> None:
        rest = hold.record.amount_micro - hold.captured
        self.held[hold.holder] -= rest
        self.available[hold.holder] += rest
        hold.status = status

    def is_due(self, hold: ModelHold) -> bool:
        live = hold.status in ("open", "captured")
        return live and self.clock.now >= hold.record.expires_unix_ms + GRACE_MS

    @rule(pick=st.integers(0, 12))
    def expire(self, pick: int) -> None:
        hold = self.a_hold(pick)
        self.visit(hold, "expire")
        submission = self.ledger.sign(Expire(hold=self.digest(hold)))
        if hold.status == "expired":
            self.require_repeat(submission)
        elif hold.status in ("open", "captured"):
            is_due = self.now >= hold.record.expires_unix_ms + GRACE_MS
            if self.attempt(submission, None if is_due else RefusedError):
                self.give_back(hold, "expired")
        else:
            self.attempt(submission, UnknownIdError if hold.status == "unknown" else HoldClosedError)

    @rule()
    def expire_all_that_is_due(self) -> None:
        due = sorted(
            (hold for hold in self.holds if self.is_due(hold)), key=lambda hold: hold.record.expires_unix_ms
        )
        for acknowledgement in self.ledger.expire_due():
            record = self.ledger.entry(acknowledgement.index).record
            self.took(self.ledger.sign(record), acknowledgement)
        for hold in due:
            self.give_back(hold, "expired")

    @rule(pick=st.integers(0, 1_000))
    def repeat(self, pick: int) -> None:
        if self.logged:
            self.require_repeat(self.logged[pick % len(self.logged)][0])

    @rule(pick=st.integers(0, 12))
    def repeat_a_hold(self, pick: int) -> None:
        hold = self.a_hold(pick)
        if hold.status == "unknown":
            visited["unknown", "repeat"] += 1
            return
        self.visit(hold, "repeat")
        self.require_repeat(hold.submission)

    def require_repeat(self, submission: Submission) -> None:
        acknowledgement = self.ledger.append(submission)
        assert acknowledgement.repeated
        assert acknowledgement.leaf_hash == self.leaves[acknowledgement.index]
        digest = submission.record.digest(self.ledger.id)
        first = [index for logged, index in self.logged if logged.record.digest(self.ledger.id) == digest]
        assert first == [acknowledgement.index]

    @rule(pick=st.integers(0, 1_000), amount=st.integers(1, 9))
    def conflict(self, pick: int, amount: int) -> None:
        """A client's id once used never stands for anything else, not even after a crash."""
        number = self.tag()
        assert self.attempt(grant(self.ledger.id, "bob", 100, number), None)
        self.pending.append(("bob", 100))
        self.attempt(grant(self.ledger.id, "bob", 100 + amount, number), ConflictError)

    @rule()
    def round(self) -> None:
        self.ledger.complete_round()
        size = self.ledger.size
        if size > len(self.leaves):
            self.time = self.now
        self.leaves += [self.leaf(index) for index in range(len(self.leaves), size)]
        for name, amount in self.pending:
            self.available[name] += amount
        self.pending = []
        self.published = size

    @rule()
    def publish(self) -> None:
        note = self.ledger.publish()
        self.published = parse_checkpoint(note[: note.rindex(b"\n\n") + 1]).size
        assert self.published == len(self.leaves)

    @rule(step=st.integers(1, 8_000))
    def wait(self, step: int) -> None:
        self.clock.now += step
        self.latest = max(self.latest, self.clock.now)

    @rule(step=st.integers(1, 20_000))
    def turn_the_clock_back(self, step: int) -> None:
        self.clock.now = max(self.clock.now - step, self.latest - BACK_MS_MAX)

    @rule()
    def crash(self) -> None:
        """As a kill leaves it: the files as they are, and no closing."""
        left = Path(shutil.copytree(self.pool, self.folder / f"crash-{self.tag()}"))
        self.ledger.close()
        shutil.rmtree(self.pool)
        self.pool = left
        self.ledger = Ledger.open(self.pool, clock=self.clock)

    @rule(moment=st.sampled_from(["before", "after"]), amount=st.integers(1, 9))
    def crash_while_appending(self, moment: str, amount: int) -> None:
        """Nothing was acknowledged: the record is there whole or not at all, and repeating it settles it."""
        submission = grant(self.ledger.id, "alice", amount, self.tag())
        with crashing(moment), pytest.raises(Crashed):
            self.ledger.append(submission)
        when = self.now
        self.crash()
        assert self.ledger.size == len(self.leaves) + (moment == "after")
        acknowledgement = self.ledger.append(submission)
        assert acknowledgement.index == len(self.leaves)
        assert acknowledgement.repeated == (moment == "after")
        self.took(submission, acknowledgement)
        assert self.time == when
        self.pending.append(("alice", amount))

    @rule(pick=st.integers(0, 12))
    def crash_while_releasing(self, pick: int) -> None:
        live = [hold for hold in self.holds if hold.status in ("open", "captured")]
        if not live:
            return
        hold = live[pick % len(live)]
        self.visit(hold, "release")
        queue = signer("queue")
        record = Release(
            id=self.tag().to_bytes(16, "big"), hold=self.digest(hold), queue=queue.public_key, reason="crash"
        )
        submission = signed(self.ledger.id, record, queue)
        with crashing("after"), pytest.raises(Crashed):
            self.ledger.append(submission)
        self.crash()
        self.took(submission, self.ledger.append(submission))
        self.give_back(hold, "released")

    @invariant()
    def both_say_the_same(self) -> None:
        with self.ledger.snapshot() as snapshot:
            log, state = snapshot.log, snapshot.state
            assert log.size == len(self.leaves)
            assert log.node(0, log.size - 1) == self.leaves[-1]
            totals = check_invariant(state)
            assert totals.burned_micro == self.burned
            for account in all_accounts(state):
                assert account.available_micro == self.available[account.name], account.name
                assert account.held_micro == self.held[account.name], account.name
            for hold in self.holds[-3:]:
                kept = reading.hold_state(state, self.digest(hold))
                assert kept is not None
                assert (kept.status, kept.captured_micro) == (1 + STATES_OF[hold.status], hold.captured)


STATES_OF = {"open": 0, "captured": 1, "released": 2, "expired": 3}


def test_a_ledger_and_a_model_agree_through_crashes(template: Path) -> None:
    """I1, I3, I5; every event in every state of a hold is tried."""
    LedgerModel.template = template
    run_state_machine_as_test(
        LedgerModel,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{sum(visited.values())} events at holds: {dict(visited)}")
    assert set(visited) == {(state, event) for state in STATES for event in EVENTS}

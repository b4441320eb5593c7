"""A clock ten years off, at every place where credits meet time: nothing ends early, nothing is settled
twice, and once the clock is right all goes on. The witnesses' clock is right. Threat H5."""

import time
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from creditledger.credits.reading import hold_state
from creditledger.errors import BusyError, HoldExpiredError, UnknownIdError
from creditledger.ledger.ledger import Ledger
from creditledger.records.state import HoldStatus
from creditledger.records.transfer import Capture, Expire
from creditledger.redemption.reconciler import Step
from creditledger.redemption.started_jobs import Ending
from creditledger.redemption.voucher import Voucher
from queue_parties import endings, open_queue, require_ended_once
from unit.redemption.redeeming_pool import QUEUE, MovableClock, RedeemingPool, signed

TEN_YEARS_MS: Final = 3_653 * 86_400_000
JUMPS: Final = (TEN_YEARS_MS, -TEN_YEARS_MS)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> RedeemingPool:
    return RedeemingPool.found(tmp_path_factory.mktemp("clocks"))


@pytest.fixture
def clock() -> MovableClock:
    """That jumps: the ledger writer's and the queue's."""
    return MovableClock()


def opened(pool: RedeemingPool, clock: MovableClock) -> Ledger:
    return Ledger.open(pool.path, clock=clock, witness_clock=pool.clock)


def status_of(ledger: Ledger, hold: bytes) -> HoldStatus:
    with ledger.read() as view:
        state = hold_state(view, hold)
    assert state is not None
    return HoldStatus(state.status)


@pytest.mark.parametrize("jump_ms", JUMPS)
def test_a_hold_neither_expires_nor_is_captured_by_a_clock_that_jumped(
    pool: RedeemingPool, clock: MovableClock, jump_ms: int
) -> None:
    held = pool.hold()
    capture = Capture(
        id=held.hold.id, hold=held.digest, queue=QUEUE.public_key, gpu_ms=1_000, amount_micro=1_000_000
    )
    with opened(pool, clock) as ledger:
        ledger.complete_round()
        size = ledger.size
        clock.ahead_ms = jump_ms
        papers = [ledger.sign(Expire(hold=held.digest)), signed(capture, QUEUE, ledger.id)]
        attempts = [*(partial(ledger.append, paper) for paper in papers), ledger.close_round]
        if jump_ms > 0:
            attempts.append(ledger.expire_due)
        for attempt in attempts:
            with pytest.raises(BusyError, match="clock"):
                attempt()
        assert ledger.settle_due() == []
        assert (ledger.size, status_of(ledger, held.digest)) == (size, HoldStatus.OPEN)
        clock.ahead_ms = 0
        assert ledger.expire_due() == []
        for repeated in (False, True):
            assert ledger.append(papers[1]).repeated is repeated
        assert status_of(ledger, held.digest) == HoldStatus.CAPTURED


@pytest.mark.parametrize("jump_ms", JUMPS)
def test_a_job_whose_queue_jumps_while_it_runs_is_charged_its_own_time_once(
    pool: RedeemingPool, clock: MovableClock, tmp_path: Path, jump_ms: int
) -> None:
    """Wall clocks do not measure jobs, and a capture waits until the clock is right."""

    def jump(step: Step, _: bytes) -> None:
        clock.ahead_ms = jump_ms if step is Step.LAUNCHED else clock.ahead_ms

    voucher = pool.voucher()
    with (
        opened(pool, clock) as ledger,
        open_queue(pool, tmp_path / "queue", ledger=ledger, clock=clock, observe=jump) as queue,
    ):
        size = ledger.size
        outcome = queue.run(voucher, ["sleep", "0.3"])
        assert (outcome.ending, outcome.settled, outcome.captured_micro) == (Ending.EXITED, False, 0)
        assert 300 <= outcome.gpu_ms < 10_000
        for _ in range(2):
            assert [each.settled for each in queue.recover()] == [False]
        assert ledger.size == size
        clock.ahead_ms = 0
        (settled,) = queue.recover()
        assert queue.recover() == []
    assert settled.captured_micro == outcome.gpu_ms * 1_000
    require_ended_once(pool, settled, amount=10_000_000)


def test_a_queue_ten_years_ahead_starts_nothing_and_spends_no_voucher(
    pool: RedeemingPool, clock: MovableClock, tmp_path: Path
) -> None:
    voucher = pool.voucher()
    verified = Voucher.load(voucher)
    with (
        opened(pool, clock) as ledger,
        open_queue(pool, tmp_path / "queue", ledger=ledger, clock=clock) as queue,
    ):
        clock.ahead_ms = TEN_YEARS_MS
        for present in (queue.run, queue.submit):
            with pytest.raises(HoldExpiredError):
                present(voucher, ["true"])
        with pytest.raises(UnknownIdError):
            queue.outcome(verified.prove(pool.policy()).digest)
        with pytest.raises(HoldExpiredError):
            verified.verify(pool.policy(), queue=QUEUE.public_key, now_unix_ms=clock())
        for clock.ahead_ms in (-TEN_YEARS_MS, 0):
            verified.verify(pool.policy(), queue=QUEUE.public_key, now_unix_ms=clock())
        outcome = queue.run(voucher, ["true"])
    require_ended_once(pool, outcome, amount=10_000_000)


def test_a_queue_ten_years_behind_gives_no_job_more_than_was_paid_for(
    pool: RedeemingPool, clock: MovableClock, tmp_path: Path
) -> None:
    """Its limit is the hold's duration on a clock that does not jump; the ledger decides about expiry."""
    voucher = pool.voucher(duration_ms=400)
    with (
        opened(pool, clock) as ledger,
        open_queue(pool, tmp_path / "queue", ledger=ledger, clock=clock) as queue,
    ):
        clock.ahead_ms = -TEN_YEARS_MS
        began = time.monotonic()
        outcome = queue.run(voucher, ["sleep", "60"])
        assert time.monotonic() - began < 30
        assert (outcome.ending, outcome.gpu_ms, outcome.settled) == (Ending.OUT_OF_TIME, 400, False)
        clock.ahead_ms = 0
        (settled,) = queue.recover()
    assert settled.captured_micro == 400_000
    require_ended_once(pool, settled, amount=400_000)


def test_a_hold_that_expired_while_its_queue_was_ten_years_behind_is_charged_nothing(
    tmp_path: Path, clock: MovableClock
) -> None:
    """The voucher is old and the queue does not know it: the ledger does, and charges the client nothing."""
    pool = RedeemingPool.found(tmp_path)
    held = pool.hold()
    pool.certify()
    voucher = held.voucher
    pool.clock.ahead_ms += held.hold.expires_unix_ms - pool.clock() + 310_000
    clock.ahead_ms = pool.clock.ahead_ms
    with opened(pool, clock) as ledger:
        clock.ahead_ms -= TEN_YEARS_MS
        with open_queue(pool, tmp_path / "queue", ledger=ledger, clock=clock) as queue:
            assert not queue.run(voucher, ["true"]).settled
            clock.ahead_ms = pool.clock.ahead_ms
            assert len(ledger.expire_due()) == 1
            (outcome,) = queue.recover()
    assert (outcome.captured_micro, outcome.released_micro, outcome.settled) == (0, 0, True)
    assert outcome.refusal == "HoldClosedError"
    assert pool.hold_state(held.digest).status == HoldStatus.EXPIRED
    assert endings(pool, held.digest) == ([], [])
    assert pool.wallet().balance().held_micro == 0

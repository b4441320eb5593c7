"""Holds and their ends: each refusal beside the nearest acceptance."""

import pytest

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.credits.fold import due_expiries
from creditledger.credits.jobs import JobStatus
from creditledger.errors import (
    AmountError,
    ConflictError,
    ExpiredError,
    HoldClosedError,
    HoldExpiredError,
    InsufficientCreditError,
    RefusedError,
    RoleError,
    UnknownIdError,
)
from creditledger.records.job import Job
from creditledger.records.registration import Role
from creditledger.records.state import HoldStatus
from creditledger.records.transfer import Hold
from fakes.cast import HARDWARE, HOUR_MS, START_MS, ed25519, fake_digest, fake_id
from fakes.pool import Pool

FUNDS = 3_000_000


@pytest.fixture
def pool() -> Pool:
    found = Pool()
    found.fund(found.client, FUNDS)
    return found


def order(pool: Pool) -> Job:
    submission = pool.papers.job(pool.client, [pool.node.public_key], parameters=pool.parameters_digest)
    pool.submit(submission)
    assert isinstance(submission.record, Job)
    return submission.record


def voucher(pool: Pool, **changes: object) -> Hold:
    submission = pool.papers.voucher_hold(pool.client, pool.queue.public_key, **changes)
    pool.submit(submission)
    assert isinstance(submission.record, Hold)
    return submission.record


def test_a_job_hold_sets_the_bound_aside(pool: Pool) -> None:
    job = order(pool)
    hold = pool.submit(pool.papers.job_hold(pool.client, job))
    account = reading.account_state(pool.view, pool.client.public_key)
    assert (account.available_micro, account.held_micro) == (FUNDS - 1_000_000, 1_000_000)
    progress = reading.job_status(pool.view, job.digest(pool.ledger_id))
    assert (progress.status, progress.hold) == (JobStatus.HELD, hold)
    assert reading.hold_body(pool.view, hold).job == progress.job


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"id": fake_id("other")}, RefusedError, "not the one"),
        ({"hardware": "cpu"}, RefusedError, "not the one"),
        ({"amount_micro": 999_999}, AmountError, "bound"),
        ({"expires_unix_ms": START_MS + HOUR_MS - 1}, RefusedError, "before its job"),
        ({"job": fake_digest("unknown")}, UnknownIdError, "job"),
        ({"amount_micro": FUNDS + 1}, InsufficientCreditError, "cover"),
    ],
)
def test_a_job_hold_is_the_one_its_job_names(
    pool: Pool, changes: dict[str, object], error: type[RefusedError], match: str
) -> None:
    job = order(pool)
    bad = pool.papers.job_hold(pool.client, job).record.replace(**changes)
    pool.refuse(pool.papers.signed(pool.client, bad), error, match)
    pool.submit(pool.papers.job_hold(pool.client, job, amount_micro=FUNDS))


def test_a_job_is_covered_once_by_its_own_client_and_in_time(pool: Pool) -> None:
    job = order(pool)
    pool.fund(pool.queue, FUNDS)
    foreign = pool.papers.job_hold(pool.queue, job, holder=pool.queue.public_key)
    pool.refuse(foreign, RoleError)
    pool.now = job.expires_unix_ms
    late = pool.papers.job_hold(pool.client, job, expires_unix_ms=job.expires_unix_ms + 1)
    pool.refuse(late, ExpiredError)
    pool.now = job.expires_unix_ms - 1
    pool.submit(pool.papers.job_hold(pool.client, job))
    pool.refuse(pool.papers.job_hold(pool.client, job, amount_micro=1_000_001), ConflictError)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"queue": ed25519("stranger").public_key}, UnknownIdError),
        ({"queue": ed25519("node").public_key}, RoleError),
        ({"hardware": "tpu"}, UnknownIdError),
        ({"micro_per_gpu_second": 9_999}, RefusedError),
        ({"amount_micro": 99_999}, AmountError),
        ({"amount_micro": 100_001}, AmountError),
        ({"gpus": 2}, AmountError),
        ({"expires_unix_ms": START_MS}, HoldExpiredError),
    ],
)
def test_a_voucher_hold_is_at_the_tariff_and_for_a_queue(
    pool: Pool, changes: dict[str, object], error: type[RefusedError]
) -> None:
    good = pool.papers.voucher_hold(pool.client, pool.queue.public_key)
    bad = good.record.replace(**changes)
    pool.refuse(pool.papers.signed(pool.client, bad), error)
    pool.submit(good)


def test_any_account_may_hold_its_own_credits_but_no_more_than_it_has(pool: Pool) -> None:
    pool.fund(pool.node, 100_000)
    pool.submit(pool.papers.voucher_hold(pool.node, pool.queue.public_key, tag=1))
    again = pool.papers.voucher_hold(pool.node, pool.queue.public_key, tag=2)
    pool.refuse(again, InsufficientCreditError)
    stranger = pool.papers.voucher_hold(ed25519("stranger"), pool.queue.public_key)
    pool.refuse(stranger, UnknownIdError)


def test_a_hold_may_draw_on_the_credit_line(pool: Pool) -> None:
    pool.submit(pool.papers.credit_line(pool.node.public_key, 100_000))
    pool.run_round()
    pool.submit(pool.papers.voucher_hold(pool.node, pool.queue.public_key))
    account = reading.account_state(pool.view, pool.node.public_key)
    assert (account.overdrawn_micro, account.held_micro) == (100_000, 100_000)
    check_invariant(pool.view)


def test_a_capture_pays_the_queue_and_burns_the_levy(pool: Pool) -> None:
    hold = voucher(pool)
    pool.submit(pool.papers.capture(pool.queue, hold, 3_333))
    queue = reading.account_state(pool.view, pool.queue.public_key)
    assert queue.available_micro == queue.metered_micro == 33_330 - 333
    assert check_invariant(pool.view).burned_micro == 333
    state = reading.hold_state(pool.view, hold.digest(pool.ledger_id))
    assert (state.status, state.captured_micro) == (HoldStatus.CAPTURED, 33_330)
    assert reading.account_state(pool.view, pool.client.public_key).held_micro == 100_000 - 33_330


def test_a_capture_is_the_tariffs_price_and_within_the_hold(pool: Pool) -> None:
    hold = voucher(pool)
    papers = pool.papers
    pool.refuse(papers.capture(pool.queue, hold, 10_001), AmountError, "more than is held")
    pool.refuse(papers.capture(pool.queue, hold, 5, amount_micro=49), AmountError, "tariff")
    pool.refuse(papers.capture(pool.queue, hold, 5, amount_micro=51), AmountError, "tariff")
    pool.submit(papers.capture(pool.queue, hold, 10_000))


def test_a_capture_is_by_the_holds_queue_and_once(pool: Pool) -> None:
    second = ed25519("second-queue")
    pool.submit(pool.papers.registration(second, "second-queue", Role.QUEUE))
    hold = voucher(pool)
    pool.refuse(pool.papers.capture(second, hold, 5), RoleError, "does not name")
    pool.refuse(pool.papers.capture(pool.node, hold, 5), RoleError, "may not sign")
    unknown = pool.papers.capture(pool.queue, hold, 5).record.replace(hold=fake_digest("none"))
    pool.refuse(pool.papers.signed(pool.queue, unknown), UnknownIdError)
    pool.submit(pool.papers.capture(pool.queue, hold, 5))
    pool.refuse(pool.papers.capture(pool.queue, hold, 5, tag="again"), HoldClosedError)


def test_a_capture_comes_before_the_hold_expires(pool: Pool) -> None:
    hold, other = voucher(pool), voucher(pool, tag="other")
    pool.now = hold.expires_unix_ms - 1
    pool.submit(pool.papers.capture(pool.queue, hold, 5))
    pool.now = hold.expires_unix_ms
    pool.refuse(pool.papers.capture(pool.queue, other, 5), HoldExpiredError)


@pytest.mark.parametrize("gpu_ms", [None, 4_000])
def test_a_release_returns_the_rest_and_ends_the_hold(pool: Pool, gpu_ms: int | None) -> None:
    hold = voucher(pool)
    digest = hold.digest(pool.ledger_id)
    if gpu_ms is not None:
        pool.submit(pool.papers.capture(pool.queue, hold, gpu_ms))
    pool.submit(pool.papers.release(pool.queue, digest))
    account = reading.account_state(pool.view, pool.client.public_key)
    assert (account.available_micro, account.held_micro) == (FUNDS - (gpu_ms or 0) * 10, 0)
    pool.refuse(pool.papers.release(pool.queue, digest, tag="again"), HoldClosedError)
    pool.refuse(pool.papers.capture(pool.queue, hold, 5, tag="late"), HoldClosedError)
    pool.now = hold.expires_unix_ms + pool.parameters.grace_ms
    pool.refuse(pool.papers.expire(digest), HoldClosedError)
    assert due_expiries(pool.view, pool.now) == []


def test_no_queue_releases_a_job_hold(pool: Pool) -> None:
    hold = pool.submit(pool.papers.job_hold(pool.client, order(pool)))
    pool.refuse(pool.papers.release(pool.queue, hold), RoleError)


def test_a_hold_expires_after_its_grace(pool: Pool) -> None:
    hold = voucher(pool)
    digest = hold.digest(pool.ledger_id)
    pool.submit(pool.papers.capture(pool.queue, hold, 1_000))
    pool.now = hold.expires_unix_ms + pool.parameters.grace_ms - 1
    pool.refuse(pool.papers.expire(digest), RefusedError, "grace")
    assert due_expiries(pool.view, pool.now) == []
    pool.now += 1
    assert due_expiries(pool.view, pool.now) == [digest]
    pool.refuse(pool.papers.expire(fake_digest("none")), UnknownIdError)
    pool.submit(pool.papers.expire(digest))
    state = reading.hold_state(pool.view, digest)
    assert (state.status, state.captured_micro) == (HoldStatus.EXPIRED, 10_000)
    assert reading.account_state(pool.view, pool.client.public_key).available_micro == FUNDS - 10_000
    check_invariant(pool.view)


def test_a_job_hold_expires_only_when_nothing_was_delivered(pool: Pool) -> None:
    idle, busy = pool.order(tag="idle"), pool.order(tag="busy")
    pool.deliver(pool.work(busy, 256), closes=False)
    idle_hold = reading.job_status(pool.view, idle.digest(pool.ledger_id)).hold
    busy_hold = reading.job_status(pool.view, busy.digest(pool.ledger_id)).hold
    pool.now = idle.expires_unix_ms + pool.parameters.grace_ms
    assert due_expiries(pool.view, pool.now) == [idle_hold]
    pool.refuse(pool.papers.expire(busy_hold), RefusedError, "settle")
    pool.submit(pool.papers.expire(idle_hold))
    progress = reading.job_status(pool.view, idle.digest(pool.ledger_id))
    assert progress.status == JobStatus.EXPIRED
    assert reading.unsettled_jobs(pool.view) == [busy.digest(pool.ledger_id)]


def test_price_changes_leave_open_holds_at_their_price(pool: Pool) -> None:
    hold = voucher(pool)
    dearer = HARDWARE[0].replace(micro_per_gpu_second=20_000)
    changed = pool.parameters.replace(sequence=1, hardware=(dearer, HARDWARE[1]))
    pool.submit(pool.papers.parameters(changed))
    pool.run_round()
    pool.refuse(pool.papers.voucher_hold(pool.client, pool.queue.public_key, tag=2), RefusedError, "price")
    pool.submit(pool.papers.capture(pool.queue, hold, 1_000))
    assert reading.hold_state(pool.view, hold.digest(pool.ledger_id)).captured_micro == 10_000


def test_an_id_used_for_other_content_is_a_conflict_before_any_other_rule_is_asked(pool: Pool) -> None:
    """The caller learns that its id is taken, not that the hold has ended; a fresh id learns the latter."""
    hold = voucher(pool)
    papers = pool.papers
    pool.submit(papers.capture(pool.queue, hold, 3_333))
    pool.refuse(papers.capture(pool.queue, hold, 3_334), ConflictError)
    pool.refuse(papers.capture(pool.queue, hold, 3_334, tag="fresh"), HoldClosedError)
    other = papers.voucher_hold(pool.client, pool.queue.public_key, duration_ms=10**9)
    pool.refuse(other, ConflictError)
    fresh = papers.voucher_hold(pool.client, pool.queue.public_key, duration_ms=10**9, tag="fresh")
    pool.refuse(fresh, InsufficientCreditError)

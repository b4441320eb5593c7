"""Budgets: what counts, what comes back, on which day, and how little is kept."""

import pytest

from creditledger.credits import reading
from creditledger.credits.spending import DAY_MS
from creditledger.errors import ConflictError, LimitError, RoleError, SignatureError
from creditledger.quantities import AMOUNT_MAX, ZERO_DIGEST
from creditledger.records.parameters import LevyUse
from creditledger.redemption.position import spending_notices
from fakes.cast import HOUR_MS, START_MS, ed25519
from fakes.pool import Pool

FUNDS = 3_000_000
HELD = 100_000
MACHINE = ed25519("machine")


@pytest.fixture
def pool() -> Pool:
    found = Pool(rule_set=4, levy_use=LevyUse.BURN)
    found.fund(found.client, FUNDS)
    # Noon, so that some hours later it is the same day.
    found.now = START_MS // DAY_MS * DAY_MS + DAY_MS + 12 * HOUR_MS
    return found


def hold(pool: Pool, *, tag: object = 0):
    expires = pool.now + HOUR_MS
    return pool.papers.voucher_hold(pool.client, pool.queue.public_key, tag=tag, expires_unix_ms=expires)


def machine_hold(pool: Pool, *, tag: object = 0):
    expires = pool.now + HOUR_MS
    key = pool.queue.public_key
    return pool.papers.delegated_hold(MACHINE, pool.client.public_key, key, tag=tag, expires_unix_ms=expires)


def spent(pool: Pool, delegate: bytes = ZERO_DIGEST) -> int:
    return reading.budget_of(pool.view, pool.client.public_key, delegate).spent_micro(pool.view, pool.now)


def is_low(pool: Pool, now_unix_ms: int) -> bool:
    """Whether readers are told that little is left."""
    return bool(spending_notices(pool.view, pool.client.public_key, now_unix_ms=now_unix_ms))


def test_holds_and_transfers_count_up_to_the_limit(pool: Pool) -> None:
    pool.submit(pool.papers.budget(pool.client, HELD + 10))
    pool.submit(hold(pool))
    pool.refuse(pool.papers.transfer(pool.client, pool.node.public_key, 11), LimitError, "account's budget")
    pool.submit(pool.papers.transfer(pool.client, pool.node.public_key, 10))
    assert spent(pool) == HELD + 10
    pool.refuse(hold(pool, tag=1), LimitError)
    pool.submit(pool.papers.budget(pool.client, AMOUNT_MAX))
    pool.submit(hold(pool, tag=1))


def test_a_jobs_hold_counts_and_what_its_settlement_leaves_comes_back() -> None:
    pool = Pool(rule_set=4, probation_micro=0, check_floor_ppm=0)
    pool.fund(pool.client, FUNDS)
    pool.submit(pool.papers.budget(pool.client, 1_000_000))
    job = pool.order()
    assert spent(pool) == 1_000_000
    pool.deliver(pool.work(job, 256))
    pool.run_round()
    pool.settle(job)
    paid = FUNDS - reading.account_state(pool.view, pool.client.public_key).available_micro
    assert spent(pool) == paid < 1_000_000


def test_what_comes_back_is_taken_off_the_day_of_the_hold(pool: Pool) -> None:
    pool.submit(pool.papers.budget(pool.client, 2 * HELD, days=2))
    first = hold(pool).record
    pool.submit(hold(pool))
    pool.now += DAY_MS
    pool.submit(hold(pool, tag=1))
    pool.refuse(hold(pool, tag=2), LimitError)
    pool.submit(pool.papers.expire(first.digest(pool.ledger_id)))
    assert spent(pool) == HELD
    pool.submit(hold(pool, tag=2))
    pool.now += DAY_MS
    assert spent(pool) == 2 * HELD
    pool.now += DAY_MS
    assert spent(pool) == 0


@pytest.mark.parametrize("days", [1, 3])
def test_a_budget_looks_back_over_its_days_and_no_further(pool: Pool, days: int) -> None:
    pool.submit(pool.papers.budget(pool.client, HELD, days=days))
    pool.submit(hold(pool))
    pool.now = (pool.now // DAY_MS + days) * DAY_MS - 1
    pool.refuse(hold(pool, tag=1), LimitError)
    pool.now += 1
    pool.submit(hold(pool, tag=1))


def test_a_delegates_budget_is_beside_the_accounts(pool: Pool) -> None:
    key, machine = pool.client.public_key, MACHINE.public_key
    pool.submit(pool.papers.delegation(pool.client, machine, pool.queue.public_key, cap_micro=FUNDS))
    pool.submit(pool.papers.budget(pool.client, HELD, delegate=machine))
    pool.submit(hold(pool))
    pool.submit(machine_hold(pool))
    assert (spent(pool, machine), reading.budget_of(pool.view, key)) == (HELD, None)
    pool.refuse(machine_hold(pool, tag=1), LimitError, "delegate's budget")
    pool.submit(pool.papers.budget(pool.client, 2 * HELD, delegate=machine))
    pool.submit(pool.papers.budget(pool.client, 3 * HELD - 1))
    assert spent(pool) == 2 * HELD
    pool.refuse(machine_hold(pool, tag=1), LimitError, "account's budget")
    pool.submit(pool.papers.budget(pool.client, 3 * HELD))
    pool.submit(machine_hold(pool, tag=1))


def test_a_refund_comes_back_too_and_a_captures_levy_does_not(pool: Pool) -> None:
    pool.submit(pool.papers.budget(pool.client, HELD))
    held = hold(pool).record
    pool.submit(hold(pool))
    capture = pool.submit(pool.papers.capture(pool.queue, held, 10_000))
    pool.submit(pool.papers.release(pool.queue, held.digest(pool.ledger_id)))
    assert spent(pool) == HELD
    pool.submit(pool.papers.refund(pool.queue, capture, 30_000))
    assert spent(pool) == HELD - 30_000


def test_at_most_a_years_days_are_kept(pool: Pool) -> None:
    pool.submit(pool.papers.budget(pool.client, AMOUNT_MAX, days=366))
    oldest = hold(pool).record
    pool.submit(hold(pool))
    for day in range(370):
        pool.now += DAY_MS
        pool.submit(pool.papers.transfer(pool.client, pool.node.public_key, day + 1))
    assert len(list(pool.view.scan(b"S/" + pool.client.public_key))) == 366
    assert spent(pool) == sum(range(5, 371))
    pool.submit(pool.papers.expire(oldest.digest(pool.ledger_id)))
    assert spent(pool) == sum(range(5, 371))


def test_readers_are_told_when_little_is_left(pool: Pool) -> None:
    pool.submit(pool.papers.budget(pool.client, 2 * HELD, notice_micro=HELD))
    budget = reading.budget_of(pool.view, pool.client.public_key)
    assert not is_low(pool, pool.now)
    pool.submit(hold(pool))
    assert not is_low(pool, pool.now)
    pool.submit(pool.papers.transfer(pool.client, pool.node.public_key, 1))
    assert (budget.left_micro(pool.view, pool.now), is_low(pool, pool.now)) == (HELD - 1, True)
    assert not is_low(pool, pool.now + DAY_MS)


def test_a_budget_is_its_accounts_own(pool: Pool) -> None:
    good = pool.papers.budget(pool.client, 5)
    pool.refuse(pool.papers.signed(pool.node, good.record), SignatureError)
    pool.refuse(pool.papers.budget(pool.client, 5, delegate=pool.client.public_key), RoleError)
    pool.submit(good)
    other = pool.papers.budget(pool.client, 5, notice_micro=1)
    pool.refuse(other, ConflictError)

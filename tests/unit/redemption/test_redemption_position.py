"""specs/redemption.md §11: where an account stands, why, and until when."""

import pytest

from creditledger.credits import reading
from creditledger.errors import UnknownIdError
from creditledger.records.transfer import Hold
from creditledger.redemption.notice import Notice, Shortage, Spendable, notices_of
from creditledger.redemption.position import Position, position_of, spending_notices
from fakes.pool import Pool, ed25519

RULES = 4


def position(pool: Pool, name: str) -> Position:
    return position_of(pool.view, ed25519(name).public_key, now_unix_ms=pool.now)


def settled(pool: Pool, *, max_price_micro: int = 2_000_000) -> None:
    """One job of the node's, settled in a certified round."""
    job = pool.order(pool.node, max_price_micro=max_price_micro)
    pool.deliver(pool.work(job, 600))
    pool.check_round(pool.run_round().number)
    pool.settle(job)


def test_what_is_held_and_what_can_be_spent_make_up_the_balance() -> None:
    pool = Pool()
    pool.fund(pool.client, 1_000_000)
    submission = pool.papers.voucher_hold(pool.client, pool.queue.public_key)
    pool.submit(submission)
    assert isinstance(submission.record, Hold)
    pool.submit(pool.papers.capture(pool.queue, submission.record, 1_000))
    found = position(pool, "client")
    assert (found.balance_micro, found.spendable_micro) == (990_000, 900_000)
    (hold,) = found.holds
    assert (hold.held_micro, hold.state.captured_micro) == (90_000, 10_000)
    assert found.account.held_micro == hold.held_micro
    assert hold.body == submission.record
    pool.submit(pool.papers.release(pool.queue, hold.state.hold))
    assert position(pool, "client").holds == ()
    assert position(pool, "queue").holds == ()


def test_holds_are_told_the_first_to_expire_first_and_nobody_elses() -> None:
    pool = Pool()
    pool.fund(pool.client, 10_000_000)
    pool.fund(pool.node, 10_000_000)
    queue = pool.queue.public_key
    for tag, expires in (("late", 9), ("soon", 2)):
        hold = pool.papers.voucher_hold(pool.client, queue, tag=tag, expires_unix_ms=pool.now + expires)
        pool.submit(hold)
    pool.submit(pool.papers.voucher_hold(pool.node, queue, tag="other's"))
    expiries = [hold.state.expires_unix_ms - pool.now for hold in position(pool, "client").holds]
    assert expiries == [2, 9]


def test_a_credit_line_can_be_spent_and_is_no_balance() -> None:
    pool = Pool()
    pool.submit(pool.papers.credit_line(pool.client.public_key, 500))
    pool.run_round()
    pool.submit(pool.papers.transfer(pool.client, pool.node.public_key, 200))
    found = position(pool, "client")
    assert (found.balance_micro, found.spendable_micro) == (-200, 300)


@pytest.mark.parametrize(
    ("rules", "waits"),
    [
        ({"vesting_rounds": 3}, (2, 0, 0)),
        ({"vesting_rounds": 0, "vesting_ms": 70_000}, (0, 70_000, 0)),
        ({"vesting_rounds": 1, "vesting_micro": 5_000}, (0, 0, 5_000)),
    ],
)
def test_a_lot_says_what_it_waits_for(rules: dict[str, int], waits: tuple[int, int, int]) -> None:
    """Rounds before the one that may vest it, time, and later value: each of its own."""
    pool = Pool(**rules)
    pool.fund(pool.client, 10_000_000)
    settled(pool)
    found = position(pool, "node")
    (lot,) = found.lots
    rounds, time, value = waits
    assert (lot.rounds_left, lot.value_left_micro) == (rounds, value)
    assert lot.from_unix_ms == pool.now + time
    assert lot.lot.amount_micro == found.account.unvested_micro > 0
    assert found.balance_micro == lot.lot.amount_micro
    assert found.spendable_micro == 0


def test_a_lot_vests_in_the_very_round_that_its_rounds_left_foretell() -> None:
    pool = Pool(vesting_rounds=3)
    pool.fund(pool.client, 10_000_000)
    settled(pool)
    for left in (2, 1, 0):
        (lot,) = position(pool, "node").lots
        assert lot.rounds_left == left
        pool.run_round()
    assert position(pool, "node").lots == ()
    assert position(pool, "node").spendable_micro > 0


def test_later_value_counts_down() -> None:
    pool = Pool(vesting_rounds=0, vesting_micro=10**9)
    pool.fund(pool.client, 10_000_000)
    settled(pool)
    before = reading.node_standing(pool.view, pool.node.public_key).settled_micro
    job = pool.order(pool.node, tag="second", max_price_micro=2_000_000)
    pool.deliver(pool.work(job, 300))
    pool.check_round(pool.run_round().number)
    pool.settle(job)
    later = reading.node_standing(pool.view, pool.node.public_key).settled_micro - before
    oldest, newest = (lot.value_left_micro for lot in position(pool, "node").lots)
    assert (oldest, newest) == (10**9 - later, 10**9)


def test_an_unknown_account_stands_nowhere() -> None:
    with pytest.raises(UnknownIdError):
        position(Pool(), "nobody")


def test_budgets_and_delegations_stand_beside_the_balance() -> None:
    """A revoked and an expired delegation are left out; a delegate's budget is told with its delegate."""
    pool = Pool(rule_set=RULES)
    pool.fund(pool.client, 1_000_000)
    queue, node = pool.queue.public_key, pool.node.public_key
    pool.submit(pool.papers.budget(pool.client, 600_000, days=2, notice_micro=550_000))
    pool.submit(pool.papers.budget(pool.client, 300_000, delegate=node, notice_micro=10))
    pool.submit(pool.papers.delegation(pool.client, node, queue, cap_micro=200_000))
    revoked = pool.other_node.public_key
    pool.submit(pool.papers.delegation(pool.client, revoked, queue, cap_micro=9))
    pool.submit(pool.papers.delegation(pool.client, revoked, queue, cap_micro=0))
    expired = pool.papers.delegation(pool.client, queue, queue, until_unix_ms=pool.now)
    pool.submit(expired)
    pool.submit(pool.papers.delegated_hold(pool.node, pool.client.public_key, queue))
    found = position(pool, "client")
    assert [(use.spent_micro, use.left_micro) for use in found.budgets] == [
        (100_000, 500_000),
        (100_000, 200_000),
    ]
    ((delegation),) = found.delegations
    assert (delegation.delegate, delegation.used_micro) == (node, 100_000)
    (notice,) = found.notices
    assert (notice.shortage, notice.left_micro, notice.below_micro) == (Shortage.BUDGET, 500_000, 550_000)
    told = spending_notices(pool.view, pool.client.public_key, delegate=node, now_unix_ms=pool.now)
    assert told == (notice,)
    pool.submit(pool.papers.budget(pool.client, 300_000, delegate=node, notice_micro=250_000, tag=2))
    told = spending_notices(pool.view, pool.client.public_key, delegate=node, now_unix_ms=pool.now)
    assert [one.delegate for one in told] == [bytes(32), node]
    own = spending_notices(pool.view, pool.client.public_key, now_unix_ms=pool.now)
    assert own == (notice,), "nobody else's budget is told to the account itself"


def told(*rows: tuple[int, int | None, int]) -> list[tuple[Shortage, int, int]]:
    """(balance, budget, notice) of budgets; what is told."""
    spendable = [
        Spendable(delegate=bytes([at]) * 32, balance_micro=balance, budget_micro=budget, notice_micro=notice)
        for at, (balance, budget, notice) in enumerate(rows)
    ]
    return [(notice.shortage, notice.left_micro, notice.below_micro) for notice in notices_of(spendable)]


def test_what_is_below_its_notice_is_told_and_what_reaches_it_is_not() -> None:
    assert told((10, 10, 10)) == []
    assert told((9, 10, 10)) == [(Shortage.BALANCE, 9, 10)]
    assert told((10, 9, 10)) == [(Shortage.BUDGET, 9, 10)]
    assert told((0, 0, 0)) == []
    assert told((10, None, 10)) == []


def test_a_low_balance_is_told_once_and_every_low_budget() -> None:
    rows = [(5, 4, 6), (5, 3, 8), (5, None, 7)]
    assert told(*rows) == [(Shortage.BALANCE, 5, 8), (Shortage.BUDGET, 4, 6), (Shortage.BUDGET, 3, 8)]


def test_a_notice_is_one_line() -> None:
    notice = Notice(shortage=Shortage.BUDGET, delegate=b"\xab" * 32, left_micro=1, below_micro=2_500_000)
    assert notice.text == (
        "low budget of delegate abababababababab: 0.000001credits left, notice at 2.5credits"
    )

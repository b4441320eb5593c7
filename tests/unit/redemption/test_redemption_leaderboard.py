"""specs/redemption.md §12: verified work is ranked, metered work stands beside it; who asks is not named."""

from dataclasses import replace

import pytest

from creditledger.credits import reading
from creditledger.credits.account import suspend
from creditledger.credits.state import Overlay, State
from creditledger.records.registration import Role
from creditledger.redemption.leaderboard import Rank, ranks, verified_by_week, weekly_ranks
from creditledger.redemption.utc_time import DAY_MS, last_weeks, week_of
from creditledger.transparency.keys import Ed25519Signer
from fakes.pool import Pool, ed25519
from fakes.pool_ledger import ledger_of


def work(pool: Pool, *nodes: Ed25519Signer, positions: int = 600, tag: object = 0) -> None:
    """A settled job of the given nodes."""
    job = pool.order(*nodes, tag=tag, max_price_micro=2_000_000, expires_unix_ms=pool.now + DAY_MS)
    pool.deliver(pool.work(job, positions))
    pool.check_round(pool.run_round().number)
    pool.settle(job)


@pytest.fixture
def pool() -> Pool:
    made = Pool(rule_set=4)
    made.fund(made.client, 50_000_000)
    return made


def shown(found: list[Rank]) -> list[tuple[int, str]]:
    return [(rank.rank, rank.name) for rank in found]


def verified(pool: Pool, name: bytes) -> int:
    found = reading.account_state(pool.view, name)
    assert found is not None
    return found.verified_micro


def test_more_verified_work_ranks_first(pool: Pool) -> None:
    work(pool, pool.other_node)
    work(pool, pool.other_node, tag=1)
    work(pool, pool.node, tag=2)
    found = ranks(pool.view, roles=(Role.NODE,))
    assert shown(found) == [(1, "other-node"), (2, "node")]
    assert found[1].verified_micro == verified(pool, pool.node.public_key) > 0


def test_equal_work_has_equal_rank_by_name_and_the_next_rank_counts_them() -> None:
    pool = Pool(rule_set=4)
    pool.fund(pool.client, 50_000_000)
    pool.submit(pool.papers.registration(ed25519("third"), "a-third", Role.NODE))
    for tag, node in enumerate((pool.other_node, pool.node)):
        work(pool, node, tag=tag)
    assert shown(ranks(pool.view)) == [(1, "node"), (1, "other-node")]
    work(pool, pool.node, tag=9)
    equal = {account.account: 5 for account in reading.all_accounts(pool.view) if account.role == Role.NODE}
    equal[pool.other_node.public_key] = 4
    assert shown(weekly_ranks(pool.view, equal)) == [(1, "a-third"), (1, "node"), (3, "other-node")]


def test_metered_work_stands_apart_and_does_not_count(pool: Pool) -> None:
    """A queue that captured far more than any node earned still ranks behind the node."""
    work(pool, pool.node)
    hold = pool.papers.voucher_hold(pool.client, pool.queue.public_key, gpus=100)
    pool.submit(hold)
    pool.submit(pool.papers.capture(pool.queue, hold.record, 900_000))
    node, queue = ranks(pool.view)
    assert (node.name, node.metered_micro) == ("node", 0)
    assert (queue.name, queue.verified_micro, queue.metered_micro) == ("queue", 0, 8_910_000)
    assert [rank.name for rank in ranks(pool.view, roles=(Role.NODE,))] == ["node"]


def test_who_is_not_listed_is_shown_nowhere_and_its_work_under_no_name(pool: Pool) -> None:
    work(pool, pool.node)
    work(pool, pool.other_node, tag=1)
    week = week_of(pool.now)
    pool.submit(pool.papers.listing(pool.node, listed=False))
    sums = verified_by_week(ledger_of(pool), [week])[week]
    assert shown(ranks(pool.view)) == [(1, "other-node")]
    (rank,) = weekly_ranks(pool.view, sums)
    assert (rank.name, rank.verified_micro) == ("other-node", verified(pool, pool.other_node.public_key))
    pool.submit(pool.papers.listing(pool.node, listed=True, tag=1))
    assert len(ranks(pool.view)) == len(weekly_ranks(pool.view, sums)) == 2


def test_weeks_begin_on_monday_and_sum_up_to_all_time(pool: Pool) -> None:
    first = week_of(pool.now)
    work(pool, pool.node)
    once = verified(pool, pool.node.public_key)
    pool.now += 8 * DAY_MS
    second = week_of(pool.now)
    work(pool, pool.node, tag=1)
    found = verified_by_week(ledger_of(pool), [second, first])
    node = pool.node.public_key
    assert found[first] == {node: once}
    assert found[first][node] + found[second][node] == verified(pool, node)
    assert verified_by_week(ledger_of(pool), [second]) == {second: found[second]}
    assert verified_by_week(ledger_of(pool), ["1999-W01"]) == {"1999-W01": {}}


@pytest.mark.parametrize(
    ("unix_ms", "week"),
    [
        (0, "1970-W01"),
        (3 * DAY_MS, "1970-W01"),
        (4 * DAY_MS - 1, "1970-W01"),
        (4 * DAY_MS, "1970-W02"),
        (1_609_459_200_000, "2020-W53"),  # 2021-01-01, a Friday
        (1_735_516_800_000, "2025-W01"),  # 2024-12-30, a Monday
    ],
)
def test_iso_weeks(unix_ms: int, week: str) -> None:
    assert week_of(unix_ms) == week


def test_last_weeks_go_back_from_this_one_and_not_before_1970() -> None:
    assert last_weeks(1_735_516_800_000, 3) == ["2025-W01", "2024-W52", "2024-W51"]
    assert last_weeks(8 * DAY_MS, 9) == ["1970-W02", "1970-W01"]


def test_a_suspended_node_is_marked(pool: Pool) -> None:
    work(pool, pool.node)
    view = Overlay(pool.view)
    suspend(State(view), pool.node.public_key)
    (rank,) = ranks(view)
    assert rank == replace(ranks(pool.view)[0], is_suspended=True)

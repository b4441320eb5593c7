"""Closing and listing: what an account must have got rid of, and what no closed one does or gets."""

import pytest

from creditledger.credits import reading
from creditledger.credits.account import CLOSED, check_invariant
from creditledger.errors import AccountClosedError, ConflictError, RefusedError, SignatureError
from creditledger.records.registration import Role
from fakes.cast import ed25519, fake_id
from fakes.pool import Pool

FUNDS = 3_000_000


@pytest.fixture
def pool() -> Pool:
    found = Pool(rule_set=4, committed=True, probation_micro=0, check_floor_ppm=0)
    found.fund(found.client, FUNDS)
    return found


def test_an_empty_account_closes_for_ever(pool: Pool) -> None:
    """It signs nothing any more, not even a rotation."""
    node = pool.node
    pool.refuse(pool.papers.signed(pool.client, pool.papers.closing(node).record), SignatureError)
    pool.submit(pool.papers.closing(node))
    assert reading.account_state(pool.view, node.public_key).suspended == CLOSED
    papers = pool.papers
    for signed in (
        papers.listing(node, listed=False),
        papers.budget(node, 5),
        papers.delegation(node, pool.client.public_key, pool.queue.public_key),
        papers.voucher_hold(node, pool.queue.public_key),
        papers.transfer(node, pool.client.public_key, 1),
        papers.rotation(node.public_key, node, ed25519("next node")),
    ):
        pool.refuse(signed, AccountClosedError)
    pool.refuse(papers.registration(node, "again", Role.NODE), ConflictError)
    check_invariant(pool.view)


def test_nothing_goes_to_a_closed_account(pool: Pool) -> None:
    papers = pool.papers
    pool.submit(papers.delegation(pool.client, pool.other_node.public_key, pool.queue.public_key))
    for account in (pool.node, pool.queue, pool.other_node):
        pool.submit(papers.closing(account))
    node, queue = pool.node.public_key, pool.queue.public_key
    job = papers.job(pool.client, [node], parameters=pool.parameters_digest)
    for refused in (
        papers.grant(node, 5),
        papers.credit_line(node, 5),
        papers.transfer(pool.client, node, 5),
        papers.voucher_hold(pool.client, queue),
        papers.delegation(pool.client, node, queue),
        papers.delegation(pool.client, ed25519("machine").public_key, queue),
        papers.delegated_hold(pool.other_node, pool.client.public_key, queue),
        job,
    ):
        pool.refuse(refused, AccountClosedError)


def test_a_refund_to_an_account_that_closed_since_is_refused(pool: Pool) -> None:
    held = pool.papers.voucher_hold(pool.client, pool.queue.public_key)
    pool.submit(held)
    capture = pool.submit(pool.papers.capture(pool.queue, held.record, 10_000))
    pool.submit(pool.papers.release(pool.queue, held.record.digest(pool.ledger_id)))
    pool.submit(pool.papers.transfer(pool.client, pool.node.public_key, FUNDS - 100_000))
    pool.submit(pool.papers.closing(pool.client))
    pool.refuse(pool.papers.refund(pool.queue, capture, 5), AccountClosedError)


def test_what_is_left_keeps_an_account_open(pool: Pool) -> None:
    papers, client = pool.papers, pool.client
    pool.refuse(papers.closing(client), RefusedError, "cannot be closed")
    expected = pool.refuse(papers.closing(client), RefusedError).expected
    assert expected == "nothing available"
    held = papers.voucher_hold(client, pool.queue.public_key)
    pool.submit(papers.transfer(client, pool.node.public_key, FUNDS - 100_000))
    pool.submit(held)
    assert pool.refuse(papers.closing(client), RefusedError).expected == "nothing held"
    assert "open hold at it" in pool.refuse(papers.closing(pool.queue), RefusedError).expected
    pool.submit(papers.capture(pool.queue, held.record, 10_000))
    pool.submit(papers.release(pool.queue, held.record.digest(pool.ledger_id)))
    pool.submit(papers.credit_line(client.public_key, 5))
    assert "waits for a round" in pool.refuse(papers.closing(client), RefusedError).expected
    pool.run_round()
    assert pool.refuse(papers.closing(client), RefusedError).expected == "a credit line of 0"
    pool.submit(papers.transfer(client, pool.node.public_key, 5))
    assert pool.refuse(papers.closing(client), RefusedError).expected == "nothing overdrawn"
    pool.submit(papers.transfer(pool.node, client.public_key, 5))
    pool.submit(papers.credit_line(client.public_key, 0, id=fake_id("no line")))
    pool.run_round()
    pool.submit(papers.closing(client))


def test_a_node_closes_only_between_its_jobs(pool: Pool) -> None:
    job = pool.order()
    assert "no job under way" in pool.refuse(pool.papers.closing(pool.node), RefusedError).expected
    pool.submit(pool.papers.closing(pool.other_node))
    pool.deliver(pool.work(job, 256))
    pool.run_round()
    pool.settle(job)
    assert pool.refuse(pool.papers.closing(pool.node), RefusedError).expected == "nothing unvested"
    pool.submit(pool.papers.slash(pool.node.public_key, 10**12))
    assert pool.refuse(pool.papers.closing(pool.node), RefusedError).expected == "nothing unvested"
    pool.run_round()
    pool.submit(pool.papers.closing(pool.node))


def test_a_slash_reopens_no_closed_node(pool: Pool) -> None:
    """It ends a suspension (credits.md §12); closed is for ever. While one waits nobody closes."""
    pool.submit(pool.papers.slash(pool.node.public_key, 5))
    assert "waits for a round" in pool.refuse(pool.papers.closing(pool.node), RefusedError).expected
    pool.run_round()
    pool.submit(pool.papers.closing(pool.node))
    pool.submit(pool.papers.slash(pool.node.public_key, 6))
    pool.run_round()
    assert reading.account_state(pool.view, pool.node.public_key).suspended == CLOSED


def test_leaderboards_name_whoever_does_not_ask_to_be_left_out(pool: Pool) -> None:
    node = pool.node.public_key
    assert reading.is_listed(pool.view, node)
    pool.submit(pool.papers.listing(pool.node, listed=False))
    assert not reading.is_listed(pool.view, node)
    pool.refuse(pool.papers.listing(pool.node, listed=True), ConflictError)
    pool.submit(pool.papers.listing(pool.node, listed=True, tag=1))
    assert reading.is_listed(pool.view, node)

"""Refunds and clawbacks: paid back, never undone; each refusal beside the nearest acceptance."""

import pytest

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.errors import (
    AmountError,
    ConflictError,
    InsufficientCreditError,
    RefusedError,
    RoleError,
    SignatureError,
    UnknownIdError,
)
from creditledger.records.job import Job
from creditledger.records.registration import Role
from creditledger.records.state import AccountState
from creditledger.records.transfer import Hold
from fakes.cast import HOUR_MS, ed25519, fake_digest
from fakes.pool import Pool

FUNDS = 3_000_000
CAPTURED = 33_330
NET = CAPTURED - 333


def account(pool: Pool, signer: object) -> AccountState:
    found = reading.account_state(pool.view, signer.public_key)  # type: ignore[attr-defined]
    assert found is not None
    return found


def charged(**changes: object) -> tuple[Pool, bytes, Hold]:
    """A pool whose queue has captured 33,330 of a hold of 100,000; the capture's digest, and the hold."""
    pool = Pool(**({"rule_set": 4} | changes))  # type: ignore[arg-type]
    pool.fund(pool.client, FUNDS)
    opened = pool.papers.voucher_hold(pool.client, pool.queue.public_key)
    pool.submit(opened)
    assert isinstance(opened.record, Hold)
    return pool, pool.submit(pool.papers.capture(pool.queue, opened.record, 3_333)), opened.record


def test_a_refund_gives_back_what_was_captured() -> None:
    pool, capture, hold = charged()
    pool.submit(pool.papers.release(pool.queue, hold.digest(pool.ledger_id)))
    pool.submit(pool.papers.refund(pool.queue, capture, 30_000))
    assert account(pool, pool.client).available_micro == FUNDS - CAPTURED + 30_000
    queue = account(pool, pool.queue)
    assert queue.available_micro == queue.metered_micro == NET - 30_000
    assert check_invariant(pool.view).burned_micro == 333


def test_refunds_never_pass_the_price() -> None:
    pool, capture, _ = charged()
    pool.fund(pool.queue, 1_000)
    papers = pool.papers
    pool.refuse(papers.refund(pool.queue, capture, 0), AmountError)
    pool.refuse(papers.refund(pool.queue, capture, CAPTURED + 1), AmountError, "captured")
    pool.submit(papers.refund(pool.queue, capture, CAPTURED - 1, tag="most"))
    pool.refuse(papers.refund(pool.queue, capture, 2, tag="more"), AmountError)
    pool.submit(papers.refund(pool.queue, capture, 1, tag="rest"))
    pool.refuse(papers.refund(pool.queue, capture, 1, tag="none left"), AmountError)
    queue = account(pool, pool.queue)
    assert (queue.available_micro, queue.metered_micro) == (1_000 - 333, 0)
    assert account(pool, pool.client).available_micro + account(pool, pool.client).held_micro == FUNDS


def test_a_refund_costs_the_queue_its_own_credits() -> None:
    pool, capture, _ = charged()
    pool.submit(pool.papers.transfer(pool.queue, pool.node.public_key, NET - 5))
    pool.refuse(pool.papers.refund(pool.queue, capture, 6), InsufficientCreditError)
    pool.submit(pool.papers.refund(pool.queue, capture, 5))


def test_a_refund_is_by_the_queue_that_captured() -> None:
    pool, capture, hold = charged()
    second = ed25519("second-queue")
    pool.submit(pool.papers.registration(second, "second-queue", Role.QUEUE))
    papers = pool.papers
    pool.refuse(papers.refund(second, capture, 1), RoleError, "another queue")
    pool.refuse(papers.refund(pool.client, capture, 1), RoleError, "may not sign")
    record = papers.refund(pool.queue, capture, 1).record
    pool.refuse(papers.signed(second, record), SignatureError)
    pool.refuse(papers.refund(pool.queue, hold.digest(pool.ledger_id), 1), UnknownIdError, "no such capture")
    pool.submit(papers.refund(pool.queue, capture, 1))
    pool.refuse(papers.refund(pool.queue, capture, 2), ConflictError)


def worked(**changes: object) -> tuple[Pool, Job, int]:
    """A pool with one settled, unvested job of 600 positions; the job, and what its node has unvested."""
    pool = Pool(**({"rule_set": 4, "vesting_ms": HOUR_MS} | changes))  # type: ignore[arg-type]
    pool.fund(pool.client, 20_000_000)
    job = pool.order(pool.node)
    pool.deliver(pool.work(job, 600))
    number = pool.run_round().number
    pool.check_round(number)
    pool.settle(job)
    return pool, job, account(pool, pool.node).unvested_micro


def test_a_clawback_returns_unvested_pay_to_the_client() -> None:
    pool, job, unvested = worked()
    digest = job.digest(pool.ledger_id)
    before = account(pool, pool.client).available_micro
    pool.submit(pool.papers.clawback(digest, pool.node.public_key, unvested - 7))
    assert account(pool, pool.node).unvested_micro == unvested
    pool.run_round()
    assert account(pool, pool.node).unvested_micro == 7
    assert account(pool, pool.client).available_micro == before + unvested - 7
    check_invariant(pool.view)


def test_a_clawback_takes_no_more_than_is_left_of_the_lot() -> None:
    pool, job, unvested = worked()
    digest, node = job.digest(pool.ledger_id), pool.node.public_key
    pool.submit(pool.papers.slash(node, unvested - 10))
    pool.submit(pool.papers.clawback(digest, node, unvested))
    pool.submit(pool.papers.clawback(digest, node, unvested, tag="again"))
    before = account(pool, pool.client).available_micro
    pool.run_round()
    assert account(pool, pool.node).unvested_micro == 0
    assert account(pool, pool.client).available_micro == before + 10
    check_invariant(pool.view)


def test_what_is_vested_is_final() -> None:
    pool, job, unvested = worked(vesting_micro=0)
    pool.now += HOUR_MS
    pool.run_round()
    assert (account(pool, pool.node).available_micro, account(pool, pool.node).unvested_micro) == (
        unvested,
        0,
    )
    before = account(pool, pool.client).available_micro
    pool.submit(pool.papers.clawback(job.digest(pool.ledger_id), pool.node.public_key, 5))
    pool.run_round()
    assert account(pool, pool.node).available_micro == unvested
    assert account(pool, pool.client).available_micro == before


def test_a_clawback_is_of_a_lot_that_there_is_and_by_the_operator() -> None:
    pool, job, _ = worked()
    digest, node = job.digest(pool.ledger_id), pool.node.public_key
    papers = pool.papers
    pool.refuse(papers.clawback(fake_digest("none"), node, 1), UnknownIdError)
    pool.refuse(papers.clawback(digest, pool.other_node.public_key, 1), UnknownIdError)
    pool.refuse(papers.clawback(digest, node, 1, layer_start=1), UnknownIdError)
    record = papers.clawback(digest, node, 1).record
    pool.refuse(papers.signed(pool.client, record), SignatureError)
    pool.submit(papers.signed(papers.operator, record))


@pytest.mark.parametrize("rule_set", [1, 2, 3])
def test_older_rule_sets_know_neither(rule_set: int) -> None:
    pool, capture, _ = charged(rule_set=rule_set)
    pool.refuse(pool.papers.refund(pool.queue, capture, 1), RefusedError, "admits no refund")
    claw = pool.papers.clawback(fake_digest("job"), pool.node.public_key, 1)
    pool.refuse(claw, RefusedError, "admits no clawback")


def test_what_was_captured_under_older_rules_is_not_refunded() -> None:
    pool, capture, _ = charged(rule_set=3)
    pool.submit(pool.papers.parameters(pool.parameters.replace(sequence=1, rule_set=4)))
    pool.run_round()
    pool.refuse(pool.papers.refund(pool.queue, capture, 1), UnknownIdError, "no such capture")
    opened = pool.papers.voucher_hold(pool.client, pool.queue.public_key, tag="later")
    pool.submit(opened)
    assert isinstance(opened.record, Hold)
    later = pool.submit(pool.papers.capture(pool.queue, opened.record, 3_333))
    pool.submit(pool.papers.refund(pool.queue, later, 1))

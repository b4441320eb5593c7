"""The whole path in memory: from the genesis to spent credits, with real signatures."""

import pytest

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.credits.fold import due_expiries, due_settlements
from creditledger.credits.jobs import JobStatus
from creditledger.records.state import HoldStatus, account_key
from creditledger.records.transfer import Hold
from creditledger.transparency.sparse_merkle import verify_map_proof
from fakes.pool import Pool


@pytest.mark.parametrize("members", [1, 2])
def test_credits_go_from_grant_to_work_to_gpu_time_and_back(members: int) -> None:
    """Every record of the path is accepted, and every balance is what the tariff says."""
    pool = Pool(members=members, real_bls=True, vesting_rounds=1)
    pool.fund(pool.client, 5_000_000)
    assert reading.account_state(pool.view, pool.client.public_key).available_micro == 5_000_000

    job = pool.order(pool.node, pool.other_node, max_price_micro=2_000_000)
    digest = job.digest(pool.ledger_id)
    assert reading.account_state(pool.view, pool.client.public_key).held_micro == 2_000_000
    chains = pool.work(job, 600)
    pool.deliver(chains)
    assert due_settlements(pool.view, pool.now) == []
    record = pool.run_round()
    receipt = reading.receipt_state(pool.view, chains[0][0].digest(pool.ledger_id))
    assert (receipt.round, receipt.due) == (record.number, members)
    assert pool.check_round(record.number) == 6 * members
    assert due_settlements(pool.view, pool.now) == [digest]
    pool.settle(job)
    assert reading.job_status(pool.view, digest).status == JobStatus.SETTLED
    node = reading.account_state(pool.view, pool.node.public_key)
    assert node.unvested_micro == node.verified_micro > 0
    assert node.available_micro == 0
    check_invariant(pool.view)

    pool.run_round()
    node = reading.account_state(pool.view, pool.node.public_key)
    assert (node.unvested_micro, node.available_micro) == (0, node.verified_micro)

    first = pool.papers.voucher_hold(pool.node, pool.queue.public_key, duration_ms=5_000)
    assert isinstance(first.record, Hold)
    hold = pool.submit(first)
    pool.submit(pool.papers.capture(pool.queue, first.record, 2_500))
    assert reading.hold_state(pool.view, hold).captured_micro == 25_000
    pool.submit(pool.papers.release(pool.queue, hold))
    assert reading.hold_state(pool.view, hold).status == HoldStatus.RELEASED
    queue = reading.account_state(pool.view, pool.queue.public_key)
    assert queue.available_micro == queue.metered_micro == 25_000 - 250

    second = pool.submit(
        pool.papers.voucher_hold(pool.node, pool.queue.public_key, tag="late", duration_ms=1)
    )
    pool.now = reading.hold_state(pool.view, second).expires_unix_ms + pool.parameters.grace_ms
    assert due_expiries(pool.view, pool.now) == [second]
    pool.submit(pool.papers.expire(second))
    assert due_expiries(pool.view, pool.now) == []
    pool.submit(pool.papers.transfer(pool.node, pool.client.public_key, 1))
    final = pool.run_round()

    totals = check_invariant(pool.view)
    assert totals.granted_micro == 5_000_000
    assert totals.held_micro == totals.unvested_micro == 0
    account = reading.account_state(pool.view, pool.client.public_key)
    key = account_key(pool.client.public_key)
    proof = reading.map_proof(pool.view, final.map_root, key)
    verify_map_proof(root=final.map_root, key=key, value=account.encode(), proof=proof)

"""Honest work is paid, every cheat is refuted and is not. Source: specs/validation.md §5."""

import pytest

from creditledger.records.verdict import Outcome, Reason
from creditledger.validation.validator import Committed, Revealed
from fakes.working_pool import WorkingPool


def test_honest_work_is_upheld_and_paid(pool: WorkingPool) -> None:
    """Two nodes, two validators, everything checked: upheld, settled, paid."""
    job = pool.order()
    receipts = pool.run(job)
    pool.deliver(receipts)
    actions = pool.check()
    assert sum(isinstance(action, Committed) for action in actions) == 2
    assert sum(isinstance(action, Revealed) for action in actions) == 2
    for chain in receipts.values():
        state = pool.receipt_state(chain[0])
        assert (state.due, state.upheld, state.outcome) == (2, 2, Outcome.UPHELD)
    pool.ledger.settle_due()
    assert all(pool.unvested(node) > 0 for node in pool.nodes)


@pytest.mark.parametrize("kind", ["int8", "int4", "skip", "noise", "replayed"])
def test_a_cheat_is_refuted_and_unpaid_and_the_other_is_paid(pool: WorkingPool, kind: str) -> None:
    """What node 1 ran is not the model; node 0 before it did its work."""
    cheat = getattr(pool.model, kind, None) or pool.model.degraded(kind)
    job = pool.order()
    receipts = pool.run(job, kernels={1: cheat})
    pool.deliver(receipts)
    pool.check()
    assert pool.receipt_state(receipts[0][0]).outcome == Outcome.UPHELD
    assert pool.receipt_state(receipts[1][0]).outcome == Outcome.REFUTED
    pool.ledger.settle_due()
    assert pool.unvested(pool.nodes[0]) > 0
    assert pool.unvested(pool.nodes[1]) == 0


def test_the_ratio_is_what_refutes_int8(pool: WorkingPool) -> None:
    """int8 stays close, yet well beyond the threshold; honest kernels stay below it."""
    job = pool.order()
    pool.run(job, kernels={1: pool.model.degraded("int8")})
    judged = [
        j for action in pool.check() if isinstance(action, Committed) for j in action.judgements.values()
    ]
    by_reason = {judgement.reason: judgement for judgement in judged}
    assert set(by_reason) == {Reason.MATCH, Reason.RATIO}
    assert by_reason[Reason.MATCH].ratio < 0.95 * by_reason[Reason.MATCH].threshold
    assert by_reason[Reason.RATIO].ratio > 1.25 * by_reason[Reason.RATIO].threshold

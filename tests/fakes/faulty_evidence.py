"""Nodes that work, and seal or hand over something else than they committed to."""

from collections.abc import Sequence
from dataclasses import replace

from creditledger.credits import reading
from creditledger.minting.batching import sign_batch
from creditledger.minting.sealed_evidence import SketchOpening
from creditledger.records.job import Job
from creditledger.records.receipt import Receipt
from fakes.tiny_llama import SHAPE, inputs_of
from fakes.working_pool import CountedBytes, WorkingPool, audit_key


def mint_with(
    pool: WorkingPool, job: Job, opening: SketchOpening | None, *, sealed_to: Sequence[int] | None = None
) -> Receipt:
    """Node 0's honest receipt, logged in a batch whose sealed sketch is ``opening``, or the true one if None.

    ``sealed_to``: audit keys, one a member, in place of the committee's."""
    minter = pool.minter(0)
    rows = inputs_of(SHAPE, 256, seed=5)
    with minter.session(pool.work_order(job, 0)) as session:
        session.record(inputs=rows, outputs=pool.model.honest(rows, 0, 2), positions=range(256))
    assert session.receipts  # waits for the worker
    (true,) = minter._dispatch._pending
    with pool.ledger.read() as state:
        parameters = reading.parameters_in_force(state)
    if sealed_to is not None:
        members = zip(parameters.committee, sealed_to, strict=True)
        others = tuple(member.replace(audit_key=audit_key(to).public_key) for member, to in members)
        parameters = parameters.replace(committee=others)
    submission = sign_batch(
        [true if opening is None else replace(true, opening=opening)],
        key=pool.nodes[0],
        ledger_id=pool.ledger.id,
        parameters=parameters,
        random_bytes=CountedBytes("seal"),
    )
    pool.ledger.append(submission)
    return true.receipt


def relay(pool: WorkingPool, *, with_handover: bool) -> dict[int, list[Receipt]]:
    """Node 0 hands over other rows than it says it delivered; node 1 works on those."""
    job = pool.order()
    receipts: dict[int, list[Receipt]] = {}
    rows = inputs_of(SHAPE, 256, seed=5)
    handed = inputs_of(SHAPE, 256, seed=8)
    runs = ((0, rows, pool.model.honest(rows, 0, 2)), (2, handed, pool.model.honest(handed, 2, 4)))
    for index, (start, inputs, outputs) in enumerate(runs):
        minter = pool.minter(index)
        with minter.session(pool.work_order(job, start)) as session:
            session.record(inputs=inputs, outputs=outputs, positions=range(256))
        receipts[index] = session.receipts
        minter.flush()
    if with_handover:
        shown = receipts[0][0].replace(output_root=receipts[1][0].input_root)
        pool.minter(1).keep_handover(pool.minter(0).hand_over(shown))
    return receipts

"""Batches: one bad receipt refuses them all, and a good one is entered in every index."""

from dataclasses import replace

import pytest

from creditledger.credits import reading, tariff
from creditledger.credits.batch_rules import window_value_micro
from creditledger.errors import (
    ConflictError,
    CreditLedgerError,
    ExpiredError,
    HoldClosedError,
    MalformedRecordError,
    OpeningError,
    RefusedError,
    RoleError,
    UnknownIdError,
)
from creditledger.records.verdict import Outcome
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes
from fakes.cast import MODEL, ed25519, fake_digest
from fakes.pool import Pool


@pytest.fixture
def pool() -> Pool:
    found = Pool(members=2)
    found.fund(found.client, 10_000_000)
    return found


def test_a_batch_enters_its_receipts_with_its_index(pool: Pool) -> None:
    job = pool.order(pool.node, pool.other_node)
    chain = pool.work(job, 600)[1]
    digests = [receipt.digest(pool.ledger_id) for receipt in chain]
    assert [reading.consumed_index(pool.view, digest) for digest in digests] == [len(pool.entries) - 1] * 3
    state = reading.receipt_state(pool.view, digests[2])
    assert (state.node, state.layer_start, state.positions) == (pool.other_node.public_key, 2, 88)
    assert (state.round, state.due, state.outcome, state.settled) == (0, 0, Outcome.UNCHECKED, 0)
    assert reading.job_receipts(pool.view, state.job, 2) == list(zip((0, 256, 512), digests, strict=True))
    assert reading.node_standing(pool.view, state.node).last_seen_unix_ms == pool.now
    flops = tariff.span_flops(MODEL, 2, 512, 88)
    assert window_value_micro(chain[2], MODEL) == tariff.span_price(MODEL, flops)


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"node": ed25519("other-node").public_key}, RoleError, "another node"),
        ({"job": fake_digest("none")}, UnknownIdError, "job"),
        ({"model": fake_digest("other")}, RefusedError, "another model"),
        ({"layer_stop": 3}, UnknownIdError, "span"),
        ({"layer_start": 1}, UnknownIdError, "span"),
        ({"window_start": 512}, RefusedError, "next window"),
        ({"window_start": 0}, RefusedError, "next window"),
        ({"previous": bytes(32)}, RefusedError, "chain"),
        ({"previous": fake_digest("other")}, RefusedError, "chain"),
    ],
)
def test_one_receipt_out_of_line_refuses_the_batch(
    pool: Pool, changes: dict[str, object], error: type[CreditLedgerError], match: str
) -> None:
    job = pool.order()
    chain = pool.papers.receipts(job, job.plan[0], 512)
    bad = [chain[0], chain[1].replace(**changes)]
    pool.refuse(pool.papers.batch(pool.node, bad), error, match)
    pool.submit(pool.papers.batch(pool.node, chain))


def test_the_first_receipt_of_a_chain_starts_at_zero_with_no_predecessor(pool: Pool) -> None:
    job = pool.order()
    (first,) = pool.papers.receipts(job, job.plan[0], 256)
    pool.refuse(pool.papers.batch(pool.node, [first.replace(previous=fake_digest("x"))]), RefusedError)
    pool.refuse(pool.papers.batch(pool.node, [first.replace(window_start=256)]), RefusedError)
    pool.submit(pool.papers.batch(pool.node, [first]))


def test_a_chain_goes_on_over_batches_until_a_short_window(pool: Pool) -> None:
    job = pool.order()
    span = job.plan[0]
    chain = pool.papers.receipts(job, span, 256 + 100)
    for receipt in chain:
        pool.submit(pool.papers.batch(pool.node, [receipt]))
    after = pool.papers.receipts(
        job, span, 256, first_position=512, previous=chain[-1].digest(pool.ledger_id)
    )
    pool.refuse(pool.papers.batch(pool.node, after), RefusedError, "next window")


def test_receipts_stay_within_the_jobs_positions(pool: Pool) -> None:
    job = pool.order(max_positions=300)
    span = job.plan[0]
    pool.refuse(pool.papers.batch(pool.node, pool.papers.receipts(job, span, 301)), RefusedError, "beyond")
    pool.submit(pool.papers.batch(pool.node, pool.papers.receipts(job, span, 300)))


def test_a_window_is_used_once_whatever_it_says(pool: Pool) -> None:
    job = pool.order()
    (first,) = pool.papers.receipts(job, job.plan[0], 256)
    pool.submit(pool.papers.batch(pool.node, [first]))
    other = first.replace(output_root=fake_digest("another output"))
    pool.refuse(pool.papers.batch(pool.node, [other]), RefusedError, "next window")
    pool.refuse(pool.papers.batch(pool.node, [first, first]), ConflictError, "receipt was logged")
    pool.refuse(pool.papers.batch(pool.node, [first]), ConflictError, "record was logged")


def test_bodies_are_exactly_the_signed_ones(pool: Pool) -> None:
    job = pool.order()
    good = pool.papers.batch(pool.node, pool.papers.receipts(job, job.plan[0], 512))
    for bodies in (good.bodies[:1], good.bodies[::-1], (*good.bodies, good.bodies[0]), ()):
        pool.refuse(replace(good, bodies=bodies), OpeningError)
    pool.submit(good)


def test_a_body_that_is_no_receipt_is_malformed(pool: Pool) -> None:
    job = pool.order()

    (receipt,) = pool.papers.receipts(job, job.plan[0], 256)
    good = pool.papers.batch(pool.node, [receipt])
    padded = receipt.encode() + b"\0"
    record = good.record.replace(root=root_from_leaf_hashes([leaf_hash(padded)]))
    pool.refuse(pool.papers.signed(pool.node, record, padded), MalformedRecordError)
    pool.submit(good)


def test_receipts_come_before_the_job_expires_or_closes(pool: Pool) -> None:
    job, closed = pool.order(tag=1), pool.order(tag=2)
    first, second = pool.papers.receipts(job, job.plan[0], 512)
    pool.deliver(pool.work(closed, 256))
    rest = pool.papers.receipts(
        closed,
        closed.plan[0],
        256,
        first_position=256,
        previous=reading.job_legs(pool.view, closed.digest(pool.ledger_id))[0].head,
    )
    pool.refuse(pool.papers.batch(pool.node, rest), HoldClosedError)
    pool.now = job.expires_unix_ms - 1
    pool.submit(pool.papers.batch(pool.node, [first]))
    pool.now = job.expires_unix_ms
    pool.refuse(pool.papers.batch(pool.node, [second]), ExpiredError)


def test_a_suspended_node_logs_nothing_more(pool: Pool) -> None:
    job = pool.order()
    chain = pool.papers.receipts(job, job.plan[0], 512)
    pool.submit(pool.papers.batch(pool.node, chain[:1]))
    record = pool.run_round()
    pool.check_round(record.number, outcomes={chain[0].digest(pool.ledger_id): Outcome.REFUTED})
    assert reading.account_state(pool.view, pool.node.public_key).suspended == 1
    pool.refuse(pool.papers.batch(pool.node, chain[1:]), RefusedError, "suspended")


def test_sketches_are_sealed_to_audit_keys_in_force(pool: Pool) -> None:
    job = pool.order()
    good = pool.papers.batch(pool.node, pool.papers.receipts(job, job.plan[0], 256))
    future = good.record.replace(audit_epoch=1)
    pool.refuse(pool.papers.signed(pool.node, future, *good.bodies), RefusedError, "audit keys")
    pool.submit(good)


def test_several_jobs_and_spans_share_a_batch(pool: Pool) -> None:
    first, second = pool.order(pool.node, pool.node, tag=1), pool.order(tag=2)
    receipts = [
        *pool.papers.receipts(first, first.plan[1], 300),
        *pool.papers.receipts(second, second.plan[0], 256),
        *pool.papers.receipts(first, first.plan[0], 300),
    ]
    pool.submit(pool.papers.batch(pool.node, receipts))
    assert [leg.next_position for leg in reading.job_legs(pool.view, first.digest(pool.ledger_id))] == [
        300,
        300,
    ]

"""Jobs and deliveries: each refusal beside the nearest acceptance."""

import itertools

import pytest

from creditledger.credits import reading
from creditledger.credits.jobs import JobStatus
from creditledger.errors import (
    AmountError,
    ConflictError,
    ExpiredError,
    HoldClosedError,
    RefusedError,
    RoleError,
    UnknownIdError,
)
from creditledger.records.job import Job, PlanSpan
from creditledger.records.receipt import ChainHead, Delivery
from creditledger.records.verdict import Outcome
from fakes.cast import START_MS, ed25519, fake_digest, fake_id
from fakes.pool import Pool

NODE = ed25519("node").public_key


@pytest.fixture
def pool() -> Pool:
    found = Pool(members=2)
    found.fund(found.client, 10_000_000)
    return found


def plan(*edges: int, node: bytes = NODE) -> tuple[PlanSpan, ...]:
    return tuple(
        PlanSpan(layer_start=start, layer_stop=stop, node=node) for start, stop in itertools.pairwise(edges)
    )


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"expires_unix_ms": START_MS}, ExpiredError, "expired"),
        ({"parameters": fake_digest("old")}, RefusedError, "parameters in force"),
        ({"max_price_micro": 0}, AmountError, "price"),
        ({"model": fake_digest("other")}, UnknownIdError, "model"),
        ({"plan": plan(0, 2, 5)}, RefusedError, "beyond the model"),
        ({"plan": plan(0, 4, node=ed25519("stranger").public_key)}, UnknownIdError, "account"),
        ({"plan": plan(0, 4, node=ed25519("queue").public_key)}, RoleError, "role"),
        ({"client": NODE}, RoleError, "may not sign"),
    ],
)
def test_a_job_is_of_this_pool_and_its_parameters(
    pool: Pool, changes: dict[str, object], error: type[RefusedError], match: str
) -> None:
    good = pool.papers.job(pool.client, [NODE], parameters=pool.parameters_digest, plan=plan(0, 2, 4))
    signer = pool.node if "client" in changes else pool.client
    pool.refuse(pool.papers.signed(signer, good.record.replace(**changes)), error, match)
    digest = pool.submit(good)
    assert reading.job_status(pool.view, digest).status == JobStatus.ORDERED
    assert reading.job_body(pool.view, digest) == good.record
    assert reading.unsettled_jobs(pool.view) == []


def test_a_jobs_id_is_its_clients_own(pool: Pool) -> None:
    good = pool.papers.job(pool.client, [NODE], parameters=pool.parameters_digest)
    pool.submit(good)
    pool.refuse(pool.papers.signed(pool.client, good.record.replace(max_positions=5)), ConflictError)


def test_a_suspended_node_gets_no_job(pool: Pool) -> None:
    job = pool.order(pool.node)
    pool.work(job, 256)
    record = pool.run_round()
    receipt = reading.job_receipts(pool.view, job.digest(pool.ledger_id), 0)[0][1]
    pool.check_round(record.number, outcomes={receipt: Outcome.REFUTED})
    refused = pool.papers.job(pool.client, [NODE], parameters=pool.parameters_digest, tag=2)
    pool.refuse(refused, RefusedError, "suspended")
    pool.order(pool.other_node, tag=3)


def head_of(pool: Pool, job: Job, positions: int) -> ChainHead:
    digest = job.digest(pool.ledger_id)
    windows = dict(reading.job_receipts(pool.view, digest, 0))
    start = (positions - 1) // 256 * 256
    return ChainHead(node=NODE, layer_start=0, receipt=windows[start], positions=positions)


def delivery(pool: Pool, job: Job, *heads: ChainHead, closes: int = 0) -> Delivery:
    return Delivery(client=pool.client.public_key, job=job.digest(pool.ledger_id), heads=heads, closes=closes)


def test_a_delivery_accepts_up_to_its_heads_and_never_goes_backwards(pool: Pool) -> None:
    job = pool.order()
    pool.work(job, 600)
    digest = job.digest(pool.ledger_id)
    pool.submit(pool.papers.signed(pool.client, delivery(pool, job, head_of(pool, job, 512))))
    (leg,) = reading.job_legs(pool.view, digest)
    assert (leg.next_position, leg.delivered_positions, leg.ended) == (600, 512, 1)
    assert reading.job_status(pool.view, digest).delivery_index == len(pool.entries) - 1
    back = delivery(pool, job, head_of(pool, job, 256))
    pool.refuse(pool.papers.signed(pool.client, back), RefusedError, "backwards")
    last = delivery(pool, job, head_of(pool, job, 600), closes=1)
    pool.submit(pool.papers.signed(pool.client, last))
    assert reading.job_status(pool.view, digest).status == JobStatus.CLOSED


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"positions": 511}, RefusedError),
        ({"positions": 513}, UnknownIdError),
        ({"positions": 0}, UnknownIdError),
        ({"positions": 5_000}, UnknownIdError),
        ({"receipt": fake_digest("none")}, UnknownIdError),
        ({"node": ed25519("other-node").public_key}, UnknownIdError),
        ({"layer_start": 1}, UnknownIdError),
    ],
)
def test_a_head_is_a_receipt_at_its_position(
    pool: Pool, changes: dict[str, object], error: type[RefusedError]
) -> None:
    job = pool.order()
    pool.work(job, 600)
    bad = delivery(pool, job, head_of(pool, job, 512).replace(**changes))
    pool.refuse(pool.papers.signed(pool.client, bad), error)
    pool.submit(pool.papers.signed(pool.client, delivery(pool, job, head_of(pool, job, 512))))


def test_only_the_jobs_client_delivers_and_only_while_it_is_held(pool: Pool) -> None:
    other = ed25519("other-client")
    pool.submit(pool.papers.registration(other, "other-client", 2))
    job = pool.order()
    chains = pool.work(job, 256)
    good = pool.papers.delivery(pool.client, [chains[0][-1]])
    pool.refuse(pool.papers.delivery(other, [chains[0][-1]]), RoleError, "only the job's client")
    pool.refuse(pool.papers.signed(pool.client, good.record.replace(job=fake_digest("no"))), UnknownIdError)
    pool.submit(good)
    again = delivery(pool, job, head_of(pool, job, 256), closes=0)
    pool.refuse(pool.papers.signed(pool.client, again), HoldClosedError)


def test_a_job_without_a_hold_takes_no_receipts_and_no_delivery(pool: Pool) -> None:
    submission = pool.papers.job(pool.client, [NODE], parameters=pool.parameters_digest)
    job = submission.record
    assert isinstance(job, Job)
    pool.submit(submission)
    chain = pool.papers.receipts(job, job.plan[0], 256)
    pool.refuse(pool.papers.batch(pool.node, chain), HoldClosedError)
    pool.refuse(pool.papers.delivery(pool.client, chain), HoldClosedError)
    pool.submit(pool.papers.job_hold(pool.client, job))
    pool.submit(pool.papers.batch(pool.node, chain))
    pool.submit(pool.papers.delivery(pool.client, chain))


def test_ids_of_jobs_and_holds_share_one_space(pool: Pool) -> None:
    submission = pool.papers.job(
        pool.client, [NODE], parameters=pool.parameters_digest, hold_id=fake_id("job", 0)
    )
    pool.submit(submission)
    pool.refuse(pool.papers.job_hold(pool.client, submission.record), ConflictError)

"""Of two rules that a record breaks, the earlier one of specs/credits.md §13's table answers."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from creditledger.errors import (
    AccountClosedError,
    ConflictError,
    CreditLedgerError,
    ExpiredError,
    HoldClosedError,
    HoldExpiredError,
    InsufficientCreditError,
    LimitError,
    MalformedRecordError,
    RefusedError,
    RoleError,
    SignatureError,
    UnknownIdError,
)
from creditledger.records.entry import Submission
from creditledger.records.transfer import Hold
from fakes.cast import HOUR_MS, START_MS, ed25519, fake_id
from fakes.pool import Pool

FUNDS = 3_000_000
MACHINE, STRANGER = ed25519("machine"), ed25519("stranger")
DEAR = {"duration_ms": 301_000, "amount_micro": 3_010_000}
Made = tuple[Pool, Submission]


def funded(**changes: object) -> Pool:
    pool = Pool(**{"rule_set": 4} | changes)
    pool.fund(pool.client, FUNDS)
    return pool


def delegating(**changes: object) -> Pool:
    pool = funded()
    key, queue = MACHINE.public_key, pool.queue.public_key
    pool.submit(pool.papers.delegation(pool.client, key, queue, **changes))
    return pool


def machine_hold(pool: Pool, **changes: object) -> Submission:
    return pool.papers.delegated_hold(MACHINE, pool.client.public_key, pool.queue.public_key, **changes)


def unsigned(submission: Submission) -> Submission:
    return replace(submission, signature=STRANGER.sign(b"something else"))


def kind_and_bodies() -> Made:
    pool = funded(rule_set=3)
    made = pool.papers.listing(pool.client, listed=False)
    return pool, replace(made, bodies=(b"body",))


def bodies_and_signer() -> Made:
    pool = funded()
    return pool, replace(pool.papers.listing(STRANGER, listed=False), bodies=(b"body",))


def signer_and_signature() -> Made:
    pool = funded()
    return pool, unsigned(pool.papers.release(pool.client, fake_id("none") * 2))


def unknown_signer_and_signature() -> Made:
    pool = funded()
    return pool, unsigned(pool.papers.listing(STRANGER, listed=False))


def signature_and_closed() -> Made:
    pool = funded()
    pool.submit(pool.papers.closing(pool.node))
    return pool, unsigned(pool.papers.listing(pool.node, listed=False))


def closed_and_id() -> Made:
    pool = funded()
    pool.submit(pool.papers.listing(pool.node, listed=False))
    pool.submit(pool.papers.closing(pool.node))
    return pool, pool.papers.listing(pool.node, listed=True)


def id_and_parameters() -> Made:
    pool = funded(transfers_allowed=0)
    pool.submit(pool.papers.listing(pool.client, listed=False))
    made = pool.papers.transfer(pool.client, pool.node.public_key, 5)
    return pool, pool.papers.signed(pool.client, made.record.replace(id=fake_id("listing", 0)))


def parameters_and_payee() -> Made:
    pool = funded(transfers_allowed=0)
    return pool, pool.papers.transfer(pool.client, STRANGER.public_key, 5)


def role_and_closed() -> Made:
    pool = funded()
    pool.submit(pool.papers.closing(pool.node))
    return pool, pool.papers.voucher_hold(pool.client, pool.node.public_key)


def closed_and_time() -> Made:
    pool = delegating(until_unix_ms=START_MS)
    pool.submit(pool.papers.closing(pool.queue))
    return pool, machine_hold(pool)


def _captured_late(*, released: bool) -> tuple[Pool, Hold]:
    pool = funded()
    made = pool.papers.voucher_hold(pool.client, pool.queue.public_key)
    digest = pool.submit(made)
    if released:
        pool.submit(pool.papers.release(pool.queue, digest))
    pool.now += 2 * HOUR_MS
    assert isinstance(made.record, Hold)
    return pool, made.record


def ended_and_late() -> Made:
    pool, hold = _captured_late(released=True)
    return pool, pool.papers.capture(pool.queue, hold, 5)


def late_and_price() -> Made:
    pool, hold = _captured_late(released=False)
    made = pool.papers.capture(pool.queue, hold, 5)
    return pool, pool.papers.signed(pool.queue, made.record.replace(amount_micro=6))


def delegation_late_and_price() -> Made:
    pool = delegating(until_unix_ms=START_MS)
    return pool, machine_hold(pool, micro_per_gpu_second=7)


def price_and_end() -> Made:
    pool = funded()
    key = pool.queue.public_key
    return pool, pool.papers.voucher_hold(pool.client, key, micro_per_gpu_second=7, expires_unix_ms=START_MS)


def end_and_credits() -> Made:
    pool = funded()
    return pool, pool.papers.voucher_hold(
        pool.client, pool.queue.public_key, expires_unix_ms=START_MS, **DEAR
    )


def credits_and_cap() -> Made:
    pool = delegating(cap_micro=5)
    return pool, machine_hold(pool, **DEAR)


def cap_and_budget() -> Made:
    pool = delegating(cap_micro=5)
    pool.submit(pool.papers.budget(pool.client, 5, delegate=MACHINE.public_key))
    return pool, machine_hold(pool)


def both_budgets() -> Made:
    pool = delegating()
    pool.submit(pool.papers.budget(pool.client, 5, delegate=MACHINE.public_key))
    pool.submit(pool.papers.budget(pool.client, 6))
    return pool, machine_hold(pool)


PAIRS: list[tuple[int, int, Callable[[], Made], type[CreditLedgerError], str]] = [
    (1, 2, kind_and_bodies, RefusedError, "admits no"),
    (2, 3, bodies_and_signer, MalformedRecordError, "bodies"),
    (3, 4, signer_and_signature, RoleError, "may not sign"),
    (3, 4, unknown_signer_and_signature, UnknownIdError, "no such account"),
    (4, 5, signature_and_closed, SignatureError, ""),
    (5, 6, closed_and_id, AccountClosedError, ""),
    (6, 7, id_and_parameters, ConflictError, "id was used"),
    (7, 8, parameters_and_payee, RefusedError, "does not allow"),
    (8, 9, role_and_closed, RoleError, "another role"),
    (9, 10, closed_and_time, AccountClosedError, ""),
    (10, 10, ended_and_late, HoldClosedError, ""),
    (10, 11, late_and_price, HoldExpiredError, ""),
    (10, 11, delegation_late_and_price, ExpiredError, "delegation"),
    (11, 12, price_and_end, RefusedError, "another price"),
    (12, 13, end_and_credits, HoldExpiredError, ""),
    (13, 14, credits_and_cap, InsufficientCreditError, ""),
    (14, 15, cap_and_budget, LimitError, "cap"),
    (15, 16, both_budgets, LimitError, "delegate's budget"),
]


@pytest.mark.parametrize(
    ("first", "second", "make", "error", "match"), PAIRS, ids=[pair[2].__name__ for pair in PAIRS]
)
def test_the_earlier_of_two_rules_answers(
    first: int, second: int, make: Callable[[], Made], error: type[CreditLedgerError], match: str
) -> None:
    pool, submission = make()
    pool.refuse(submission, error, match)


def test_every_neighbouring_pair_of_the_table_is_tried() -> None:
    page = Path(__file__).parents[3] / "specs" / "credits.md"
    table = page.read_text("utf-8").partition("**Precedence.**")[2].partition("\n## ")[0]
    rows = [int(number) for number in re.findall(r"(?m)^\| (\d+) \|", table)]
    assert rows == list(range(1, 17))
    assert set(pairwise(rows)) <= {(first, second) for first, second, *_ in PAIRS}

"""Delegations and delegates' holds: each refusal beside the nearest acceptance."""

from dataclasses import replace

import pytest

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.errors import (
    ConflictError,
    CreditLedgerError,
    ExpiredError,
    InsufficientCreditError,
    KeyFormatError,
    LimitError,
    RefusedError,
    RoleError,
    SignatureError,
    UnknownIdError,
)
from creditledger.records.registration import Role
from creditledger.transparency.keys import Ed25519Signer
from fakes.cast import HOUR_MS, START_MS, Successor, ed25519, fake_id
from fakes.pool import Pool

FUNDS = 3_000_000
HELD = 100_000
MACHINE = ed25519("machine")


@pytest.fixture
def pool() -> Pool:
    found = Pool(rule_set=4, committed=True)
    found.fund(found.client, FUNDS)
    return found


def give(pool: Pool, delegate: Ed25519Signer | None = None, **changes: object) -> None:
    key = (delegate or MACHINE).public_key
    pool.submit(pool.papers.delegation(pool.client, key, pool.queue.public_key, **changes))


def row(pool: Pool, delegate: Ed25519Signer | None = None) -> tuple[int, int]:
    """(cap, used)"""
    key = (delegate or MACHINE).public_key
    found = reading.delegation(pool.view, pool.client.public_key, key, pool.queue.public_key)
    return found.cap_micro, found.used_micro


def hold(pool: Pool, delegate: Ed25519Signer | None = None, **changes: object):
    return pool.papers.delegated_hold(
        delegate or MACHINE, pool.client.public_key, pool.queue.public_key, **changes
    )


def test_a_machine_holds_for_the_account_that_delegated_to_it(pool: Pool) -> None:
    give(pool)
    digest = pool.submit(hold(pool))
    account = reading.account_state(pool.view, pool.client.public_key)
    assert (account.available_micro, account.held_micro) == (FUNDS - HELD, HELD)
    assert reading.hold_state(pool.view, digest).holder == pool.client.public_key
    assert reading.hold_body(pool.view, digest).signer == MACHINE.public_key
    assert row(pool) == (1_000_000, HELD)
    check_invariant(pool.view)


def test_a_member_with_an_account_is_a_delegate_too_and_signs_with_its_key_in_force(pool: Pool) -> None:
    give(pool, pool.node)
    pool.submit(hold(pool, pool.node))
    new = ed25519("next node")
    pool.submit(pool.papers.rotation(pool.node.public_key, pool.node, new))
    pool.refuse(hold(pool, pool.node, tag=1), SignatureError)
    pool.submit(hold(pool, Successor(pool.node, new), tag=1))
    assert row(pool, pool.node) == (1_000_000, 2 * HELD)


def test_what_comes_back_may_be_used_again(pool: Pool) -> None:
    give(pool, cap_micro=HELD)
    first = hold(pool).record
    pool.submit(hold(pool))
    pool.refuse(hold(pool, tag=1), LimitError, "cap")
    capture = pool.submit(pool.papers.capture(pool.queue, first, 4_000))
    assert row(pool) == (HELD, HELD)
    pool.submit(pool.papers.release(pool.queue, first.digest(pool.ledger_id)))
    assert row(pool) == (HELD, 40_000)
    pool.submit(pool.papers.refund(pool.queue, capture, 10_000))
    assert row(pool) == (HELD, 30_000)
    short = {"duration_ms": 7_000, "amount_micro": 70_000}
    pool.refuse(hold(pool, tag=1, **short | {"duration_ms": 7_001, "amount_micro": 70_010}), LimitError)
    late = pool.submit(hold(pool, tag=1, **short))
    pool.now += 3 * HOUR_MS
    pool.submit(pool.papers.expire(late))
    assert row(pool) == (HELD, 30_000)


def test_a_later_delegation_replaces_cap_and_time_and_keeps_what_was_used(pool: Pool) -> None:
    give(pool)
    pool.submit(hold(pool))
    give(pool, cap_micro=HELD)
    assert row(pool) == (HELD, HELD)
    pool.refuse(hold(pool, tag=1), LimitError)
    give(pool, cap_micro=2 * HELD)
    pool.submit(hold(pool, tag=1))
    give(pool, cap_micro=0)
    assert row(pool) == (0, 2 * HELD)
    pool.refuse(hold(pool, tag=2), LimitError, "cap")


def test_a_delegation_ends_and_is_for_one_queue(pool: Pool) -> None:
    other = ed25519("other queue")
    pool.submit(pool.papers.registration(other, "other-queue", Role.QUEUE))
    give(pool, until_unix_ms=START_MS + 5)
    elsewhere = pool.papers.delegated_hold(MACHINE, pool.client.public_key, other.public_key)
    pool.refuse(elsewhere, UnknownIdError, "delegated nothing")
    pool.refuse(hold(pool, pool.node), UnknownIdError, "delegated nothing")
    pool.now = START_MS + 5
    pool.refuse(hold(pool), ExpiredError, "ended")
    pool.now = START_MS + 4
    pool.submit(hold(pool))


@pytest.mark.parametrize(
    ("delegate", "error"),
    [
        (ed25519("operator").public_key, RoleError),
        (ed25519("next node").public_key, RoleError),
        (ed25519("client").public_key, RoleError),
        (bytes(31) + b"\x80", KeyFormatError),
        (b"\x01" + bytes(31), KeyFormatError),
    ],
    ids=["operator", "later key", "oneself", "not canonical", "low order"],
)
def test_a_delegate_is_an_account_by_its_id_or_nobodys_key(
    pool: Pool, delegate: bytes, error: type[CreditLedgerError]
) -> None:
    pool.submit(pool.papers.rotation(pool.node.public_key, pool.node, ed25519("next node")))
    papers, queue = pool.papers, pool.queue.public_key
    pool.refuse(papers.delegation(pool.client, delegate, queue), error)
    pool.submit(papers.delegation(pool.client, pool.node.public_key, queue))
    pool.submit(papers.delegation(pool.client, MACHINE.public_key, queue))


def test_a_delegation_names_a_queue_and_is_signed_by_the_account(pool: Pool) -> None:
    papers, key = pool.papers, MACHINE.public_key
    pool.refuse(papers.delegation(pool.client, key, pool.node.public_key), RoleError)
    pool.refuse(papers.delegation(pool.client, key, ed25519("nobody").public_key), UnknownIdError)
    good = papers.delegation(pool.client, key, pool.queue.public_key)
    pool.refuse(replace(good, signature=MACHINE.sign(b"other")), SignatureError)
    pool.submit(good)


def test_a_key_that_has_held_is_no_accounts_any_more(pool: Pool) -> None:
    """One key, one role. Before its first hold it is free: a delegation names keys without their consent."""
    give(pool)
    give(pool, ed25519("next client"))
    pool.submit(pool.papers.rotation(pool.client.public_key, pool.client, ed25519("next client")))
    client = pool.client.public_key
    taken = pool.papers.delegated_hold(ed25519("next client"), client, pool.queue.public_key)
    pool.refuse(taken, RoleError, "nobody's key")
    pool.submit(hold(pool))
    pool.refuse(pool.papers.registration(MACHINE, "machine", Role.CLIENT), RoleError, "machine's")
    rival = ed25519("rival")
    pool.submit(pool.papers.registration(rival, "rival", Role.CLIENT, next_key=MACHINE))
    pool.refuse(pool.papers.rotation(rival.public_key, rival, MACHINE), RoleError, "machine's")


def test_a_delegate_that_registers_before_it_holds_signs_as_its_account(pool: Pool) -> None:
    give(pool)
    pool.submit(pool.papers.registration(MACHINE, "machine", Role.CLIENT, next_key=ed25519("next machine")))
    pool.submit(hold(pool))
    pool.submit(pool.papers.rotation(MACHINE.public_key, MACHINE, ed25519("next machine")))
    pool.refuse(hold(pool, tag=1), SignatureError)
    pool.submit(hold(pool, Successor(MACHINE, ed25519("next machine")), tag=1))


def test_ids_are_the_delegates(pool: Pool) -> None:
    shared = fake_id("shared")
    pool.submit(pool.papers.voucher_hold(pool.client, pool.queue.public_key, id=shared))
    give(pool)
    pool.submit(hold(pool, id=shared))
    twice = hold(pool, tag=1, id=shared, expires_unix_ms=START_MS + 2 * HOUR_MS)
    pool.refuse(twice, ConflictError)


def test_a_delegates_hold_needs_the_holders_credits(pool: Pool) -> None:
    give(pool, cap_micro=10**12)
    dear = {"duration_ms": 301_000, "amount_micro": 3_010_000}
    pool.refuse(hold(pool, **dear), InsufficientCreditError)
    pool.submit(hold(pool))


@pytest.mark.parametrize("kind", ["delegation", "delegated_hold", "budget", "closing", "listing"])
@pytest.mark.parametrize("rule_set", [1, 2, 3])
def test_earlier_rule_sets_know_none_of_it(rule_set: int, kind: str) -> None:
    pool = Pool(rule_set=rule_set)
    papers, queue = pool.papers, pool.queue.public_key
    made = {
        "delegation": lambda: papers.delegation(pool.client, MACHINE.public_key, queue),
        "delegated_hold": lambda: papers.delegated_hold(MACHINE, pool.client.public_key, queue),
        "budget": lambda: papers.budget(pool.client, 5),
        "closing": lambda: papers.closing(pool.client),
        "listing": lambda: papers.listing(pool.client, listed=False),
    }[kind]()
    pool.refuse(made, RefusedError, f"rule set {rule_set} admits no {kind}")

"""Rotation: who may, to which key, from which entry on, and that a retired key signs nothing any more."""

from collections.abc import Callable

import pytest

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.credits.fold import propose_settlement
from creditledger.credits.key_history import key_at, keys_of
from creditledger.credits.pool import operator_of
from creditledger.credits.state import State
from creditledger.errors import (
    ConflictError,
    CreditLedgerError,
    KeyFormatError,
    RefusedError,
    RoleError,
    SignatureError,
    UnknownIdError,
)
from creditledger.records.entry import Submission
from creditledger.records.job import Job
from creditledger.records.registration import Role, Rotation
from creditledger.records.state import HoldStatus, KeyState
from creditledger.records.transfer import Hold
from creditledger.transparency.keys import Ed25519Signer
from fakes.cast import HOUR_MS, START_MS, Papers, Successor, ed25519
from fakes.pool import Pool

SECOND, THIRD = ed25519("next client"), ed25519("the key after that")


@pytest.fixture
def pool() -> Pool:
    """Under rule set 2, where everybody has committed to a next key."""
    return Pool(rule_set=2, committed=True)


def rotation(pool: Pool, **changes: object) -> Submission:
    """The client's, to the key it committed to."""
    arguments: dict = {"account": pool.client.public_key, "old": pool.client, "new": SECOND}
    return pool.papers.rotation(**(arguments | changes))


def rotate_operator(pool: Pool, new: Ed25519Signer | None = None) -> Papers:
    """The operator registers, rotates, and signs with its new key; who still signs with the old one."""
    new = new or ed25519("next operator")
    old = pool.papers.operator
    pool.submit(pool.papers.registration(old, "the-operator", Role.OPERATOR, next_key=new))
    pool.submit(pool.papers.rotation(old.public_key, old, new, next_key=THIRD))
    thief = Papers(genesis=pool.papers.genesis, operator=old, real_bls=False)
    pool.papers.operator = new
    return thief


def key_state(pool: Pool, key: Ed25519Signer) -> KeyState | None:
    return reading.key_state(pool.view, key.public_key)


def test_a_rotation_ends_one_key_and_begins_the_next_by_index(pool: Pool) -> None:
    """L14: validity by log index; the account keeps its id and its credits."""
    account = pool.client.public_key
    before = reading.account_state(pool.view, account)
    first = key_state(pool, pool.client)
    assert first is not None
    assert first.until_index == 0
    index = len(pool.entries)
    pool.submit(rotation(pool, next_key=THIRD))
    assert key_state(pool, pool.client) == first.replace(until_index=index + 1)
    assert key_state(pool, SECOND) == first.replace(key=SECOND.public_key, from_index=index + 1)
    assert reading.account_state(pool.view, account) == before
    pool.submit(rotation(pool, old=SECOND, new=THIRD))
    assert keys_of(State(pool.view), account) == [
        (0, account),
        (index + 1, SECOND.public_key),
        (index + 2, THIRD.public_key),
    ]
    at = [key_at(State(pool.view), account, place) for place in (index, index + 1, index + 2)]
    assert at == [account, SECOND.public_key, THIRD.public_key]


def test_a_round_certifies_who_signs(pool: Pool) -> None:
    pool.submit(rotation(pool))
    record = pool.run_round()
    for key in (pool.client, SECOND):
        state = key_state(pool, key)
        assert state is not None
        assert reading.map_value(pool.view, record.map_root, b"key/" + key.public_key) == state.encode()


def test_the_new_key_is_the_one_committed_to(pool: Pool) -> None:
    pool.refuse(rotation(pool, new=THIRD), RoleError, "not the one committed to")
    pool.submit(rotation(pool))


def test_who_committed_to_nothing_never_rotates() -> None:
    pool = Pool(rule_set=2)
    pool.refuse(rotation(pool), RoleError, "committed to no next key")


def test_who_commits_to_nothing_further_never_rotates_again(pool: Pool) -> None:
    pool.submit(rotation(pool))
    pool.refuse(rotation(pool, old=SECOND, new=THIRD), RoleError, "committed to no next key")


def test_the_present_key_signs_and_the_new_one_consents(pool: Pool) -> None:
    pool.refuse(rotation(pool, old=SECOND), SignatureError)
    pool.refuse(rotation(pool, old=pool.node), SignatureError)
    pool.refuse(rotation(pool, consents=pool.client), SignatureError)
    pool.refuse(rotation(pool, consents=THIRD), SignatureError)
    moved = rotation(pool).record
    assert isinstance(moved, Rotation)
    other = pool.papers.signed(pool.client, moved.replace(next_key=bytes([7]) * 32))
    pool.refuse(other, SignatureError)
    pool.submit(rotation(pool))


def test_a_rotation_is_of_one_ledger_and_of_one_account(pool: Pool) -> None:
    """L2: replayed in a pool of the same people, it is signed for another ledger."""
    elsewhere = Pool(rule_set=2, committed=True, vesting_ms=1)
    elsewhere.refuse(rotation(pool), SignatureError)
    pool.refuse(rotation(pool, account=ed25519("stranger").public_key), UnknownIdError)
    pool.refuse(rotation(pool, account=pool.papers.genesis.operator), SignatureError)


def test_a_replayed_rotation_is_refused(pool: Pool) -> None:
    submission = rotation(pool, next_key=THIRD)
    pool.submit(submission)
    pool.refuse(submission, ConflictError, "logged before")
    pool.refuse(rotation(pool), SignatureError)


def test_a_key_is_one_accounts_for_ever(pool: Pool) -> None:
    """L15: no key in two accounts or roles, whether by registration or by rotation, now or later."""
    taken = {"other": pool.node, "own": pool.client, "operator": pool.papers.operator}
    for name, key in taken.items():
        poor = ed25519(f"poor {name}")
        if name == "own":
            refused = pool.papers.registration(poor, f"poor-{name}", Role.CLIENT, next_key=poor)
            pool.refuse(refused, RoleError, "commits to itself")
            continue
        pool.submit(pool.papers.registration(poor, f"poor-{name}", Role.CLIENT, next_key=key))
        pool.refuse(pool.papers.rotation(poor.public_key, poor, key), RoleError, "in use before")
    pool.submit(rotation(pool))
    pool.refuse(pool.papers.registration(SECOND, "second", Role.NODE), RoleError, "speaks for an account")
    pool.refuse(pool.papers.registration(pool.client, "again", Role.CLIENT), ConflictError)
    late = ed25519("late")
    pool.submit(pool.papers.registration(late, "late", Role.CLIENT, next_key=SECOND))
    pool.refuse(pool.papers.rotation(late.public_key, late, SECOND), RoleError, "in use before")


def test_a_rotation_does_not_commit_to_its_own_key(pool: Pool) -> None:
    pool.refuse(rotation(pool, next_key=SECOND), RoleError, "commits to itself")


def test_a_weak_key_is_nobodys_next() -> None:
    """K1: for a point of low order anybody can sign, so a commitment to one hands the account to all."""
    pool = Pool(rule_set=2)
    weak = (1).to_bytes(32, "little")

    class Weak:
        public_key = weak

        def sign(self, message: bytes) -> bytes:
            return weak + bytes(32)

    poor, anybody = ed25519("poor"), Weak()
    pool.submit(pool.papers.registration(poor, "poor", Role.CLIENT, next_key=anybody))  # type: ignore[arg-type]
    pool.refuse(
        pool.papers.rotation(poor.public_key, poor, anybody),  # type: ignore[arg-type]
        KeyFormatError,
        "low order",
    )


def test_rule_set_1_knows_neither_rotation_nor_operators() -> None:
    pool = Pool(committed=True)
    pool.refuse(rotation(pool), RefusedError, "rule set 1 admits no rotation")
    operator = pool.papers.registration(
        pool.papers.operator, "the-operator", Role.OPERATOR, next_key=ed25519("next operator")
    )
    pool.refuse(operator, RoleError)
    stranger = pool.papers.registration(ed25519("stranger"), "stranger", Role.OPERATOR)
    pool.refuse(stranger, RoleError, "not the operator's")


def test_a_pool_is_raised_to_rule_set_2_and_never_lowered() -> None:
    """Who committed under rule set 1 may rotate from the round on that certifies rule set 2."""
    pool = Pool(committed=True)
    raised = pool.parameters.replace(sequence=1, rule_set=2)
    pool.submit(pool.papers.parameters(raised))
    pool.refuse(pool.papers.parameters(raised.replace(sequence=2, rule_set=1)), RefusedError, "only rises")
    pool.refuse(rotation(pool), RefusedError, "rule set 1 admits no rotation")
    pool.run_round()
    pool.submit(rotation(pool))
    pool.refuse(pool.papers.parameters(raised.replace(sequence=2, rule_set=1)), RefusedError, "only rises")
    pool.submit(pool.papers.parameters(raised.replace(sequence=2)))


def by_the_client(pool: Pool, client: Ed25519Signer) -> dict[str, Submission]:
    """One record of every kind that a client signs."""
    papers = pool.papers
    job = papers.job(client, [pool.node.public_key], parameters=pool.parameters_digest, tag="x")
    _, chains = pool.held  # type: ignore[attr-defined]
    return {
        "job": job,
        "voucher": papers.voucher_hold(client, pool.queue.public_key, tag="x"),
        "hold": papers.job_hold(client, pool.ordered),  # type: ignore[attr-defined]
        "transfer": papers.transfer(client, pool.node.public_key, 1),
        "delivery": papers.delivery(client, [chains[0][-1]]),
        "rotation": papers.rotation(client.public_key, client, THIRD),
    }


@pytest.fixture
def working(pool: Pool) -> Pool:
    """A job that is worked on, one that has no hold yet, and an open voucher."""
    pool.fund(pool.client, 10**9)
    job = pool.order()
    pool.held = job, pool.work(job, 256)  # type: ignore[attr-defined]
    bare = pool.papers.job(pool.client, [pool.node.public_key], parameters=pool.parameters_digest, tag="bare")
    pool.submit(bare)
    pool.ordered = bare.record  # type: ignore[attr-defined]
    voucher = pool.papers.voucher_hold(pool.client, pool.queue.public_key)
    pool.submit(voucher)
    pool.voucher = voucher.record  # type: ignore[attr-defined]
    return pool


@pytest.mark.parametrize("kind", ["job", "voucher", "hold", "transfer", "delivery", "rotation"])
def test_a_retired_client_key_signs_nothing(working: Pool, kind: str) -> None:
    """L14: signed with the retired key at a later index: none accepted; with the new key: accepted."""
    working.submit(rotation(working, next_key=THIRD))
    working.refuse(by_the_client(working, working.client)[kind], SignatureError)
    working.submit(by_the_client(working, Successor(working.client, SECOND))[kind])  # type: ignore[arg-type]
    check_invariant(working.view)


def test_a_retired_node_key_signs_no_batch(working: Pool) -> None:
    """L14, for the node: what it began under its first key it goes on with under the next."""
    job, chains = working.held  # type: ignore[attr-defined]
    node, new = working.node, ed25519("next node")
    working.submit(working.papers.rotation(node.public_key, node, new))
    more = working.papers.receipts(
        job,
        job.plan[0],
        256,
        first_position=256,
        previous=chains[0][-1].digest(working.ledger_id),
    )
    working.refuse(working.papers.batch(node, more), SignatureError)
    working.submit(working.papers.batch(Successor(node, new), more))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["capture", "release"])
def test_a_retired_queue_key_ends_no_hold(working: Pool, kind: str) -> None:
    """L14, for the queue."""
    hold = working.voucher  # type: ignore[attr-defined]
    assert isinstance(hold, Hold)
    queue, new = working.queue, ed25519("next queue")
    working.submit(working.papers.rotation(queue.public_key, queue, new))

    def end(signer: Ed25519Signer) -> Submission:
        papers = working.papers
        if kind == "capture":
            return papers.capture(signer, hold, 10)
        return papers.release(signer, hold.digest(working.ledger_id))

    working.refuse(end(queue), SignatureError)
    working.submit(end(Successor(queue, new)))  # type: ignore[arg-type]
    state = reading.hold_state(working.view, hold.digest(working.ledger_id))
    assert state is not None
    assert state.status in (HoldStatus.CAPTURED, HoldStatus.RELEASED)


def _settlement(pool: Pool, papers: Papers) -> Submission:
    job, chains = pool.held  # type: ignore[attr-defined]
    assert isinstance(job, Job)
    pool.deliver(chains)
    pool.check_round(pool.run_round().number)
    record = propose_settlement(pool.view, job.digest(pool.ledger_id), pool.ledger_id, now_unix_ms=pool.now)
    return papers.signed(papers.operator, record)


def _expire(pool: Pool, papers: Papers) -> Submission:
    hold = pool.voucher  # type: ignore[attr-defined]
    pool.now = START_MS + 2 * HOUR_MS
    return papers.expire(hold.digest(pool.ledger_id))


OPERATOR_SIGNS: dict[str, Callable[[Pool, Papers], Submission]] = {
    "grant": lambda pool, papers: papers.grant(pool.client.public_key, 5),
    "credit line": lambda pool, papers: papers.credit_line(pool.client.public_key, 5),
    "slash": lambda pool, papers: papers.slash(pool.node.public_key, 5),
    "parameters": lambda pool, papers: papers.parameters(pool.parameters.replace(sequence=1)),
    "round": lambda pool, papers: papers.round(pool.propose_round()),
    "settlement": _settlement,
    "expire": _expire,
}


@pytest.mark.parametrize("kind", OPERATOR_SIGNS)
def test_a_retired_operator_key_signs_nothing(working: Pool, kind: str) -> None:
    """L14, for the operator: every kind that only it signs."""
    thief = rotate_operator(working)
    signs = OPERATOR_SIGNS[kind]
    good = signs(working, working.papers)
    stolen = Submission(
        record=good.record, signature=thief.operator.sign(good.record.signing_bytes(working.ledger_id))
    )
    working.refuse(stolen, SignatureError)
    working.submit(good)


def test_a_retired_operator_key_admits_nobody() -> None:
    pool = Pool(rule_set=2, committed=True, admission=2)
    thief = rotate_operator(pool)
    stranger = ed25519("stranger")
    stolen = thief.registration(stranger, "stranger", Role.CLIENT, admitted=True)
    pool.refuse(stolen, SignatureError)
    pool.submit(pool.papers.registration(stranger, "stranger", Role.CLIENT, admitted=True))


def test_the_operator_commits_by_registering_and_gets_no_account(pool: Pool) -> None:
    operator = pool.papers.operator
    pool.submit(
        pool.papers.registration(operator, "the-operator", Role.OPERATOR, next_key=ed25519("next operator"))
    )
    state = key_state(pool, operator)
    assert state is not None
    assert (state.role, state.from_index, state.until_index) == (Role.OPERATOR, 0, 0)
    assert reading.account_state(pool.view, operator.public_key) is None
    pool.refuse(pool.papers.grant(operator.public_key, 5), UnknownIdError)
    pool.refuse(pool.papers.credit_line(operator.public_key, 5), UnknownIdError)
    pool.fund(pool.client, 10)
    pool.refuse(pool.papers.transfer(pool.client, operator.public_key, 5), UnknownIdError)
    pool.refuse(pool.papers.registration(ed25519("x"), "the-operator", Role.CLIENT), ConflictError)


def test_only_the_operator_registers_as_one_and_once(pool: Pool) -> None:
    operator, papers = pool.papers.operator, pool.papers
    new = ed25519("next operator")

    def commits(signer: Ed25519Signer, **changes: object) -> Submission:
        arguments: dict = {"next_key": new}
        return papers.registration(signer, "the-operator", Role.OPERATOR, **(arguments | changes))

    refusals: list[tuple[Submission, type[CreditLedgerError], str]] = [
        (commits(ed25519("stranger")), RoleError, "only the genesis' operator"),
        (commits(pool.client), RoleError, "only the genesis' operator"),
        (commits(operator, next_key=None), RoleError, "commit to a key"),
        (commits(operator, next_key=operator), RoleError, "commits to itself"),
        (commits(operator, admitted=True), RefusedError, "admits itself"),
        (papers.signed(pool.client, commits(operator).record), SignatureError, ""),
        (papers.registration(operator, "client", Role.OPERATOR, next_key=new), ConflictError, "taken"),
        (papers.registration(operator, "me", Role.CLIENT), RoleError, "no account"),
        (papers.rotation(operator.public_key, operator, new), RoleError, "no next key"),
    ]
    for submission, error, match in refusals:
        pool.refuse(submission, error, match)
    pool.submit(commits(operator))
    pool.refuse(commits(operator, next_key=THIRD), ConflictError, "registered already")


def test_the_operator_rotates_and_keeps_the_ids_it_used(pool: Pool) -> None:
    """An id is used once per signer, and the operator stays one signer."""
    pool.submit(pool.papers.grant(pool.client.public_key, 5, id=bytes(16)))
    rotate_operator(pool)
    assert operator_of(State(pool.view)) == ed25519("next operator").public_key
    again = pool.papers.grant(pool.client.public_key, 6, id=bytes(16))
    pool.refuse(again, ConflictError, "id was used")
    pool.run_round()
    account = pool.papers.genesis.operator
    pool.submit(pool.papers.rotation(account, pool.papers.operator, THIRD))
    assert operator_of(State(pool.view)) == THIRD.public_key
    pool.refuse(pool.papers.registration(SECOND, "x", Role.OPERATOR, next_key=THIRD), RoleError)
    pool.refuse(pool.papers.registration(THIRD, "x", Role.CLIENT), RoleError, "speaks for an account")

"""Grants, credit lines, slashes, transfers: what waits, what moves, what is refused."""

import pytest

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.errors import (
    AmountError,
    ConflictError,
    InsufficientCreditError,
    RefusedError,
    RoleError,
    UnknownIdError,
)
from creditledger.quantities import AMOUNT_MAX
from fakes.cast import ed25519, fake_id
from fakes.pool import Pool


def available(pool: Pool) -> int:
    return reading.account_state(pool.view, pool.client.public_key).available_micro


def test_a_grant_counts_with_the_first_round_certified_over_it() -> None:
    pool = Pool()
    pool.submit(pool.papers.grant(pool.client.public_key, 50))
    covering = pool.close_round()
    pool.submit(pool.papers.grant(pool.client.public_key, 7))
    pool.attest(covering)
    assert available(pool) == 0
    pool.certify(covering)
    assert available(pool) == 50
    pool.run_round()
    assert available(pool) == 57
    assert check_invariant(pool.view).granted_micro == 57


def test_an_uncertified_round_leaves_its_grants_to_the_next() -> None:
    pool = Pool()
    pool.submit(pool.papers.grant(pool.client.public_key, 50))
    pool.close_round()
    pool.run_round()
    assert available(pool) == 50


@pytest.mark.parametrize("kind", ["grant", "credit_line"])
def test_grants_and_lines_go_to_known_accounts(kind: str) -> None:
    pool = Pool()
    paper = getattr(pool.papers, kind)
    pool.refuse(paper(ed25519("stranger").public_key, 5), UnknownIdError)
    pool.submit(paper(pool.client.public_key, 5))


def test_all_grants_and_lines_together_stay_an_amount() -> None:
    """Else a certificate could be forced to fail when the credits come into effect."""
    pool = Pool()
    pool.submit(pool.papers.grant(pool.client.public_key, AMOUNT_MAX - 5))
    pool.refuse(pool.papers.grant(pool.client.public_key, 6), AmountError)
    pool.refuse(pool.papers.credit_line(pool.client.public_key, 6), AmountError)
    pool.submit(pool.papers.credit_line(pool.client.public_key, 5))
    pool.refuse(pool.papers.grant(pool.node.public_key, 1), AmountError)
    pool.run_round()
    pool.submit(pool.papers.transfer(pool.client, pool.node.public_key, AMOUNT_MAX))
    assert reading.account_state(pool.view, pool.node.public_key).available_micro == AMOUNT_MAX
    check_invariant(pool.view)


def test_an_account_spends_down_to_its_credit_line() -> None:
    pool = Pool()
    pool.submit(pool.papers.credit_line(pool.client.public_key, 100))
    early = pool.papers.transfer(pool.client, pool.node.public_key, 100)
    pool.refuse(early, InsufficientCreditError)
    pool.run_round()
    beyond = pool.papers.transfer(pool.client, pool.node.public_key, 101)
    pool.refuse(beyond, InsufficientCreditError)
    pool.submit(early)
    account = reading.account_state(pool.view, pool.client.public_key)
    assert (account.available_micro, account.overdrawn_micro) == (0, 100)
    assert check_invariant(pool.view).granted_micro == 0


def test_an_account_below_a_lowered_line_may_receive_but_not_spend() -> None:
    pool = Pool()
    pool.submit(pool.papers.credit_line(pool.client.public_key, 100))
    pool.run_round()
    pool.submit(pool.papers.transfer(pool.client, pool.node.public_key, 90))
    pool.submit(pool.papers.credit_line(pool.client.public_key, 10, id=fake_id("lower")))
    pool.run_round()
    pool.refuse(pool.papers.transfer(pool.client, pool.node.public_key, 1), InsufficientCreditError)
    pool.submit(pool.papers.transfer(pool.node, pool.client.public_key, 40))
    assert reading.account_state(pool.view, pool.client.public_key).overdrawn_micro == 50


def test_transfers_move_what_there_is_and_no_more() -> None:
    pool = Pool()
    pool.fund(pool.client, 10)
    pool.refuse(pool.papers.transfer(pool.client, pool.queue.public_key, 11), InsufficientCreditError)
    pool.refuse(pool.papers.transfer(pool.client, ed25519("stranger").public_key, 5), UnknownIdError)
    pool.submit(pool.papers.transfer(pool.client, pool.queue.public_key, 10))
    assert available(pool) == 0


def test_transfers_are_refused_where_the_pool_does_not_allow_them() -> None:
    pool = Pool(transfers_allowed=0)
    pool.fund(pool.client, 10)
    pool.refuse(pool.papers.transfer(pool.client, pool.queue.public_key, 1), RefusedError, "not allow")


def test_an_id_is_used_once_by_its_signer() -> None:
    pool = Pool()
    pool.fund(pool.client, 10)
    pool.fund(pool.node, 10)
    shared = fake_id("shared")
    pool.submit(pool.papers.transfer(pool.client, pool.node.public_key, 1, id=shared))
    pool.refuse(pool.papers.transfer(pool.client, pool.node.public_key, 2, id=shared), ConflictError, "id")
    pool.refuse(
        pool.papers.transfer(pool.client, pool.node.public_key, 1, id=shared), ConflictError, "before"
    )
    digest = pool.submit(pool.papers.transfer(pool.node, pool.client.public_key, 2, id=shared))
    assert reading.id_digest(pool.view, pool.node.public_key, shared) == digest
    assert reading.id_digest(pool.view, pool.queue.public_key, shared) is None


def test_slashes_name_nodes() -> None:
    pool = Pool()
    pool.refuse(pool.papers.slash(pool.client.public_key, 1), RoleError)
    pool.submit(pool.papers.slash(pool.node.public_key, 1))
    pool.run_round()
    assert check_invariant(pool.view).burned_micro == 0

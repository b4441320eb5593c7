"""The levy pool: what goes in, who is paid out of it, and that nobody can take more."""

from dataclasses import replace

import pytest

from creditledger.credits import reading
from creditledger.credits.account import check_invariant
from creditledger.credits.levies import levy_pool_account, levy_shares
from creditledger.errors import (
    CreditLedgerError,
    RefusedError,
    RoleError,
    SignatureError,
    UnknownIdError,
)
from creditledger.records.parameters import Admission, LevyUse
from creditledger.records.registration import Role
from creditledger.records.state import AccountState
from creditledger.records.transfer import Hold, LevyShare
from fakes.cast import HOUR_MS, ed25519
from fakes.pool import Pool

FUNDS = 20_000_000


def levied(use: LevyUse = LevyUse.VALIDATORS, **changes: object) -> Pool:
    """A pool of three validators under rule set 4 that takes a tenth."""
    kept: dict[str, object] = {"rule_set": 4, "members": 3, "levy_use": use, "levy_ppm": 100_000}
    if use == LevyUse.MEMBERS:
        kept["admission"] = Admission.APPROVAL
    pool = Pool(**(kept | changes))  # type: ignore[arg-type]
    pool.fund(pool.client, FUNDS)
    return pool


def account(pool: Pool, key: bytes) -> AccountState:
    found = reading.account_state(pool.view, key)
    assert found is not None
    return found


def pool_micro(pool: Pool) -> int:
    return account(pool, levy_pool_account(pool.ledger_id)).available_micro


def charge(pool: Pool, gpu_ms: int = 3_333, tag: object = 0) -> None:
    """Capture ``gpu_ms`` at 10 micro-credits each."""
    opened = pool.papers.voucher_hold(pool.client, pool.queue.public_key, tag=tag)
    pool.submit(opened)
    assert isinstance(opened.record, Hold)
    pool.submit(pool.papers.capture(pool.queue, opened.record, gpu_ms))


def earn(pool: Pool, *nodes: object, tag: object = 0, positions: int = 600) -> None:
    """One settled job; what it paid vests with the next round."""
    job = pool.order(*nodes, tag=tag)  # type: ignore[arg-type]
    pool.deliver(pool.work(job, positions))
    pool.check_round(pool.run_round().number)
    pool.settle(job)


def pay(pool: Pool, number: int) -> tuple[LevyShare, ...]:
    shares = levy_shares(pool.view, number)
    pool.submit(pool.papers.levy(number, shares))
    return shares


@pytest.mark.parametrize("use", [LevyUse.VALIDATORS, LevyUse.MEMBERS])
def test_levies_wait_in_the_pool(use: LevyUse) -> None:
    pool = levied(use)
    charge(pool)
    assert account(pool, pool.queue.public_key).available_micro == 33_330 - 3_333
    assert pool_micro(pool) == 3_333
    earn(pool)
    node = account(pool, pool.node.public_key)
    assert pool_micro(pool) == 3_333 + node.verified_micro // 9
    assert check_invariant(pool.view).burned_micro == 0
    shown = account(pool, levy_pool_account(pool.ledger_id))
    assert (shown.role, shown.name) == (Role.LEVY_POOL, "levy-pool")
    assert reading.account_named(pool.view, "levy-pool") is None


def test_burned_levies_need_no_pool() -> None:
    pool = levied(LevyUse.BURN)
    charge(pool)
    assert check_invariant(pool.view).burned_micro == 3_333
    assert reading.account_state(pool.view, levy_pool_account(pool.ledger_id)) is None
    number = pool.run_round().number
    with pytest.raises(RefusedError, match="burned"):
        levy_shares(pool.view, number)


def test_each_seat_has_an_equal_part() -> None:
    pool = levied()
    payees = [ed25519(f"payee-{member}") for member in range(2)]
    for member, payee in enumerate(payees):
        pool.submit(pool.papers.registration(payee, f"payee-{member}", Role.CLIENT))
        pool.submit(pool.papers.levy_payee(member, payee.public_key))
    charge(pool)
    shares = pay(pool, pool.run_round().number)
    assert [share.amount_micro for share in shares] == [1_111, 1_111]
    assert [account(pool, payee.public_key).available_micro for payee in payees] == [1_111, 1_111]
    # The third validator named nobody: its part stays, and nobody gains by that.
    assert pool_micro(pool) == 1_111
    check_invariant(pool.view)


def test_one_payee_may_take_the_parts_of_many() -> None:
    pool = levied()
    for member in range(3):
        pool.submit(pool.papers.levy_payee(member, pool.node.public_key))
    charge(pool)
    whole = (LevyShare(account=pool.node.public_key, amount_micro=3_333),)
    assert pay(pool, pool.run_round().number) == whole


def test_who_did_not_attest_or_let_checks_lie_gets_nothing() -> None:
    pool = levied(quorum=2, grace_ms=HOUR_MS)
    keys = [ed25519(name) for name in ("a", "b", "c")]
    for member, key in enumerate(keys):
        pool.submit(pool.papers.registration(key, "abc"[member], Role.CLIENT))
        pool.submit(pool.papers.levy_payee(member, key.public_key))
    charge(pool)
    record = pool.close_round()
    pool.attest(record, 0, 2)
    pool.certify(record)
    paid = {share.account for share in levy_shares(pool.view, record.number)}
    assert paid == {keys[0].public_key, keys[2].public_key}
    job = pool.order()
    pool.deliver(pool.work(job, 600))
    silent = reading.members_on_duty(pool.view, pool.run_round().number)
    assert silent
    pool.now += 3 * HOUR_MS
    later = pool.run_round().number
    paid = {share.account for share in levy_shares(pool.view, later)}
    assert paid == {key.public_key for member, key in enumerate(keys) if member not in silent}


def test_a_payee_is_named_by_a_member_with_its_own_key() -> None:
    pool = levied()
    papers, node = pool.papers, pool.node.public_key
    pool.refuse(papers.levy_payee(3, node), RoleError, "committee")
    pool.refuse(papers.levy_payee(0, ed25519("nobody").public_key), UnknownIdError)
    record = papers.levy_payee(0, node).record
    pool.refuse(replace(papers.levy_payee(1, node), record=record), SignatureError)
    pool.submit(papers.levy_payee(0, node))
    pool.submit(papers.levy_payee(0, pool.queue.public_key, tag="changed its mind"))
    charge(pool)
    pool.refuse(papers.levy_payee(0, levy_pool_account(pool.ledger_id), tag="pool"), RoleError)
    (share,) = pay(pool, pool.run_round().number)
    assert share.account == pool.queue.public_key


def test_a_levy_is_what_the_rules_give_and_once_a_round() -> None:
    pool = levied()
    pool.submit(pool.papers.levy_payee(0, pool.node.public_key))
    charge(pool)
    number = pool.run_round().number
    (share,) = levy_shares(pool.view, number)
    papers = pool.papers
    more = (share.replace(amount_micro=share.amount_micro + 1),)
    pool.refuse(papers.levy(number, more), RefusedError, "not what the rules give")
    pool.refuse(papers.levy(number, ()), RefusedError, "not what the rules give")
    pool.refuse(papers.levy(number + 1, (share,)), UnknownIdError, "no certified round")
    record = papers.levy(number, (share,)).record
    pool.refuse(papers.signed(pool.client, record), SignatureError)
    pool.submit(papers.levy(number, (share,)))
    pool.refuse(papers.levy(number, (share,), tag="again"), RefusedError, "paid out")
    pool.refuse(papers.levy(number - 1, (share,), tag="older"), RefusedError, "paid out")
    charge(pool, tag="later")
    pay(pool, pool.run_round().number)


def test_an_empty_pool_pays_nothing() -> None:
    pool = levied()
    pool.submit(pool.papers.levy_payee(0, pool.node.public_key))
    number = pool.run_round().number
    assert levy_shares(pool.view, number) == ()
    pool.refuse(pool.papers.levy(number, ()), RefusedError, "nothing")


def test_a_member_gets_back_at_most_what_was_taken_from_it() -> None:
    pool = levied(LevyUse.MEMBERS, vesting_micro=0)
    earn(pool, pool.node, tag="one")
    earn(pool, pool.node, pool.other_node, tag="two", positions=256)
    pool.run_round()
    taken = pool_micro(pool)
    charge(pool, gpu_ms=10_000)
    number = pool.run_round().number
    nodes = (pool.node.public_key, pool.other_node.public_key)
    before = {node: account(pool, node).available_micro for node in nodes}
    shares = pay(pool, number)
    assert {share.account for share in shares} == set(before)
    returned = sum(share.amount_micro for share in shares)
    for share in shares:
        assert account(pool, share.account).available_micro == before[share.account] + share.amount_micro
    assert pool_micro(pool) == taken + 10_000 - returned
    check_invariant(pool.view)
    again = levy_shares(pool.view, pool.run_round().number)
    assert 0 < returned + sum(share.amount_micro for share in again) <= taken


def test_an_active_member_has_vested_work() -> None:
    pool = levied(LevyUse.MEMBERS, vesting_micro=400_000)
    earn(pool, pool.node, tag="one")
    number = pool.run_round().number
    assert levy_shares(pool.view, number) == ()
    earn(pool, pool.node, tag="two")
    earn(pool, pool.node, tag="three")
    earn(pool, pool.node, tag="four")
    number = pool.run_round().number
    assert [share.account for share in levy_shares(pool.view, number)] == [pool.node.public_key]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"rule_set": 3, "levy_use": LevyUse.VALIDATORS}, "only burns"),
        ({"rule_set": 3, "levy_use": LevyUse.MEMBERS, "admission": Admission.APPROVAL}, "only burns"),
        ({"rule_set": 4, "levy_use": LevyUse.MEMBERS}, "anybody"),
    ],
)
def test_parameters_say_what_their_rule_set_can(changes: dict[str, object], match: str) -> None:
    with pytest.raises(CreditLedgerError, match=match) as caught:
        Pool(registered=False, **changes)  # type: ignore[arg-type]
    assert type(caught.value) is RefusedError
    Pool(registered=False, rule_set=4, levy_use=LevyUse.VALIDATORS)
    Pool(registered=False, rule_set=4, levy_use=LevyUse.MEMBERS, admission=Admission.APPROVAL)

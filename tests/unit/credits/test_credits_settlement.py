"""Settlement, vesting and slashing: who is paid what, when it is theirs, and what is burned."""

import pytest

from creditledger.credits import reading, tariff
from creditledger.credits.account import check_invariant
from creditledger.credits.fold import due_settlements, propose_settlement
from creditledger.credits.jobs import JobStatus
from creditledger.errors import BusyError, HoldClosedError, RefusedError, UnknownIdError
from creditledger.records.job import Job
from creditledger.records.receipt import Receipt
from creditledger.records.state import AccountState, HoldStatus
from creditledger.records.transfer import Settlement
from creditledger.records.verdict import Outcome, Reason
from fakes.cast import HOUR_MS, MODEL, fake_digest
from fakes.pool import Pool

FUNDS = 20_000_000


def funded(members: int = 2, **changes: object) -> Pool:
    pool = Pool(members=members, **changes)
    pool.fund(pool.client, FUNDS)
    return pool


def propose(pool: Pool, job: Job) -> Settlement:
    return propose_settlement(pool.view, job.digest(pool.ledger_id), pool.ledger_id, now_unix_ms=pool.now)


def account(pool: Pool, signer: object) -> AccountState:
    found = reading.account_state(pool.view, signer.public_key)  # type: ignore[attr-defined]
    assert found is not None
    return found


def price(layers: int, first: int, positions: int) -> int:
    return tariff.span_price(MODEL, tariff.span_flops(MODEL, layers, first, positions))


def worked(pool: Pool, positions: int = 600, **changes: object) -> tuple[Job, list[list[Receipt]]]:
    job = pool.order(pool.node, pool.other_node, **changes)
    chains = pool.work(job, positions)
    pool.deliver(chains)
    return job, chains


def reveal_verdicts(pool: Pool, number: int, hidden: dict[int, set[bytes]]) -> None:
    """Both members reveal: upheld, but no data for what was ``hidden`` from each."""
    verdicts = {
        member: [
            verdict.replace(outcome=Outcome.INCONCLUSIVE, reason=Reason.NO_DATA)
            if verdict.receipt in hidden.get(member, ())
            else verdict
            for verdict in pool.papers.verdicts(number, member, reading.duties_of(pool.view, member, number))
        ]
        for member in (0, 1)
    }
    for member, found in verdicts.items():
        pool.submit(pool.papers.commit(member, found))
    for member, found in verdicts.items():
        pool.submit(pool.papers.reveal(member, found))


def test_each_span_is_paid_its_tariff_once_rounded_down() -> None:
    pool = funded()
    job, _ = worked(pool, max_price_micro=5_000_000)
    record = pool.run_round()
    pool.check_round(record.number)
    settlement = propose(pool, job)
    amount = price(2, 0, 600)
    assert [payment.amount_micro for payment in settlement.payments] == [amount, amount]
    assert [payment.positions for payment in settlement.payments] == [600, 600]
    assert [payment.levy_micro for payment in settlement.payments] == [amount // 100] * 2
    assert settlement.released_micro == 5_000_000 - 2 * amount
    pool.settle(job)
    assert account(pool, pool.client).available_micro == FUNDS - 2 * amount
    assert account(pool, pool.node).unvested_micro == amount - amount // 100
    totals = check_invariant(pool.view)
    assert totals.burned_micro == 2 * (amount // 100)
    digest = job.digest(pool.ledger_id)
    hold = reading.hold_state(pool.view, reading.job_status(pool.view, digest).hold)
    assert (hold.status, hold.captured_micro) == (HoldStatus.SETTLED, 2 * amount)
    lot = reading.lot_state(pool.view, digest, 2)
    assert (lot.node, lot.amount_micro, lot.vested) == (pool.other_node.public_key, amount - amount // 100, 0)
    assert all(
        reading.receipt_state(pool.view, receipt).settled
        for layer in (0, 2)
        for _, receipt in reading.job_receipts(pool.view, digest, layer)
    )
    assert reading.node_standing(pool.view, pool.node.public_key).settled_micro == amount


def test_what_the_client_did_not_accept_is_neither_paid_nor_settled() -> None:
    """Two of three windows are accepted: these are settled, the third stays as it was."""
    pool = funded()
    job = pool.order(pool.node)
    (chain,) = pool.work(job, 600)
    pool.deliver([chain[:2]])
    pool.check_round(pool.run_round().number)
    assert [payment.positions for payment in propose(pool, job).payments] == [512]
    pool.settle(job)
    states = [reading.receipt_state(pool.view, receipt.digest(pool.ledger_id)) for receipt in chain]
    assert [state.settled for state in states] == [1, 1, 0]


def test_the_bound_caps_all_payments_in_plan_order() -> None:
    pool = funded()
    amount = price(2, 0, 600)
    job, _ = worked(pool, max_price_micro=amount + 7)
    pool.check_round(pool.run_round().number)
    settlement = propose(pool, job)
    assert [payment.amount_micro for payment in settlement.payments] == [amount, 7]
    assert settlement.released_micro == 0
    pool.settle(job)
    check_invariant(pool.view)


def test_only_what_was_delivered_and_passed_is_paid() -> None:
    """The second window is refuted once, the third inconclusive, the fourth never delivered."""
    pool = funded()
    job = pool.order(max_price_micro=5_000_000)
    (chain,) = pool.work(job, 1024)
    pool.deliver([chain[:3]])
    record = pool.run_round()
    outcomes = {
        chain[1].digest(pool.ledger_id): Outcome.REFUTED,
        chain[2].digest(pool.ledger_id): Outcome.INCONCLUSIVE,
    }
    pool.check_round(record.number, outcomes=outcomes)
    (payment,) = propose(pool, job).payments
    assert (payment.positions, payment.amount_micro) == (256, price(4, 0, 256))


def test_an_unchecked_receipt_counts_as_passed() -> None:
    pool = funded(probation_micro=0, check_floor_ppm=0)
    job, _ = worked(pool, max_price_micro=5_000_000)
    pool.run_round()
    assert propose(pool, job).payments[0].positions == 600


def test_work_that_nobody_showed_is_burned_at_its_price() -> None:
    """The client is not refunded for inputs it withheld; a span whose inputs were shown is paid."""
    pool = funded()
    job, chains = worked(pool, max_price_micro=5_000_000)
    record = pool.run_round()
    hidden = {receipt.digest(pool.ledger_id) for receipt in chains[0]}
    reveal_verdicts(pool, record.number, {0: hidden, 1: hidden})
    amount = price(2, 0, 600)
    settlement = propose(pool, job)
    assert settlement.burned_micro == amount
    assert [payment.layer_start for payment in settlement.payments] == [2]
    assert settlement.released_micro == 5_000_000 - 2 * amount
    pool.settle(job)
    assert account(pool, pool.node).unvested_micro == 0
    assert check_invariant(pool.view).burned_micro == amount + amount // 100


def test_one_word_of_data_keeps_a_span_from_being_burned() -> None:
    pool = funded()
    job = pool.order(max_price_micro=5_000_000)
    pool.deliver(pool.work(job, 256))
    number = pool.run_round().number
    reveal_verdicts(pool, number, {1: set(reading.duties_of(pool.view, 1, number))})
    settlement = propose(pool, job)
    assert (settlement.payments, settlement.burned_micro) == ((), 0)
    assert settlement.released_micro == 5_000_000


def test_a_lone_validators_word_burns_too() -> None:
    pool = funded(members=1)
    job = pool.order(max_price_micro=5_000_000)
    pool.deliver(pool.work(job, 256))
    number = pool.run_round().number
    gone = reading.duties_of(pool.view, 0, number)
    outcomes = dict.fromkeys(gone, Outcome.INCONCLUSIVE)
    pool.check_round(number, outcomes=outcomes, reason=Reason.NO_DATA)
    assert propose(pool, job).burned_micro == price(4, 0, 256)


def test_settlement_waits_for_round_verdicts_and_the_jobs_end() -> None:
    pool = funded()
    job = pool.order(max_price_micro=5_000_000)
    digest = job.digest(pool.ledger_id)
    pool.now += HOUR_MS - 1
    chains = pool.work(job, 256)
    pool.deliver(chains, closes=False)
    with pytest.raises(RefusedError, match="under way"):
        propose(pool, job)
    pool.now += 1
    with pytest.raises(BusyError, match="no certified round"):
        propose(pool, job)
    number = pool.run_round().number
    with pytest.raises(BusyError, match="checks are due"):
        propose(pool, job)
    assert due_settlements(pool.view, pool.now) == []
    pool.check_round(number)
    assert due_settlements(pool.view, pool.now - 1) == []
    assert due_settlements(pool.view, pool.now) == [digest]
    pool.settle(job)
    assert reading.job_status(pool.view, digest).status == JobStatus.SETTLED
    assert due_settlements(pool.view, pool.now) == []
    with pytest.raises(HoldClosedError):
        propose(pool, job)


def test_a_job_without_deliveries_is_not_settled() -> None:
    pool = funded()
    job = pool.order()
    pool.work(job, 256)
    pool.run_round()
    pool.now += HOUR_MS
    with pytest.raises(RefusedError, match="nothing was delivered"):
        propose(pool, job)
    with pytest.raises(UnknownIdError):
        propose_settlement(pool.view, fake_digest("none"), pool.ledger_id)
    with pytest.raises(RefusedError, match="another ledger"):
        propose_settlement(pool.view, job.digest(pool.ledger_id), bytes(32))


def test_a_settlement_is_exactly_what_the_checks_give() -> None:
    pool = funded()
    job, _ = worked(pool, max_price_micro=5_000_000)
    pool.check_round(pool.run_round().number)
    good = propose(pool, job)
    generous = good.payments[0].replace(amount_micro=good.payments[0].amount_micro + 1)
    for bad in (
        good.replace(payments=(generous, good.payments[1])),
        good.replace(payments=good.payments[::-1]),
        good.replace(payments=good.payments[:1]),
        good.replace(released_micro=good.released_micro + 1),
        good.replace(burned_micro=1),
    ):
        pool.refuse(pool.papers.signed(pool.papers.operator, bad), RefusedError, "not what the checks give")
    pool.submit(pool.papers.signed(pool.papers.operator, good))


def test_prices_are_those_of_the_jobs_parameters() -> None:
    pool = funded()
    job, _ = worked(pool, max_price_micro=5_000_000)
    dearer = MODEL.replace(micro_per_tflop=MODEL.micro_per_tflop * 10)
    pool.submit(pool.papers.parameters(pool.parameters.replace(sequence=1, levy_ppm=0, models=(dearer,))))
    pool.check_round(pool.run_round().number)
    payment = propose(pool, job).payments[0]
    assert (payment.amount_micro, payment.levy_micro) == (price(2, 0, 600), price(2, 0, 600) // 100)


def settled(pool: Pool, tag: object = 0) -> Job:
    job = pool.order(max_price_micro=1_000_000, tag=tag, expires_unix_ms=pool.now + HOUR_MS)
    pool.deliver(pool.work(job, 256))
    pool.check_round(pool.run_round().number)
    pool.settle(job)
    return job


def test_a_lot_vests_after_enough_rounds() -> None:
    pool = funded(vesting_rounds=2)
    job = settled(pool)
    earned = account(pool, pool.node).unvested_micro
    pool.run_round()
    assert account(pool, pool.node).unvested_micro == earned
    pool.run_round()
    assert (account(pool, pool.node).unvested_micro, account(pool, pool.node).available_micro) == (0, earned)
    assert reading.lot_state(pool.view, job.digest(pool.ledger_id), 0).vested == 1
    pool.run_round()
    assert account(pool, pool.node).available_micro == earned


def test_a_lot_vests_after_enough_time() -> None:
    pool = funded(vesting_rounds=1, vesting_ms=1_000)
    settled(pool)
    pool.now += 999
    pool.run_round()
    assert account(pool, pool.node).available_micro == 0
    pool.now += 1
    pool.run_round()
    assert account(pool, pool.node).unvested_micro == 0


def test_a_lot_vests_after_enough_later_work() -> None:
    amount = price(4, 0, 256)
    pool = funded(vesting_rounds=1, vesting_micro=amount)
    first = settled(pool, tag=1)
    pool.run_round()
    assert account(pool, pool.node).available_micro == 0
    second = settled(pool, tag=2)
    pool.run_round()
    assert reading.lot_state(pool.view, first.digest(pool.ledger_id), 0).vested == 1
    assert reading.lot_state(pool.view, second.digest(pool.ledger_id), 0).vested == 0
    assert account(pool, pool.node).available_micro == account(pool, pool.node).unvested_micro


def test_suspension_stops_lots_that_would_be_due() -> None:
    pool = funded(vesting_rounds=3)
    settled(pool, tag="good")
    earned = account(pool, pool.node).unvested_micro
    job = pool.order(tag="bad", max_price_micro=1_000_000)
    (receipt,) = pool.work(job, 256)[0]
    number = pool.run_round().number
    pool.check_round(number, outcomes={receipt.digest(pool.ledger_id): Outcome.REFUTED})
    for _ in range(4):
        pool.run_round()
    assert (account(pool, pool.node).unvested_micro, account(pool, pool.node).available_micro) == (earned, 0)


def test_a_slash_burns_unvested_credits_the_newest_first_and_never_more() -> None:
    pool = funded(vesting_rounds=50)
    first, second = settled(pool, tag=1), settled(pool, tag=2)
    burned = check_invariant(pool.view).burned_micro
    earned = reading.lot_state(pool.view, first.digest(pool.ledger_id), 0).amount_micro
    pool.submit(pool.papers.slash(pool.node.public_key, earned + 10))
    assert account(pool, pool.node).unvested_micro == 2 * earned
    pool.run_round()
    assert account(pool, pool.node).unvested_micro == earned - 10
    assert reading.lot_state(pool.view, first.digest(pool.ledger_id), 0).amount_micro == earned - 10
    assert reading.lot_state(pool.view, second.digest(pool.ledger_id), 0).amount_micro == 0
    pool.submit(pool.papers.slash(pool.node.public_key, 10**9))
    pool.run_round()
    assert account(pool, pool.node).unvested_micro == 0
    assert check_invariant(pool.view).burned_micro == burned + 2 * earned

"""specs/redemption.md §3 and §4: one account at a real ledger."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from creditledger.activations.delivered import delivered_root
from creditledger.credits import reading
from creditledger.errors import (
    BusyError,
    ConflictError,
    ExpiredError,
    HoldExpiredError,
    InsufficientCreditError,
    MalformedRecordError,
    OpeningError,
    RefusedError,
    RoleError,
    UnknownIdError,
)
from creditledger.ledger.keyring import KeyFile, KeyRole, save_key
from creditledger.ledger.ledger import Ledger
from creditledger.minting.work_order import WorkOrder
from creditledger.quantities import AMOUNT_MAX
from creditledger.records.job import PlanSpan
from creditledger.records.kinds import Kind
from creditledger.records.receipt import BF16_NUMERICS, Batch, OutputKind, Receipt
from creditledger.records.transfer import Hold, Transfer
from creditledger.redemption.order import Order
from creditledger.redemption.statement import statement
from creditledger.redemption.voucher import Voucher
from creditledger.redemption.wallet import Wallet
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes
from unit.redemption.redeeming_pool import (
    CLIENT,
    GRANTED,
    MODEL,
    NODE,
    QUEUE,
    QUOTE_VALID_MS,
    RedeemingPool,
    signed,
)

PLAN = [PlanSpan(layer_start=0, layer_stop=12, node=NODE.public_key)]
INPUTS, OUTPUTS = (np.full((300, 4), value, dtype=np.float32) for value in (0.5, 1.5))


def work(ledger: Ledger, order: WorkOrder, *, outputs: NDArray[np.float32]) -> None:
    """A node's two receipts for 300 positions, as a logged batch."""
    receipts: list[Receipt] = []
    for start, stop in ((0, 256), (256, 300)):
        receipts.append(
            Receipt(
                job=order.job.digest(ledger.id),
                node=NODE.public_key,
                layer_start=0,
                layer_stop=12,
                window_start=start,
                positions=stop - start,
                input_root=delivered_root(
                    INPUTS[start:stop], boundary_key=order.input_key, first_position=start
                ),
                output_root=delivered_root(
                    outputs[start:stop], boundary_key=order.output_key, first_position=start
                ),
                sketch=bytes(32),
                previous=receipts[-1].digest(ledger.id) if receipts else bytes(32),
                model=MODEL,
                numerics=BF16_NUMERICS,
                output_kind=OutputKind.ACTIVATIONS,
                sampler=bytes(32),
                started_unix_ms=0,
                duration_ms=1,
            )
        )
    bodies = [receipt.encode() for receipt in receipts]
    batch = Batch(
        node=NODE.public_key,
        root=root_from_leaf_hashes(leaf_hash(body) for body in bodies),
        count=len(bodies),
        sealed=hashlib.sha256(b"sealed").digest(),
        audit_epoch=0,
    )
    ledger.append(signed(batch, NODE, ledger.id, [*bodies, b"sealed"]))


def test_an_order_is_logged_with_the_hold_that_covers_it(pool: RedeemingPool) -> None:
    with pool.open() as ledger:
        before = pool.wallet(ledger).balance()
        order = pool.wallet(ledger).order(MODEL, PLAN, 300, 5_000)
        after = pool.wallet(ledger).balance()
        with ledger.read() as view:
            progress = reading.job_status(view, order.job.digest(ledger.id))
            assert progress is not None
            hold = reading.hold_body(view, progress.hold)
    assert isinstance(hold, Hold)
    assert (hold.id, hold.amount_micro, hold.job) == (
        order.job.hold_id,
        5_000,
        order.job.digest(pool.wallet().ledger_id),
    )
    assert before.available_micro - after.available_micro == 5_000 == after.held_micro - before.held_micro
    assert Order.decode(order.encode()) == order


def test_every_order_has_its_own_ids_and_secret(pool: RedeemingPool) -> None:
    orders = [pool.wallet().order(MODEL, PLAN, 1, 1) for _ in range(2)]
    assert len({order.secret for order in orders} | {order.job.id for order in orders}) == 4


def test_an_order_beyond_the_credits_is_refused_and_moves_nothing(pool: RedeemingPool) -> None:
    before = pool.wallet().balance()
    with pytest.raises(InsufficientCreditError):
        pool.wallet().order(MODEL, PLAN, 1, GRANTED + 1)
    assert pool.wallet().balance() == before


def test_orders_the_rules_do_not_know_are_refused(pool: RedeemingPool) -> None:
    with pytest.raises(UnknownIdError):
        pool.wallet().order(b"\0" * 32, PLAN, 1, 1)
    with pytest.raises(MalformedRecordError):
        pool.wallet().order(MODEL, [], 1, 1)
    with pytest.raises(ExpiredError):
        pool.wallet().order(MODEL, PLAN, 1, 1, expires_unix_ms=1)


def test_confirming_countersigns_what_was_received(pool: RedeemingPool) -> None:
    """DESIGN's shape: order, work, confirm; again is the same countersignature."""
    with pool.open() as ledger:
        wallet = pool.wallet(ledger)
        order = wallet.order(MODEL, PLAN, 300, 5_000)
        work(ledger, order.work_order(0), outputs=OUTPUTS)
        delivered = wallet.confirm(order, {0: INPUTS, 12: OUTPUTS})
        assert [head.positions for head in delivered.delivery.heads] == [300]
        assert (delivered.refused, delivered.delivery.closes) == ((), 1)
        again = wallet.confirm(order, {0: INPUTS, 12: OUTPUTS})
        assert again.acknowledgement.repeated
        assert again.acknowledgement.index == delivered.acknowledgement.index


def test_confirming_leaves_out_what_was_not_received(pool: RedeemingPool) -> None:
    """One wrong row in the second window: only the first is countersigned."""
    claimed = OUTPUTS.copy()
    claimed[280, 0] = 9
    with pool.open() as ledger:
        wallet = pool.wallet(ledger)
        order = wallet.order(MODEL, PLAN, 300, 5_000)
        work(ledger, order.work_order(0), outputs=claimed)
        delivered = wallet.confirm(order, {12: OUTPUTS}, closes=False)
        assert [head.positions for head in delivered.delivery.heads] == [256]
        assert [receipt.window_start for receipt in delivered.refused] == [256]
        assert delivered.delivery.closes == 0


def test_nothing_is_countersigned_where_nothing_fits_or_nothing_is_there(pool: RedeemingPool) -> None:
    with pool.open() as ledger:
        wallet = pool.wallet(ledger)
        order = wallet.order(MODEL, PLAN, 300, 5_000)
        with pytest.raises(BusyError):
            wallet.confirm(order)
        work(ledger, order.work_order(0), outputs=OUTPUTS)
        size = ledger.size
        with pytest.raises(OpeningError):
            wallet.confirm(order, {12: INPUTS})
        with pytest.raises(OpeningError):
            wallet.confirm(order.replace(secret=bytes(32)), {12: OUTPUTS})
        assert ledger.size == size
        stranger = order.replace(job=order.job.replace(max_positions=1))
        with pytest.raises(UnknownIdError):
            wallet.confirm(stranger)


def test_a_hold_becomes_a_voucher_with_the_next_certified_round(pool: RedeemingPool) -> None:
    held = pool.hold()
    with pytest.raises(BusyError):
        _ = held.voucher
    pool.certify()
    proven = Voucher.load(held.voucher).verify(
        pool.policy(), queue=QUEUE.public_key, now_unix_ms=pool.clock()
    )
    assert proven.digest == held.digest
    assert proven.hold == held.hold


def test_a_repeated_hold_is_a_success_and_holds_once(pool: RedeemingPool) -> None:
    """H4: the same id and quote are the same record, also after the quote has expired."""
    quote, made = pool.quote(), b"\x11" * 16
    wallet = pool.wallet()
    first = wallet.hold(quote, made)
    held = wallet.balance().held_micro
    pool.clock.ahead_ms += QUOTE_VALID_MS + 1
    again = wallet.hold(quote, made)
    assert (again.digest, again.acknowledgement.index) == (first.digest, first.acknowledgement.index)
    assert again.acknowledgement.repeated
    assert wallet.balance().held_micro == held
    with pytest.raises(ExpiredError):
        wallet.hold(quote, b"\x12" * 16)


def test_the_same_id_with_another_quote_is_a_conflict(pool: RedeemingPool) -> None:
    pool.wallet().hold(pool.quote(), b"\x13" * 16)
    with pytest.raises(ConflictError):
        pool.wallet().hold(pool.quote(gpus=2), b"\x13" * 16)


def test_a_hold_on_a_changed_quote_is_refused(pool: RedeemingPool) -> None:
    cheap = pool.quote().replace(amount_micro=1)
    with pytest.raises(RefusedError):
        pool.wallet().hold(cheap)
    with pytest.raises(RefusedError):
        pool.wallet().hold(pool.quote(gpus=1_000, duration_ms=10**9))


def test_a_hold_that_would_have_expired_is_refused(pool: RedeemingPool) -> None:
    quote = pool.quote(duration_ms=1)
    with pytest.raises(HoldExpiredError):
        pool.wallet().hold(quote, start_within_ms=-QUOTE_VALID_MS - 1)


def test_transfers_move_exactly_once(pool: RedeemingPool) -> None:
    wallet = pool.wallet()
    before = wallet.balance().available_micro
    first = wallet.transfer(QUEUE.public_key, 7, b"\x21" * 16)
    again = wallet.transfer(QUEUE.public_key, 7, b"\x21" * 16)
    assert (again.repeated, again.index) == (True, first.index)
    assert before - wallet.balance().available_micro == 7
    with pytest.raises(ConflictError):
        wallet.transfer(QUEUE.public_key, 8, b"\x21" * 16)
    with pytest.raises(InsufficientCreditError):
        wallet.transfer(QUEUE.public_key, AMOUNT_MAX)
    with pytest.raises(MalformedRecordError):
        wallet.transfer(CLIENT.public_key, 1)
    with pytest.raises(UnknownIdError):
        wallet.transfer(b"\x77" * 32, 1)


def test_a_wallet_reads_its_key_from_a_file_of_its_ledger(pool: RedeemingPool, tmp_path: Path) -> None:
    key = KeyFile(role=KeyRole.CLIENT, secret=b"\1" * 32)
    save_key(tmp_path / "alice.key", key)
    assert Wallet(pool.path, key=tmp_path / "alice.key").account == CLIENT.public_key
    save_key(tmp_path / "foreign.key", replace(key, ledger_id=bytes(32)))
    with pytest.raises(RoleError):
        Wallet(pool.path, key=tmp_path / "foreign.key")
    with pytest.raises(RoleError):
        Wallet(pool.path, key=pool.path / "keys" / "operator.key")


def test_an_unregistered_wallet_has_no_balance(pool: RedeemingPool) -> None:
    wallet = Wallet(pool.path, key=Ed25519Signer(b"\x55" * 32))
    with pytest.raises(UnknownIdError):
        wallet.balance()
    with pytest.raises(UnknownIdError):
        wallet.statement()


def test_a_statement_runs_from_nothing_to_the_balance(pool: RedeemingPool) -> None:
    """I10: every line's balance is the one before plus its changes, and the last one is the ledger's."""
    pool.wallet().transfer(QUEUE.public_key, 3)
    pool.hold()
    with pool.open() as ledger:
        ledger.complete_round()
        lines = pool.wallet(ledger).statement()
        available = held = 0
        for line in lines:
            available += line.available_change
            held += line.held_change
            assert (available, held) == (line.available_after, line.balance.held_micro)
            entry = ledger.entry(line.index)
            assert (entry.record.KIND, entry.time_unix_ms) == (line.kind, line.time_unix_ms)
            assert entry.record.digest(ledger.id) == line.digest
        assert lines[-1].balance == pool.wallet(ledger).balance()
        assert [line.index for line in lines] == sorted({line.index for line in lines})


def test_a_grant_shows_when_announced_and_moves_when_certified(pool: RedeemingPool) -> None:
    lines = pool.wallet().statement()
    assert [line.kind for line in lines[:3]] == [Kind.REGISTRATION, Kind.GRANT, Kind.CERTIFICATE]
    assert [line.available_change for line in lines[:3]] == [0, 0, GRANTED]


def test_a_statement_shows_only_what_concerns_the_account(pool: RedeemingPool) -> None:
    pool.wallet().transfer(QUEUE.public_key, 5)
    with Ledger.open(pool.path, read_only=True) as ledger:
        lines = statement(ledger, QUEUE.public_key)
        assert {line.balance.account for line in lines} == {QUEUE.public_key}
        assert lines[-1].available_change == 5
        assert isinstance(ledger.entry(lines[-1].index).record, Transfer)
        with pytest.raises(UnknownIdError):
            statement(ledger, b"\x99" * 32)


def test_a_wallet_quotes_the_price_that_the_parameters_list(pool: RedeemingPool) -> None:
    """By name or id, and only for what has a price."""
    wallet = pool.wallet()
    quote = wallet.quote("gpus", hardware="h100", gpus=2, duration_ms=1_500)
    assert quote.amount_micro == 2 * 1_500 * quote.micro_per_gpu_second // 1_000
    assert wallet.quote(QUEUE.public_key, hardware="h100", gpus=2, duration_ms=1_500).queue == quote.queue
    with pytest.raises(UnknownIdError):
        wallet.quote("nobody", hardware="h100", gpus=2, duration_ms=1_500)
    with pytest.raises(UnknownIdError):
        wallet.quote("gpus", hardware="abacus", gpus=2, duration_ms=1_500)

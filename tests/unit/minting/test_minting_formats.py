"""Nodes mint in the format they compute in, numpy or torch. Source: specs/minting.md §2."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from creditledger.activations.bf16 import to_bf16_bits
from creditledger.activations.delivered import verify_delivered
from creditledger.activations.row_format import rounded_to
from creditledger.errors import ActivationError
from creditledger.minting.rows import host_rows, own_rows
from creditledger.records.receipt import BF16_NUMERICS, Dtype, Receipt
from fakes.tiny_llama import SHAPE
from fakes.working_pool import WorkingPool, audit_key

VALUES = np.random.default_rng(6).standard_normal((256, SHAPE.hidden)).astype(np.float32)
FORMATS = [Dtype.BF16, Dtype.FP16, Dtype.FP32]


def numpy_rows(delivered: Dtype) -> np.ndarray:
    return {
        Dtype.BF16: to_bf16_bits(VALUES),
        Dtype.FP16: VALUES.astype(np.float16),
        Dtype.FP32: VALUES,
    }[delivered]


def torch_rows(delivered: Dtype) -> Any:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    kinds = {Dtype.BF16: torch.bfloat16, Dtype.FP16: torch.float16, Dtype.FP32: torch.float32}
    return torch.from_numpy(VALUES).to(kinds[delivered])


def minted(pool: WorkingPool, rows: Any, delivered: Dtype) -> tuple[Receipt, bytes]:
    minter = pool.minter(0, numerics=BF16_NUMERICS.replace(activations=delivered))
    with minter.session(pool.work_order(pool.order(tag=delivered), 0)) as session:
        session.record(inputs=rows, outputs=rows, positions=range(256))
    assert minter.failures == {}
    (receipt,) = session.receipts
    return receipt, session.order.input_key


@pytest.mark.parametrize("delivered", FORMATS)
def test_the_root_is_over_the_bytes_of_the_format(pool: WorkingPool, delivered: Dtype) -> None:
    """And the sealed inputs come back in it."""
    rows = numpy_rows(delivered)
    receipt, key = minted(pool, rows, delivered)
    assert receipt.numerics.activations == delivered
    verify_delivered(rows, boundary_key=key, first_position=0, root=receipt.input_root)
    opened = pool.minter(0)._kept.open_inputs(receipt.input_root, audit_key(0))
    assert opened.rows.dtype == rows.dtype
    assert np.array_equal(opened.rows, rows)


@pytest.mark.torch
@pytest.mark.parametrize("delivered", FORMATS)
def test_torch_rows_give_the_receipt_of_numpy_rows(
    make_pool: Callable[..., WorkingPool], delivered: Dtype
) -> None:
    """Whatever their strides."""
    expected, _ = minted(make_pool(), numpy_rows(delivered), delivered)
    rows = torch_rows(delivered)
    strided = rows.t().contiguous().t()
    assert not strided.is_contiguous()
    for given in (rows, strided):
        receipt, _ = minted(make_pool(), given, delivered)
        assert (receipt.input_root, receipt.output_root) == (expected.input_root, expected.output_root)


@pytest.mark.torch
@pytest.mark.parametrize("delivered", FORMATS)
def test_owned_rows_are_read_where_they_lie(delivered: Dtype) -> None:
    """One copy, made when they are taken over; bf16 is looked at as its bits."""
    owned = own_rows(torch_rows(delivered))
    seen = host_rows(owned)
    assert seen.__array_interface__["data"][0] == owned.data_ptr()
    assert np.array_equal(seen, numpy_rows(delivered))


@pytest.mark.parametrize("delivered", FORMATS)
@pytest.mark.parametrize("given", FORMATS)
def test_rows_of_another_format_cost_the_receipt(pool: WorkingPool, delivered: Dtype, given: Dtype) -> None:
    """Nothing is converted behind the node's back: the bytes are what was delivered."""
    minter = pool.minter(0, numerics=BF16_NUMERICS.replace(activations=delivered))
    with minter.session(pool.work_order(pool.order(), 0)) as session:
        session.record(inputs=numpy_rows(given), outputs=numpy_rows(given), positions=range(256))
    assert len(session.receipts) == (given == delivered)
    assert set(minter.failures) == (set() if given == delivered else {"ActivationError"})


def test_a_policy_that_no_row_can_have_is_refused_at_once(pool: WorkingPool) -> None:
    with pytest.raises(ActivationError):
        pool.minter(0, numerics=BF16_NUMERICS.replace(activations=Dtype.INT8))


def test_infinite_halves_make_no_receipt(pool: WorkingPool) -> None:
    """What fp16 cannot hold was not computed either."""
    rows = rounded_to(VALUES * np.float32(1e6), Dtype.FP16).astype(np.float16)
    minter = pool.minter(0, numerics=BF16_NUMERICS.replace(activations=Dtype.FP16))
    with minter.session(pool.work_order(pool.order(), 0)) as session:
        session.record(inputs=rows, outputs=rows, positions=range(256))
    assert session.receipts == []
    assert set(minter.failures) == {"ActivationError"}

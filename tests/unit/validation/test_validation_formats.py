"""fp16 and fp32 nodes are held to the precision they declare. Source: specs/check.md §5.1."""

import numpy as np
import pytest

from creditledger.activations.bf16 import to_bf16_bits
from creditledger.activations.row_format import rounded_to
from creditledger.activations.runners.degraded import degrade_model
from creditledger.activations.runners.numpy_llama import NumpyLlama
from creditledger.minting.sealed_evidence import seal_inputs
from creditledger.records.receipt import BF16_NUMERICS, Dtype
from creditledger.records.verdict import Outcome, Reason
from creditledger.validation.judgement import Judgement
from creditledger.validation.validator import Committed
from fakes.tiny_llama import SHAPE, inputs_of
from fakes.working_pool import CountedBytes, Kernel, WorkingPool, audit_key


def exact(pool: WorkingPool, kind: str | None = None) -> Kernel:
    """float32 inside, of the declared model or of a worse one."""
    model = (
        pool.model.model
        if kind is None
        else degrade_model(pool.model.model, kind, layer_start=0, layer_stop=2)
    )

    def run(inputs: np.ndarray, layer_start: int, layer_stop: int) -> np.ndarray:
        return NumpyLlama(model).reference(inputs, layer_start=layer_start, layer_stop=layer_stop)

    return run


def judged(
    pool: WorkingPool, delivered: Dtype, kernel: Kernel, *, declared: Dtype | None = None
) -> Judgement:
    """Node 0's one receipt, judged by validator 0."""
    numerics = BF16_NUMERICS.replace(activations=declared or delivered)
    rows = rounded_to(inputs_of(SHAPE, 256, seed=5), delivered)
    outputs = rounded_to(kernel(rows, 0, 2), delivered)
    minter = pool.minter(0, numerics=numerics)
    with minter.session(pool.work_order(pool.order(), 0)) as session:
        session.record(inputs=rows, outputs=outputs, positions=range(256))
    assert session.receipts
    minter.flush()
    pool.certify()
    committed = next(action for action in pool.step(0) if isinstance(action, Committed))
    (judgement,) = committed.judgements.values()
    return judgement


@pytest.mark.parametrize("delivered", [Dtype.FP16, Dtype.FP32])
def test_honest_declared_activations_are_upheld(pool: WorkingPool, delivered: Dtype) -> None:
    judgement = judged(pool, delivered, exact(pool))
    assert (judgement.outcome, judgement.reason) == (Outcome.UPHELD, Reason.MATCH)
    assert judgement.ratio < 0.2


@pytest.mark.parametrize("delivered", [Dtype.FP16, Dtype.FP32])
@pytest.mark.parametrize("cheat", ["int8", "bf16"])
def test_less_than_was_declared_is_refuted(pool: WorkingPool, delivered: Dtype, cheat: str) -> None:
    """int8 weights; and bf16 arithmetic, which a bf16 policy would allow."""
    kernel = pool.model.honest if cheat == "bf16" else exact(pool, cheat)
    judgement = judged(pool, delivered, kernel)
    assert (judgement.outcome, judgement.reason) == (Outcome.REFUTED, Reason.RATIO)


def test_the_same_bf16_kernel_is_upheld_where_bf16_is_declared(pool: WorkingPool) -> None:
    judgement = judged(pool, Dtype.BF16, pool.model.honest)
    assert judgement.outcome == Outcome.UPHELD


def test_the_same_bytes_in_another_format_are_no_inputs(pool: WorkingPool) -> None:
    """bf16 bits shown as fp16 are under the root as well, and would be other numbers: NO_DATA."""
    job = pool.order()
    receipt = pool.run(job)[0][0]
    bits = to_bf16_bits(inputs_of(SHAPE, 256, seed=5))
    sealed = seal_inputs(
        bits.view(np.float16),
        sorted(audit_key(index).public_key for index in range(2)),
        boundary_key=pool.work_order(job, 0).input_key,
        first_position=0,
        ledger_id=pool.ledger.id,
        input_root=receipt.input_root,
        random_bytes=CountedBytes("other format"),
    )
    (pool.ledger.directory.evidence / receipt.input_root.hex()).write_bytes(sealed)
    pool.certify()
    committed = next(action for action in pool.step(0) if isinstance(action, Committed))
    found = committed.judgements[receipt.digest(pool.ledger.id)]
    assert (found.outcome, found.reason) == (Outcome.INCONCLUSIVE, Reason.NO_DATA)

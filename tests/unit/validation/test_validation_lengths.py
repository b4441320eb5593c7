"""Rows of layer 0 that no embedding is like in length. Source: specs/validation.md §5."""

from collections.abc import Callable

import numpy as np
import pytest

from creditledger.activations.bf16 import round_bf16
from creditledger.activations.model import ModelDescription
from creditledger.records.job import Job
from creditledger.records.receipt import Receipt
from creditledger.records.verdict import Outcome, Reason
from creditledger.validation.judgement import Judgement
from creditledger.validation.validator import Committed
from fakes.tiny_llama import SHAPE, inputs_of
from fakes.working_pool import Kernel, WorkingModel, WorkingPool

UPHELD = (Outcome.UPHELD, Reason.MATCH)
BLIND = (Outcome.INCONCLUSIVE, Reason.RESOLUTION)


def rows_of(
    model: WorkingModel, positions: int, *, odd: int | None = None, length: float = 1.0
) -> np.ndarray:
    """Rows as an honest client's; row ``odd`` has ``length`` times the longest embedding's length."""
    rows = inputs_of(SHAPE, positions, seed=5)
    if odd is not None:
        rows[odd] *= length * model.runner.embedding_lengths().longest / np.linalg.norm(rows[odd])
    return round_bf16(rows)


def work(
    pool: WorkingPool, rows: np.ndarray, *, node: int = 0, kernel: Kernel | None = None
) -> tuple[Job, list[Receipt]]:
    """Node ``node`` runs its span on ``rows``."""
    job, start = pool.order(positions=len(rows)), 2 * node
    outputs = (kernel or pool.model.honest)(rows, start, start + 2)
    minter = pool.minter(node)
    with minter.session(pool.work_order(job, start)) as session:
        session.record(inputs=rows, outputs=outputs, positions=range(len(rows)))
    assert minter.failures == {}
    minter.flush()
    return job, session.receipts


def judged(pool: WorkingPool, receipts: list[Receipt], **changes: object) -> list[tuple[Outcome, Reason]]:
    """What validator 0 says of each receipt, in order."""
    pool.certify()
    validator = pool.validator(0, journal=pool.folder / "lengths", **changes)
    actions = validator.step()
    validator.close()
    found: dict[bytes, Judgement] = {}
    for action in actions:
        found |= action.judgements if isinstance(action, Committed) else {}
    chosen = [found[receipt.digest(pool.ledger.id)] for receipt in receipts]
    return [(judgement.outcome, judgement.reason) for judgement in chosen]


@pytest.mark.parametrize(("length", "expected"), [(1.98, UPHELD), (2.02, BLIND), (1000.0, BLIND)])
def test_one_row_too_long_leaves_the_check_open(
    pool: WorkingPool, length: float, expected: tuple[Outcome, Reason]
) -> None:
    """Up to twice the longest embedding an honest node passes: prompts may be tuned."""
    _, receipts = work(pool, rows_of(pool.model, 256, odd=17, length=length))
    assert judged(pool, receipts) == [expected]


@pytest.mark.parametrize(("share", "expected"), [(0.51, UPHELD), (0.49, BLIND), (0.0, BLIND)])
def test_one_row_too_short_leaves_the_check_open(
    pool: WorkingPool, share: float, expected: tuple[Outcome, Reason]
) -> None:
    lengths = pool.model.runner.embedding_lengths()
    rows = rows_of(pool.model, 256, odd=255, length=share * lengths.shortest / lengths.longest)
    _, receipts = work(pool, rows)
    assert judged(pool, receipts) == [expected]


@pytest.mark.parametrize("scale", [3.0, 16.0, 1000.0, 1e5, 0.1, 0.01])
@pytest.mark.parametrize("kind", ["honest", "int8", "noise"])
def test_scaled_inputs_neither_pass_a_cheat_nor_frame_a_node(
    pool: WorkingPool, scale: float, kind: str
) -> None:
    rows = round_bf16(inputs_of(SHAPE, 256, seed=5) * np.float32(scale))
    kernels: dict[str, Kernel] = {
        "honest": pool.model.honest,
        "noise": pool.model.noise,
        "int8": pool.model.degraded("int8"),
    }
    _, receipts = work(pool, rows, kernel=kernels[kind])
    assert judged(pool, receipts) == [BLIND]


@pytest.mark.parametrize(
    ("odd", "expected"), [(511, [UPHELD, BLIND]), (256, [UPHELD, BLIND]), (255, [BLIND, BLIND])]
)
def test_a_row_blinds_its_window_and_those_after_it(
    pool: WorkingPool, odd: int, expected: list[tuple[Outcome, Reason]]
) -> None:
    """Later positions attend to it; earlier ones never saw it."""
    _, receipts = work(pool, rows_of(pool.model, 512, odd=odd, length=1000.0))
    assert judged(pool, receipts) == expected


def test_later_layers_take_rows_of_any_length(pool: WorkingPool) -> None:
    """Streams grow from layer to layer, and the span before answers for what it delivers."""
    _, receipts = work(pool, rows_of(pool.model, 256, odd=17, length=20.0), node=1)
    assert judged(pool, receipts) == [UPHELD]


class WithoutRuler:
    """A runner that cannot say how long embeddings are."""

    def __init__(self, model: WorkingModel) -> None:
        self.model: ModelDescription = model.runner.model
        self.reference: Callable[..., np.ndarray] = model.runner.reference
        self.yardstick: Callable[..., np.ndarray] = model.runner.yardstick


@pytest.mark.parametrize(("node", "expected"), [(1, UPHELD), (0, (Outcome.INCONCLUSIVE, Reason.NO_PROFILE))])
def test_without_a_ruler_spans_from_layer_0_stay_open(
    pool: WorkingPool, node: int, expected: tuple[Outcome, Reason]
) -> None:
    _, receipts = work(pool, rows_of(pool.model, 256), node=node)
    assert judged(pool, receipts, runner=WithoutRuler(pool.model)) == [expected]

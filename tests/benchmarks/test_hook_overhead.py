"""What attaching costs the inference thread at batch 1: run with ``pytest tests/benchmarks``."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from creditledger.activations.calibration import CalibrationProfile
from creditledger.records.receipt import BF16_NUMERICS
from fakes.working_fixtures import make_pool, working_model
from fakes.working_pool import WorkingPool

__all__ = ["make_pool", "working_model"]

torch = pytest.importorskip("torch", reason="torch is not installed: there is no inference thread")
transformers = pytest.importorskip("transformers", reason="transformers, beside torch, is not installed")
pytestmark = pytest.mark.torch

LAYERS = 30
HIDDEN = 576
CONTEXT = 128
PAIRS = 300


@pytest.fixture
def model() -> Iterator[Any]:
    """SmolLM2-135M's shape with random weights: time does not depend on their values."""
    config = transformers.LlamaConfig(
        vocab_size=1024, hidden_size=HIDDEN, intermediate_size=1536, num_hidden_layers=LAYERS,
        num_attention_heads=9, num_key_value_heads=3, max_position_embeddings=8192,
    )  # fmt: skip
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield transformers.LlamaForCausalLM(config).to(torch.bfloat16).eval()
    torch.set_num_threads(before)


def decoder(model: Any) -> Callable[[], None]:
    """One decode step at a context of `CONTEXT` positions, the same each time."""
    tokens = torch.zeros(1, CONTEXT, dtype=torch.long)
    cache = model(tokens, use_cache=True).past_key_values

    def step() -> None:
        model(tokens[:, :1], past_key_values=cache, use_cache=True)
        cache.crop(-1)

    return step


def test_attached_decode_step(
    benchmark: BenchmarkFixture, model: Any, make_pool: Callable[..., WorkingPool]
) -> None:
    """Steps with and without `rows` alternate: the difference is what minting takes from the model.

    ``extra_info``: a layer's decode time, what two hooks take, and the latter as a share."""
    pool = make_pool()
    profile = CalibrationProfile(
        model=pool.model.model.description.digest,
        layer_start=0,
        layer_stop=2,
        numerics=BF16_NUMERICS,
        exponents_biased=bytes([8]) * HIDDEN,
        resolution_median_ppm=10**8,
        yardstick_ppb=(1, 2, 3, 4, 5),
    )
    minter = pool.minter(0, profiles={2: profile})
    minter.attach(model, layers=range(LAYERS))
    session = minter.session(pool.work_order(pool.order(positions=4096), 0))
    with torch.no_grad():
        step = decoder(model)
        for _ in range(10):
            step()
        plain, minting = [], []
        for _ in range(PAIRS):
            plain.append(_timed(step))
            with minter.rows({session: slice(0, 1)}):
                minting.append(_timed(step))
        with minter.rows({session: slice(0, 1)}):
            benchmark.pedantic(step, rounds=20)
    assert minter.failures == {}
    assert len(session.receipts) == (PAIRS + 20) // 256
    layer = statistics.median(plain) / LAYERS
    taken = statistics.median(np.subtract(minting, plain))
    benchmark.extra_info |= {
        "layer_us": round(layer * 1e6, 1),
        "taken_us": round(taken * 1e6, 1),
        "share_of_the_span": round(taken / layer / LAYERS, 5),
    }
    assert taken < 0.01 * layer * LAYERS


def test_two_hooks_alone(benchmark: BenchmarkFixture, make_pool: Callable[..., WorkingPool]) -> None:
    """The same on a block that does nothing: what two hooks take, without a model's noise."""
    pool = make_pool()
    block = torch.nn.ModuleList([torch.nn.Identity()])
    minter = pool.minter(0)
    minter.attach(block, layers=range(1))
    rows = torch.zeros(1, 1, 128, dtype=torch.bfloat16)
    session = minter.session(pool.work_order(pool.order(positions=10**6), 0))
    with minter.rows({session: slice(0, 1)}), torch.no_grad():
        benchmark.pedantic(lambda: block[0](rows), rounds=2000, warmup_rounds=50)
    assert minter.failures == {}


def _timed(step: Callable[[], None]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began

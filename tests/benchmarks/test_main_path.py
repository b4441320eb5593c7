"""What a receipt costs on its way: run with ``pytest tests/benchmarks``."""

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from creditledger.activations.bf16 import round_bf16, to_bf16_bits
from creditledger.activations.delivered import delivered_root
from creditledger.activations.sketch import sketch
from creditledger.records.receipt import Receipt
from fakes.pool import Pool

POSITIONS = 32


@pytest.mark.parametrize("hidden", [576, 1024, 4096])
def test_commitment_of_32_positions(benchmark: BenchmarkFixture, hidden: int) -> None:
    """Root and sketch of one block of rows; the goal is 0.35 ms at 1,024 and 1 ms at 4,096."""
    values = round_bf16(np.random.default_rng(0).standard_normal((POSITIONS, hidden), dtype=np.float32))
    rows, exponents = to_bf16_bits(values), np.zeros(hidden, np.int8)

    def commit() -> None:
        root = delivered_root(rows, boundary_key=bytes(32), first_position=0)
        sketch(rows, seed=root, exponents=exponents)

    benchmark(commit)


def test_decode_a_receipt(benchmark: BenchmarkFixture) -> None:
    pool = Pool()
    pool.fund(pool.client, 10_000_000)
    ((receipt, *_),) = pool.work(pool.order(pool.node), 300)
    encoded = receipt.encode()
    assert benchmark(lambda: Receipt.decode(encoded)) == receipt

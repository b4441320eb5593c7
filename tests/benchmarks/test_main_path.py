"""What a receipt costs on its way: run with ``pytest tests/benchmarks``."""

from pathlib import Path

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from creditledger.activations.bf16 import round_bf16, to_bf16_bits
from creditledger.activations.delivered import delivered_root
from creditledger.activations.sketch import sketch
from creditledger.ledger.founding import create_pool
from creditledger.records.entry import Submission
from creditledger.records.receipt import Receipt
from creditledger.records.registration import Registration, Role
from creditledger.transparency.keys import Ed25519Signer
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


def test_append_256_records_in_one_commit(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """Signatures, rules, tree, fold, flush and head file for 256 registrations."""
    ledger = create_pool(tmp_path / "pool", origin="bench.invalid/log")
    made = 0

    def group() -> tuple[tuple[object, ...], dict[str, object]]:
        nonlocal made
        submissions = []
        for _ in range(256):
            made += 1
            signer = Ed25519Signer(made.to_bytes(32, "big"))
            record = Registration(
                account=signer.public_key,
                role=Role.NODE,
                name=f"node-{made}",
                next_key=bytes(32),
                admission=b"",
            )
            signature = signer.sign(record.signing_bytes(ledger.id))
            submissions.append(Submission(record=record, signature=signature))
        return (submissions,), {}

    benchmark.pedantic(ledger.submit, setup=group, rounds=5)
    ledger.close()

"""What commits a node to 32 rows of outputs, beside building TOPLOC's proof of them."""

from importlib import import_module

import numpy as np

from benchmarks.comparison import Comparison, at_least, times
from creditledger.activations.bf16 import round_bf16, to_bf16_bits
from creditledger.activations.delivered import delivered_root
from creditledger.activations.sketch import sketch

POSITIONS, HIDDEN, TOP_K = 32, 4_096, 128
JOB = f"commitment of {POSITIONS} rows of {HIDDEN:,}"


def test_commitment(compare: Comparison) -> None:
    """Root and sketch. TOPLOC as its authors use it: 128 largest values of 32 tokens, one proof."""
    values = round_bf16(np.random.default_rng(0).standard_normal((POSITIONS, HIDDEN), dtype=np.float32))
    rows, exponents = to_bf16_bits(values), np.zeros(HIDDEN, np.int8)

    def commit() -> None:
        root = delivered_root(rows, boundary_key=bytes(32), first_position=0)
        sketch(rows, seed=root, exponents=exponents)

    try:
        torch, poly = import_module("torch"), import_module("toploc.poly")
    except ImportError as error:
        compare.alone(JOB, commit, why=f"toploc cannot be imported: {str(error)[:40]}")
        return
    torch.set_num_threads(1)
    activations = [torch.from_numpy(values).to(torch.bfloat16)]
    if (
        poly.build_proofs(activations, POSITIONS, TOP_K)[0].to_bytes()
        == poly.ProofPoly.null(TOP_K).to_bytes()
    ):
        compare.alone(JOB, commit, why="toploc builds no proof with this torch")
        return
    compare(
        JOB,
        times(10, commit),
        against="TOPLOC's build",
        reference=times(10, lambda: poly.build_proofs(activations, POSITIONS, TOP_K)[0].to_bytes()),
        goal=at_least(8),
        items=10,
    )

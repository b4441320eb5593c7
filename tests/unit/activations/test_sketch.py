"""The sketch, against loops over Python integers written from specs/check.md §2."""

import hashlib
import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from creditledger.activations.bf16 import round_bf16, to_bf16_bits
from creditledger.activations.sketch import (
    SketchContext,
    numerics_bytes,
    read_sketch,
    signed_sums,
    sketch,
    sketch_bytes,
    sketch_commitment,
    sketch_seed,
    verify_sketch,
)
from creditledger.errors import ActivationError, OpeningError
from creditledger.records.receipt import BF16_NUMERICS, OutputKind, Receipt

VECTOR = Path(__file__).parents[2] / "vectors" / "check" / "sketch.json"
SEED = bytes(range(32))
CONTEXT = SketchContext(
    model=b"\1" * 32,
    layer_start=4,
    layer_stop=8,
    job=b"\2" * 32,
    window_start=256,
    node=b"\3" * 32,
    input_root=b"\4" * 32,
    numerics=b"\5" * 7,
)


def naive_sums(rows: np.ndarray, seed: bytes, exponents: list[int]) -> list[list[int]]:
    """Written from the specification alone: Python integers, one bit at a time."""
    width = len(exponents)
    sums = []
    for t, row in enumerate(rows.tolist()):
        block, line = divmod(t, 32)
        stream = hashlib.shake_128(seed + struct.pack("<I", block)).digest(32 * 2 * width // 8)
        pair = []
        for k in range(2):
            total = 0
            for j, (value, exponent) in enumerate(zip(row, exponents, strict=True)):
                unit = min(max(round(value * 2.0 ** (exponent + 12)), -(2**38)), 2**38)
                bit = (line * 2 + k) * width + j
                total += unit if stream[bit // 8] >> (bit % 8) & 1 else -unit
            pair.append(total)
        sums.append(pair)
    return sums


def naive_bytes(sums: list[list[int]]) -> bytes:
    stored = [min(max(s / 2.0**20, -65504.0), 65504.0) for pair in sums for s in pair]
    return b"".join(struct.pack("<e", value) for value in stored)


def rows_and_exponents(positions: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(width)
    rows = round_bf16((rng.standard_normal((positions, width)) * 50).astype(np.float32))
    return rows, rng.integers(-8, 9, width).astype(np.int8)


@pytest.mark.parametrize(("positions", "width"), [(1, 1), (3, 5), (33, 7), (40, 24), (64, 8)])
def test_sketch_equals_a_naive_reading_of_the_specification(positions: int, width: int) -> None:
    rows, exponents = rows_and_exponents(positions, width)
    sums = naive_sums(rows, SEED, exponents.tolist())
    assert signed_sums(rows, seed=SEED, exponents=exponents).tolist() == sums
    assert sketch_bytes(sketch(rows, seed=SEED, exponents=exponents)) == naive_bytes(sums)


def test_bit_patterns_and_their_values_have_one_sketch() -> None:
    rows, exponents = rows_and_exponents(9, 16)
    from_bits = sketch(to_bf16_bits(rows), seed=SEED, exponents=exponents)
    assert np.array_equal(from_bits, sketch(rows, seed=SEED, exponents=exponents))


def test_signs_start_again_with_each_window() -> None:
    """Block numbers count inside the window: the seed alone tells windows apart."""
    rows, exponents = rows_and_exponents(64, 8)
    rows[32:] = rows[:32]
    whole = sketch(rows, seed=SEED, exponents=exponents)
    assert np.array_equal(whole[:32], sketch(rows[32:], seed=SEED, exponents=exponents))
    assert not np.array_equal(whole[:32], whole[32:])


def test_the_largest_sums_are_exact_and_saturate() -> None:
    rows = np.full((1, 32_768), 3e38, np.float32)
    sums = signed_sums(rows, seed=SEED, exponents=np.zeros(32_768, np.int8))
    ones = int.from_bytes(hashlib.shake_128(SEED + bytes(4)).digest(4096), "little").bit_count()
    assert sums[0, 0] == (2 * ones - 32_768) * 2**38
    stored = sketch(np.full((1, 1), 3e38, np.float32), seed=SEED, exponents=np.zeros(1, np.int8))
    assert np.abs(stored).tolist() == [[65504.0, 65504.0]]


def test_zero_is_stored_without_a_sign() -> None:
    rows = np.array([[-1e-9, 1e-9, -0.0]], np.float32)
    stored = sketch(rows, seed=SEED, exponents=np.zeros(3, np.int8))
    assert sketch_bytes(stored) == bytes(4)


def test_stored_vector() -> None:
    vector = json.loads(VECTOR.read_text())
    context = SketchContext(
        **{
            name: bytes.fromhex(value) if isinstance(value, str) else value
            for name, value in vector["context"].items()
        }
    )
    assert context.digest().hex() == vector["context_digest"]
    seed = sketch_seed(context, bytes.fromhex(vector["output_root"]))
    assert seed.hex() == vector["seed"]
    rows = np.array(vector["rows_bf16"], dtype=np.uint16)
    exponents = np.array(vector["exponents"], dtype=np.int8)
    assert signed_sums(rows, seed=seed, exponents=exponents).tolist() == vector["sums"]
    encoded = sketch_bytes(sketch(rows, seed=seed, exponents=exponents))
    assert encoded.hex() == vector["sketch"]
    salt = bytes.fromhex(vector["salt"])
    assert sketch_commitment(salt, encoded).hex() == vector["commitment"]


@pytest.mark.parametrize(
    "change",
    [
        {"model": b"\0" * 32},
        {"layer_start": 3},
        {"layer_stop": 9},
        {"job": b"\0" * 32},
        {"window_start": 0},
        {"node": b"\0" * 32},
        {"input_root": b"\0" * 32},
        {"numerics": b"\5" * 8},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_of_the_context_changes_the_seed(change: dict) -> None:
    assert sketch_seed(replace(CONTEXT, **change), SEED) != sketch_seed(CONTEXT, SEED)


@pytest.mark.parametrize("change", [{"job": b"\2" * 16}, {"layer_start": -1}, {"node": b""}])
def test_a_malformed_context_is_refused(change: dict) -> None:
    with pytest.raises(ActivationError):
        replace(CONTEXT, **change).digest()


def test_the_context_of_a_receipt_is_what_the_receipt_says() -> None:
    receipt = Receipt(
        job=CONTEXT.job,
        node=CONTEXT.node,
        layer_start=4,
        layer_stop=8,
        window_start=256,
        positions=256,
        input_root=CONTEXT.input_root,
        output_root=SEED,
        sketch=SEED,
        previous=bytes(32),
        model=CONTEXT.model,
        numerics=BF16_NUMERICS,
        output_kind=OutputKind.ACTIVATIONS,
        sampler=bytes(32),
        started_unix_ms=1,
        duration_ms=1,
    )
    expected = replace(CONTEXT, numerics=numerics_bytes(BF16_NUMERICS))
    assert SketchContext.of_receipt(receipt) == expected


def test_rows_that_are_not_finite_are_refused() -> None:
    rows, exponents = rows_and_exponents(2, 4)
    sketch(rows, seed=SEED, exponents=exponents)
    for bad in (np.nan, np.inf, -np.inf):
        broken = rows.copy()
        broken[1, 2] = bad
        with pytest.raises(ActivationError):
            sketch(broken, seed=SEED, exponents=exponents)


@pytest.mark.parametrize(
    "exponents",
    [np.zeros(5, np.int8), np.zeros(4, np.int16), np.full(4, 9, np.int8), np.full(4, -9, np.int8)],
    ids=["width", "dtype", "nine", "minus-nine"],
)
def test_exponents_that_do_not_fit_are_refused(exponents: np.ndarray) -> None:
    rows, _ = rows_and_exponents(2, 4)
    for edge in (8, -8):
        sketch(rows, seed=SEED, exponents=np.full(4, edge, np.int8))
    with pytest.raises(ActivationError):
        sketch(rows, seed=SEED, exponents=exponents)


def test_a_seed_of_another_length_is_refused() -> None:
    rows, exponents = rows_and_exponents(2, 4)
    with pytest.raises(ActivationError):
        sketch(rows, seed=SEED[:31], exponents=exponents)


def test_the_commitment_opens_to_its_sketch_only() -> None:
    rows, exponents = rows_and_exponents(5, 8)
    values = sketch(rows, seed=SEED, exponents=exponents)
    encoded, salt = sketch_bytes(values), b"\7" * 32
    commitment = sketch_commitment(salt, encoded)
    opened = verify_sketch(salt, encoded, commitment=commitment, positions=5)
    assert np.array_equal(opened, values)
    changed = bytes([encoded[0] ^ 1]) + encoded[1:]
    for other_salt, other, positions in (
        (b"\6" * 32, encoded, 5),
        (salt[:31], encoded, 5),
        (salt, changed, 5),
        (salt, encoded, 4),
    ):
        with pytest.raises(OpeningError):
            verify_sketch(other_salt, other, commitment=commitment, positions=positions)


@pytest.mark.parametrize("encoded", [b"", bytes(3), bytes(6), b"\0\x7c\0\0", b"\0\x7e\0\0"])
def test_bytes_that_no_sketch_has_are_refused(encoded: bytes) -> None:
    """Nothing, a torn row, an infinity, a NaN; the nearest acceptance is the largest float16."""
    assert read_sketch(b"\xff\x7b\0\0").tolist() == [[65504.0, 0.0]]
    with pytest.raises(OpeningError):
        read_sketch(encoded)
    with pytest.raises(ActivationError):
        sketch_bytes(np.full((1, 2), np.inf, np.float16))
    with pytest.raises(ActivationError):
        sketch_bytes(np.zeros((1, 3), np.float16))

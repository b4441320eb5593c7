"""Inclusion proofs from disk at three sizes, beside pymerkle in memory and in SQLite."""

import random
from pathlib import Path

import pytest
from pymerkle import InmemoryTree, SqliteTree

from benchmarks.comparison import Comparison, at_least, at_most
from benchmarks.sample_logs import entry, log_of, prove_some

COUNT = 200
GOALS = {10_000: None, 100_000: None, 1_000_000: at_least(8, or_within=25e-6)}


@pytest.mark.parametrize("size", [10_000, 100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_inclusion_proof(compare: Comparison, tmp_path: Path, size: int) -> None:
    """Our entries lie on disk, pymerkle's in memory."""
    chance, tree = random.Random(size), InmemoryTree()
    tree.append_entries(entry(index) for index in range(size))
    with log_of(tmp_path / "store", size) as store:
        compare(
            f"inclusion proof from disk, {size:,} entries",
            lambda: prove_some(store, chance, count=COUNT),
            against="pymerkle in memory",
            reference=lambda: prove_with(tree, chance, size, count=COUNT // 4),
            items=COUNT,
            reference_items=COUNT // 4,
            goal=GOALS[size],
        )


@pytest.mark.slow
def test_inclusion_proof_beside_sqlite(compare: Comparison, tmp_path: Path) -> None:
    """At 100,000 entries: pymerkle's SQLite tree asks for whole ranges."""
    size, chance = 100_000, random.Random(1)
    with log_of(tmp_path / "store", size) as store, SqliteTree(str(tmp_path / "tree")) as tree:
        tree.append_entries(entry(index) for index in range(size))
        compare(
            f"inclusion proof from disk, {size:,} entries",
            lambda: prove_some(store, chance, count=COUNT),
            against="pymerkle in SQLite",
            reference=lambda: prove_with(tree, chance, size, count=5),
            items=COUNT,
            reference_items=5,
            goal=None,
        )


@pytest.mark.slow
def test_inclusion_proofs_grow_slowly(compare: Comparison, tmp_path: Path) -> None:
    small, large = 10_000, 1_000_000
    chance = random.Random(2)
    with log_of(tmp_path / "small", small) as few, log_of(tmp_path / "large", large) as many:
        compare(
            f"inclusion proof, {large:,} entries",
            lambda: prove_some(many, chance, count=COUNT),
            against=f"{small:,} entries",
            reference=lambda: prove_some(few, chance, count=COUNT),
            items=COUNT,
            goal=at_most(3.5),
        )


def prove_with(tree: InmemoryTree | SqliteTree, chance: random.Random, size: int, *, count: int) -> None:
    """pymerkle counts from 1."""
    for _ in range(count):
        tree.prove_inclusion(chance.randrange(size) + 1, size)

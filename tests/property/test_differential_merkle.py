"""The tree against a recursion written as RFC 6962 writes it, and against pymerkle.

L5: the proofs that another program would make, and no others. ``CREDITLEDGER_DIFFERENTIAL`` is the number of
cases of all differential tests."""

import os
import random
from functools import lru_cache
from hashlib import sha256

from pymerkle import InmemoryTree

from creditledger.transparency.merkle import (
    append_nodes,
    consistency_proof,
    inclusion_proof,
    node_hash,
    prove_consistency,
    prove_inclusion,
    root_from_leaf_hashes,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

CASES = int(os.environ.get("CREDITLEDGER_DIFFERENTIAL", "50000"))
SMALL, LARGE = 512, 2**20


def entry(index: int) -> bytes:
    return index.to_bytes(4, "big")


def leaf(index: int) -> bytes:
    return sha256(b"\0" + entry(index)).digest()


def split(start: int, stop: int) -> int:
    """Where RFC 6962 §2.1 divides a range: after the largest power of two below its width."""
    width = 1
    while width * 2 < stop - start:
        width *= 2
    return start + width


@lru_cache(maxsize=2**16)
def kept_root(start: int, stop: int) -> bytes:
    return joined(start, stop)


def naive_root(start: int, stop: int) -> bytes:
    """MTH(D[start:stop])."""
    if stop == start:
        return sha256(b"").digest()
    if stop - start == 1:
        return leaf(start)
    return kept_root(start, stop) if stop - start > 64 or stop <= SMALL else joined(start, stop)


def joined(start: int, stop: int) -> bytes:
    middle = split(start, stop)
    return sha256(b"\1" + naive_root(start, middle) + naive_root(middle, stop)).digest()


def naive_path(index: int, start: int, stop: int) -> list[bytes]:
    """PATH(m, D[n]) of RFC 6962 §2.1.1."""
    if stop - start == 1:
        return []
    middle = split(start, stop)
    if index < middle:
        return [*naive_path(index, start, middle), naive_root(middle, stop)]
    return [*naive_path(index, middle, stop), naive_root(start, middle)]


def naive_proof(first: int, start: int, stop: int, *, whole: bool = True) -> list[bytes]:
    """SUBPROOF(m, D[n], b) of RFC 6962 §2.1.2, m counted from the first leaf of the tree."""
    if first == stop:
        return [] if whole else [naive_root(start, stop)]
    middle = split(start, stop)
    if first <= middle:
        return [*naive_proof(first, start, middle, whole=whole), naive_root(middle, stop)]
    return [*naive_proof(first, middle, stop, whole=False), naive_root(start, middle)]


class Nodes:
    """All complete nodes of a tree, a byte array per level."""

    def __init__(self, size: int) -> None:
        self._levels: list[bytearray] = [bytearray()]
        for level, index, value in append_nodes(self.read, 0, map(leaf, range(size))):
            if level == len(self._levels):
                self._levels.append(bytearray())
            assert len(self._levels[level]) == 32 * index
            self._levels[level] += value

    def read(self, level: int, index: int) -> bytes:
        found = bytes(self._levels[level][32 * index : 32 * index + 32])
        assert len(found) == 32
        return found


def check_inclusion(nodes: Nodes, index: int, size: int, root: bytes) -> None:
    proof = prove_inclusion(nodes.read, index=index, size=size)
    assert proof == naive_path(index, 0, size)
    verify_inclusion(leaf=leaf(index), index=index, size=size, proof=proof, root=root)


def check_consistency(nodes: Nodes, first: int, second: int, roots: tuple[bytes, bytes]) -> None:
    proof = prove_consistency(nodes.read, first=first, second=second)
    assert proof == ([] if first == 0 else naive_proof(first, 0, second))
    verify_consistency(first=first, second=second, first_root=roots[0], second_root=roots[1], proof=proof)


def test_every_small_tree_is_that_of_the_recursion() -> None:
    """All m <= n <= 512: 131,328 inclusion proofs and 131,841 consistency proofs."""
    nodes = Nodes(SMALL)
    roots = [naive_root(0, size) for size in range(SMALL + 1)]
    for size in range(SMALL + 1):
        assert tree_root(nodes.read, size=size) == roots[size]
        for index in range(size):
            check_inclusion(nodes, index, size, roots[size])
        for first in range(size + 1):
            check_consistency(nodes, first, size, (roots[first], roots[size]))


def test_large_trees_are_those_of_the_recursion() -> None:
    chance, nodes = random.Random(7), Nodes(LARGE)
    for _ in range(CASES // 100):
        power = 1 << chance.randint(1, 20)
        size = chance.choice([chance.randint(1, LARGE), power, power - 1])
        first, index = chance.randint(0, size), chance.randrange(size)
        roots = naive_root(0, first), naive_root(0, size)
        assert roots == (tree_root(nodes.read, size=first), tree_root(nodes.read, size=size))
        check_inclusion(nodes, index, size, roots[1])
        check_consistency(nodes, first, size, roots)


def test_pymerkle_makes_the_same_roots_and_proofs() -> None:
    """Its paths carry, besides ours, the leaf itself, and in a consistency proof the old tree's own nodes."""
    chance, other, leaves = random.Random(8), InmemoryTree(algorithm="sha256"), []
    for index in range(SMALL):
        other.append_entry(entry(index))
        leaves.append(leaf(index))
        assert other.get_root() == root_from_leaf_hashes(leaves)
    for _ in range(CASES // 50):
        size = chance.randint(1, SMALL)
        index, first = chance.randrange(size), chance.randint(1, size)
        theirs = [
            bytes.fromhex(value) for value in other.prove_inclusion(index + 1, size).serialize()["path"]
        ]
        ours = inclusion_proof(leaves, index, size)
        assert sorted(theirs) == sorted([*ours, leaves[index]])
        path = [bytes.fromhex(value) for value in other.prove_consistency(first, size).serialize()["path"]]
        assert set(consistency_proof(leaves, first, size)) <= {*path, *pairs_of(path)}


def pairs_of(path: list[bytes]) -> set[bytes]:
    """What two neighbours on a path hash to, over and over from the right, as ours joins them."""
    found = set()
    for start in range(len(path)):
        carried = path[start]
        for value in path[start + 1 :]:
            carried = node_hash(carried, value)
            found.add(carried)
    return found

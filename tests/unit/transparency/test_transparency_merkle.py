"""The RFC 6962 tree against fixed roots, published vectors and its own refusals."""

import base64
import json
from hashlib import sha256
from pathlib import Path

import pytest

from creditledger.errors import ConsistencyProofError, InclusionProofError
from creditledger.transparency.merkle import (
    EMPTY_ROOT,
    append_nodes,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    prove_inclusion,
    root_from_leaf_hashes,
    tree_root,
    verify_consistency,
    verify_inclusion,
)
from published_vectors import Tally

LEAVES = [leaf_hash(bytes([value])) for value in range(9)]


def test_hashes_are_those_of_rfc_6962() -> None:
    assert sha256(b"").digest() == EMPTY_ROOT
    assert leaf_hash(b"x") == sha256(b"\x00x").digest()
    assert node_hash(LEAVES[0], LEAVES[1]) == sha256(b"\x01" + LEAVES[0] + LEAVES[1]).digest()
    assert root_from_leaf_hashes([]) == EMPTY_ROOT
    left, right = node_hash(LEAVES[0], LEAVES[1]), LEAVES[2]
    assert root_from_leaf_hashes(LEAVES[:3]) == node_hash(left, right)


def test_a_leaf_hash_is_not_a_node_hash() -> None:
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != node_hash(LEAVES[0], LEAVES[1])


def test_inclusion_is_refused_for_each_wrong_part() -> None:
    root = root_from_leaf_hashes(LEAVES)
    proof = inclusion_proof(LEAVES, 5, 9)
    good = {"leaf": LEAVES[5], "index": 5, "size": 9, "proof": proof, "root": root}
    verify_inclusion(**good)  # type: ignore[arg-type]
    wrong = [
        {"leaf": LEAVES[4]},
        {"index": 4},
        {"index": 9},
        {"index": -1},
        {"size": 8},
        {"size": 0},
        {"size": 2**63},
        {"proof": proof[:-1]},
        {"proof": [*proof, bytes(32)]},
        {"proof": [proof[0][:31], *proof[1:]]},
        {"proof": proof[::-1]},
        {"root": bytes(32)},
        {"leaf": b""},
    ]
    for change in wrong:
        with pytest.raises(InclusionProofError):
            verify_inclusion(**{**good, **change})  # type: ignore[arg-type]


def test_consistency_is_refused_for_each_wrong_part() -> None:
    roots = [root_from_leaf_hashes(LEAVES[:size]) for size in range(10)]
    proof = consistency_proof(LEAVES, 6, 9)
    good = {
        "first": 6,
        "second": 9,
        "first_root": roots[6],
        "second_root": roots[9],
        "proof": proof,
    }
    verify_consistency(**good)  # type: ignore[arg-type]
    wrong = [
        {"first": 5},
        {"first": 9},
        {"first": 10},
        {"first": 0},
        {"first": -1},
        {"second": 8},
        {"first_root": roots[5]},
        {"second_root": roots[8]},
        {"first_root": roots[9], "second_root": roots[6]},
        {"proof": []},
        {"proof": proof[1:]},
        {"proof": [*proof, bytes(32)]},
        {"proof": [proof[0] + b"\0", *proof[1:]]},
    ]
    for change in wrong:
        with pytest.raises(ConsistencyProofError):
            verify_consistency(**{**good, **change})  # type: ignore[arg-type]


def test_the_empty_tree_is_a_prefix_of_every_tree() -> None:
    root = root_from_leaf_hashes(LEAVES)
    verify_consistency(first=0, second=9, first_root=EMPTY_ROOT, second_root=root, proof=[])
    with pytest.raises(ConsistencyProofError):
        verify_consistency(first=0, second=9, first_root=root, second_root=root, proof=[])
    with pytest.raises(ConsistencyProofError):
        verify_consistency(first=0, second=9, first_root=EMPTY_ROOT, second_root=root, proof=[root])


def test_proofs_outside_the_tree_are_refused() -> None:
    with pytest.raises(InclusionProofError):
        inclusion_proof(LEAVES, 9, 9)
    with pytest.raises(InclusionProofError):
        inclusion_proof(LEAVES, 0, 10)
    with pytest.raises(ConsistencyProofError):
        consistency_proof(LEAVES, 4, 3)
    with pytest.raises(ConsistencyProofError):
        consistency_proof(LEAVES, 4, 10)
    assert consistency_proof(LEAVES, 0, 9) == consistency_proof(LEAVES, 9, 9) == []


def test_a_proof_reads_few_nodes_of_a_large_tree() -> None:
    """O(log n): a store can answer from its nodes, whatever the size."""
    size = 100_003
    nodes = {
        (level, index): value for level, index, value in append_nodes(_no_node, 0, [bytes(31) + b"\1"] * size)
    }
    reads = []

    def read(level: int, index: int) -> bytes:
        reads.append((level, index))
        return nodes[level, index]

    root = tree_root(read, size=size)
    proof = prove_inclusion(read, index=77_777, size=size)
    assert len(reads) < 60
    verify_inclusion(leaf=bytes(31) + b"\1", index=77_777, size=size, proof=proof, root=root)


def test_published_inclusion_vectors(vectors: Path, ran: Tally) -> None:
    """L5, L6: wrong lengths, spare nodes, swapped sizes, indices beyond the tree; and the good ones."""
    files = sorted((vectors / "transparency-dev-merkle/testdata/inclusion").rglob("*.json"))
    for file in files:
        case = json.loads(file.read_text())
        arguments = {
            "leaf": _decode(case["leafHash"]),
            "index": case["leafIdx"],
            "size": case["treeSize"],
            "proof": list(map(_decode, case["proof"] or [])),
            "root": _decode(case["root"]),
        }
        if case["wantErr"]:
            with pytest.raises(InclusionProofError):
                verify_inclusion(**arguments)
        else:
            verify_inclusion(**arguments)
    ran("transparency-dev-merkle inclusion", len(files), "as published")


def test_published_consistency_vectors(vectors: Path, ran: Tally) -> None:
    """L5: the same of consistency."""
    files = sorted((vectors / "transparency-dev-merkle/testdata/consistency").rglob("*.json"))
    for file in files:
        case = json.loads(file.read_text())
        arguments = {
            "first": case["size1"],
            "second": case["size2"],
            "first_root": _decode(case["root1"]),
            "second_root": _decode(case["root2"]),
            "proof": list(map(_decode, case["proof"] or [])),
        }
        if case["wantErr"]:
            with pytest.raises(ConsistencyProofError):
                verify_consistency(**arguments)
        else:
            verify_consistency(**arguments)
    ran("transparency-dev-merkle consistency", len(files), "as published")


def test_published_subtree_inclusion_vectors(vectors: Path, ran: Tally) -> None:
    """A subtree is a tree, once it begins where a subtree of its width may begin."""
    files = sorted((vectors / "transparency-dev-merkle/testdata/subtreeinclusion").rglob("*.json"))
    for file in files:
        case = json.loads(file.read_text())
        start, width = case["start"], case["end"] - case["start"]
        is_subtree = width > 0 and start % (1 << (width - 1).bit_length()) == 0
        try:
            verify_inclusion(
                leaf=_decode(case["leafHash"]),
                index=case["leafIdx"] - start,
                size=width,
                proof=list(map(_decode, case["proof"] or [])),
                root=_decode(case["root"]),
            )
            is_proven = True
        except InclusionProofError:
            is_proven = False
        assert (is_proven and is_subtree) is not case["wantErr"], file.name
    ran("transparency-dev-merkle subtree inclusion", len(files), "index and size counted from its start")


def test_published_consistency_of_subtrees_from_the_first_leaf(vectors: Path, ran: Tally) -> None:
    """A subtree from leaf 0 is a prefix, and its proof is the proof of RFC 6962.

    Stricter in one: a tree of no leaves whose root is not that of the empty tree is refused."""
    folder = vectors / "transparency-dev-merkle/testdata/subtreeconsistency"
    cases = [json.loads(file.read_text()) for file in sorted(folder.rglob("*.json"))]
    cases = [case for case in cases if case["start"] == 0]
    for case in cases:
        arguments = {
            "first": case["end"],
            "second": case["size"],
            "first_root": _decode(case["root1"]),
            "second_root": _decode(case["root2"]),
            "proof": list(map(_decode, case["proof"] or [])),
        }
        if case["wantErr"] or (case["size"] == 0 and arguments["second_root"] != EMPTY_ROOT):
            with pytest.raises(ConsistencyProofError):
                verify_consistency(**arguments)
        else:
            verify_consistency(**arguments)
    ran(
        "transparency-dev-merkle consistency of subtrees",
        len(cases),
        "from leaf 0; stricter in 1",
    )


def test_published_reference_tree(vectors: Path, ran: Tally) -> None:
    tree = json.loads((vectors / "transparency-dev-merkle/reference_tree.json").read_text())
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in tree["leaf_inputs_hex"]]
    nodes = sorted(append_nodes(_no_node, 0, leaves))
    found = [value.hex() for _, _, value in nodes]
    assert found == tree["node_hashes_flat_level0_then_1_2_3"]
    roots = [root_from_leaf_hashes(leaves[:size]).hex() for size in range(9)]
    assert roots == tree["empty_root"] + tree["root_hashes_size_1_to_8"]
    ran("transparency-dev-merkle reference tree", len(found) + len(roots), "hashes recomputed")


def _decode(value: str | None) -> bytes:
    return base64.b64decode(value or "")


def _no_node(level: int, index: int) -> bytes:
    raise KeyError((level, index))

"""Laws of the RFC 6962 tree, against a definition that recurses as the RFC writes it."""

from hypothesis import given
from hypothesis import strategies as st

from creditledger.errors import ConsistencyProofError, InclusionProofError
from creditledger.transparency.merkle import (
    EMPTY_ROOT,
    append_nodes,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    prove_consistency,
    prove_inclusion,
    root_and_proofs,
    root_from_leaf_hashes,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

SIZE = 70
LEAVES = [leaf_hash(index.to_bytes(2, "big")) for index in range(SIZE)]


def naive_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def nodes_of(appends: list[int]) -> dict[tuple[int, int], bytes]:
    """All nodes after appending as many leaves as each number says, batch by batch."""
    nodes: dict[tuple[int, int], bytes] = {}
    size = 0
    for count in appends:
        new = list(append_nodes(lambda level, index: nodes[level, index], size, LEAVES[size : size + count]))
        for level, index, value in new:
            assert (level, index) not in nodes
            nodes[level, index] = value
        size += count
    return nodes


NODES = nodes_of([SIZE])


def read(level: int, index: int) -> bytes:
    return NODES[level, index]


@given(st.lists(st.integers(0, 20), max_size=5).filter(lambda counts: sum(counts) <= SIZE))
def test_nodes_do_not_depend_on_how_leaves_were_batched(appends: list[int]) -> None:
    assert nodes_of(appends) == nodes_of([sum(appends)])


def test_roots_are_those_of_the_definition() -> None:
    for size in range(SIZE + 1):
        expected = naive_root(LEAVES[:size])
        assert root_from_leaf_hashes(LEAVES[:size]) == expected
        assert tree_root(read, size=size) == expected


def test_every_inclusion_proof_of_small_trees_verifies() -> None:
    for size in range(1, 40):
        root = tree_root(read, size=size)
        for index in range(size):
            proof = prove_inclusion(read, index=index, size=size)
            assert proof == inclusion_proof(LEAVES, index, size)
            verify_inclusion(leaf=LEAVES[index], index=index, size=size, proof=proof, root=root)


def test_all_proofs_at_once_are_those_of_each_leaf() -> None:
    for size in range(SIZE + 1):
        leaves = LEAVES[:size]
        proofs = [tuple(inclusion_proof(leaves, index, size)) for index in range(size)]
        assert root_and_proofs(leaves) == (root_from_leaf_hashes(leaves), proofs)


def test_every_consistency_proof_of_small_trees_verifies() -> None:
    for second in range(40):
        for first in range(second + 1):
            proof = prove_consistency(read, first=first, second=second)
            assert proof == consistency_proof(LEAVES, first, second)
            verify_consistency(
                first=first,
                second=second,
                first_root=tree_root(read, size=first),
                second_root=tree_root(read, size=second),
                proof=proof,
            )


@given(st.data())
def test_an_inclusion_proof_holds_for_one_place_only(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, SIZE))
    index = data.draw(st.integers(0, size - 1))
    other_size = data.draw(st.integers(1, SIZE))
    other_index = data.draw(st.integers(0, other_size - 1))
    proof = prove_inclusion(read, index=index, size=size)
    claimed = {"leaf": LEAVES[other_index], "index": other_index, "size": other_size}
    try:
        verify_inclusion(**claimed, proof=proof, root=tree_root(read, size=size))  # type: ignore[arg-type]
    except InclusionProofError:
        assert (other_index, other_size) != (index, size)
    else:
        # The size is only bound through the shape: the same leaf under the same root.
        assert other_index == index


@given(st.data())
def test_a_flipped_bit_breaks_a_consistency_proof(data: st.DataObject) -> None:
    second = data.draw(st.integers(2, SIZE))
    first = data.draw(st.integers(1, second - 1))
    proof = prove_consistency(read, first=first, second=second)
    at = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    flipped = (int.from_bytes(proof[at], "big") ^ 1 << bit).to_bytes(32, "big")
    broken = [*proof[:at], flipped, *proof[at + 1 :]]
    try:
        verify_consistency(
            first=first,
            second=second,
            first_root=tree_root(read, size=first),
            second_root=tree_root(read, size=second),
            proof=broken,
        )
    except ConsistencyProofError:
        return
    raise AssertionError("a broken proof was accepted")

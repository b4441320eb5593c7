"""Rows of tree nodes: each complete node has one place, and a row ends where the tree does."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creditledger.errors import IntegrityError
from creditledger.ledger.memory_store import MemoryStore
from creditledger.ledger.node_rows import NODE, NodeRows, row_count, row_hashes, row_key, row_place
from creditledger.transparency.merkle import append_nodes, root_from_leaf_hashes


def leaves(size: int) -> list[bytes]:
    return [hashlib.sha256(b"%d" % number).digest() for number in range(size)]


def filled(size: int) -> MemoryStore:
    store = MemoryStore()
    with store.write() as view:
        rows = NodeRows(view)
        for position, leaf in enumerate(leaves(size)):
            for level, index, node in append_nodes(rows.node, position, [leaf]):
                rows.add(level, index, node)
        rows.flush()
    return store


@pytest.mark.parametrize("size", [1, 15, 16, 17, 255, 256, 257, 1_000, 4_097])
def test_every_complete_node_is_found_and_no_other(size: int) -> None:
    hashes = leaves(size)
    with filled(size).read() as view:
        rows = NodeRows(view)
        for level in range(13):
            count = size >> level
            for index in {0, count // 2, count - 1} if count else ():
                expected = root_from_leaf_hashes(hashes[index << level : (index + 1) << level])
                assert rows.node(level, index) == expected
            with pytest.raises(IntegrityError, match=f"tree node {level}/{count} is missing"):
                rows.node(level, count)


@given(st.integers(0, 600))
def test_a_tree_has_as_many_rows_and_hashes_as_its_size_says(size: int) -> None:
    with filled(size).read() as view:
        found = dict(view.scan(NODE))
    assert len(found) == row_count(size)
    assert {key: len(row) // 32 for key, row in found.items()} == {
        key: row_hashes(key, size) for key in found
    }


def test_a_row_that_ends_elsewhere_is_not_gone_on_with() -> None:
    store = filled(5)
    with store.write() as view:
        view.put(row_key(0, 5), (view.get(row_key(0, 5)) or b"") + bytes(32))
        with pytest.raises(IntegrityError, match="does not end before it") as caught:
            NodeRows(view).add(0, 5, bytes(32))
        assert caught.value.expected == f"{32 * row_place(0, 5)} bytes"
    with filled(5).write() as view:
        NodeRows(view).add(0, 5, bytes(32))

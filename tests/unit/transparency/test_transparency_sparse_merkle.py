"""The sparse Merkle map: one root per content, proofs both ways, published vectors."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from creditledger.errors import InclusionProofError, IntegrityError
from creditledger.transparency.sparse_merkle import (
    EMPTY_MAP_ROOT,
    MapProof,
    MemoryNodeStore,
    SparseMerkleMap,
    decode_map_proof,
    encode_map_proof,
    map_inner_hash,
    map_leaf_hash,
    map_path,
    verify_map_proof,
)
from published_vectors import Tally

CONTENT = {f"key {number}".encode(): f"value {number}".encode() for number in range(40)}


def built() -> tuple[SparseMerkleMap, bytes, MemoryNodeStore]:
    store = MemoryNodeStore()
    tree = SparseMerkleMap(store)
    return tree, tree.update(EMPTY_MAP_ROOT, CONTENT), store


def test_a_map_of_one_key_is_its_leaf() -> None:
    tree = SparseMerkleMap(MemoryNodeStore())
    root = tree.update(EMPTY_MAP_ROOT, {b"k": b"v"})
    assert root == sha256(b"\0" + sha256(b"k").digest() + sha256(b"v").digest()).digest()
    verify_map_proof(root=root, key=b"k", value=b"v", proof=tree.prove(root, b"k"))
    verify_map_proof(root=root, key=b"other", value=None, proof=tree.prove(root, b"other"))


def test_the_empty_map_has_nothing() -> None:
    tree = SparseMerkleMap(MemoryNodeStore())
    assert tree.value(EMPTY_MAP_ROOT, b"k") is None
    assert tree.update(EMPTY_MAP_ROOT, {b"k": None}) == EMPTY_MAP_ROOT
    proof = tree.prove(EMPTY_MAP_ROOT, b"k")
    assert proof == b"\1\0\0"
    verify_map_proof(root=EMPTY_MAP_ROOT, key=b"k", value=None, proof=proof)


def test_an_old_root_stays_readable_and_provable() -> None:
    tree, root, _ = built()
    newer = tree.update(root, {b"key 1": b"changed", b"key 2": None, b"new": b"one"})
    assert tree.value(root, b"key 1") == b"value 1"
    assert tree.value(newer, b"key 1") == b"changed"
    assert tree.value(newer, b"key 2") is None
    verify_map_proof(root=root, key=b"key 2", value=b"value 2", proof=tree.prove(root, b"key 2"))
    verify_map_proof(root=newer, key=b"key 2", value=None, proof=tree.prove(newer, b"key 2"))
    back = tree.update(newer, {b"key 1": b"value 1", b"key 2": b"value 2", b"new": None})
    assert back == root


def test_an_empty_value_is_not_absence() -> None:
    tree = SparseMerkleMap(MemoryNodeStore())
    root = tree.update(EMPTY_MAP_ROOT, {b"k": b""})
    proof = tree.prove(root, b"k")
    verify_map_proof(root=root, key=b"k", value=b"", proof=proof)
    with pytest.raises(InclusionProofError):
        verify_map_proof(root=root, key=b"k", value=None, proof=proof)
    assert tree.value(root, b"k") == b""


def test_a_change_writes_few_nodes() -> None:
    """O(depth) per change: the rest of the tree is shared with the old root."""
    tree, root, store = built()
    before = len(store.nodes)
    tree.update(root, {b"key 7": b"again"})
    assert len(store.nodes) - before <= 16


@pytest.mark.parametrize("claim", [b"value 2", b"", None])
def test_another_value_is_refused(claim: bytes | None) -> None:
    tree, root, _ = built()
    proof = tree.prove(root, b"key 1")
    verify_map_proof(root=root, key=b"key 1", value=b"value 1", proof=proof)
    with pytest.raises(InclusionProofError):
        verify_map_proof(root=root, key=b"key 1", value=claim, proof=proof)


def test_absence_is_refused_for_a_key_that_is_there() -> None:
    """Neither another absent key's proof nor the key's own leaf as "another" leaf will do."""
    tree, root, _ = built()
    path = map_path(b"key 1")
    present = decode_map_proof(tree.prove(root, b"key 1"))
    own = MapProof(siblings=present.siblings, is_present=False, other=(path, sha256(b"value 1").digest()))
    with pytest.raises(InclusionProofError, match="place"):
        verify_map_proof(root=root, key=b"key 1", value=None, proof=encode_map_proof(own))
    for number in range(50):
        proof = tree.prove(root, b"absent %d" % number)
        verify_map_proof(root=root, key=b"absent %d" % number, value=None, proof=proof)
        with pytest.raises(InclusionProofError):
            verify_map_proof(root=root, key=b"key 1", value=None, proof=proof)


def test_a_leaf_of_another_branch_does_not_show_absence() -> None:
    """Source: specs/log.md §5: the other leaf shares the first bits, as many as siblings."""
    tree, root, _ = built()
    stranger = decode_map_proof(tree.prove(root, b"key 3"))
    other = (map_path(b"key 3"), sha256(b"value 3").digest())
    proof = encode_map_proof(MapProof(siblings=stranger.siblings, is_present=False, other=other))
    absent = next(
        key
        for key in (b"no %d" % number for number in range(100))
        if map_path(key)[0] >> 7 != map_path(b"key 3")[0] >> 7
    )
    with pytest.raises(InclusionProofError, match="place"):
        verify_map_proof(root=root, key=absent, value=None, proof=proof)


def test_every_changed_byte_of_a_proof_is_refused() -> None:
    tree, root, _ = built()
    for key, value in ((b"key 5", b"value 5"), (b"absent 1", None)):
        proof = tree.prove(root, key)
        verify_map_proof(root=root, key=key, value=value, proof=proof)
        for at in range(len(proof)):
            broken = proof[:at] + bytes([proof[at] ^ 1]) + proof[at + 1 :]
            with pytest.raises(InclusionProofError):
                verify_map_proof(root=root, key=key, value=value, proof=broken)


@pytest.mark.parametrize(
    "proof",
    [
        b"",
        b"\0\0",
        b"\3\0\0",
        b"\0\0\0\0",
        b"\0\1\1" + bytes(33),
        b"\0\0\1\1" + bytes(31),
        b"\0\0\1\1" + bytes(32),
        b"\0\0\1\0",
        b"\0\0\1\3" + b"x" * 64,
        b"\2\0\0" + b"x" * 63,
    ],
    ids=[
        "empty",
        "cut in the head",
        "unknown kind",
        "a byte too many",
        "depth of 257",
        "cut in a sibling",
        "empty sibling spelt out",
        "lowest sibling empty",
        "bit beyond the depth",
        "cut in the other leaf",
    ],
)
def test_malformed_proofs_are_refused(proof: bytes) -> None:
    with pytest.raises(InclusionProofError, match="malformed"):
        decode_map_proof(proof)


def test_a_missing_or_changed_node_is_noticed() -> None:
    tree, root, store = built()
    tree.update(root, {b"key 1": b"x"})
    node = store.nodes[root]
    store.nodes[root] = node[:-1] + bytes([node[-1] ^ 1])
    with pytest.raises(IntegrityError):
        tree.value(root, b"key 1")
    del store.nodes[root]
    with pytest.raises(IntegrityError):
        tree.update(root, {b"key 1": b"x"})


def test_a_changed_value_in_the_store_is_noticed() -> None:
    tree, root, store = built()
    leaf = map_leaf_hash(map_path(b"key 1"), sha256(b"value 1").digest())
    assert tree.value(root, b"key 1") == b"value 1"
    store.nodes[leaf] = store.nodes[leaf][:-1] + b"2"
    with pytest.raises(IntegrityError):
        tree.value(root, b"key 1")


def test_deep_neighbours_have_empty_siblings_between() -> None:
    """Keys whose paths share 14 bits or more: the bitmap marks the empty ones."""
    tree = SparseMerkleMap(MemoryNodeStore())
    by_prefix: dict[int, bytes] = {}
    for number in range(10_000):
        key = b"%d" % number
        prefix = int.from_bytes(map_path(key)[:2], "big") >> 2
        if prefix in by_prefix:
            first, second = by_prefix[prefix], key
            break
        by_prefix[prefix] = key
    root = tree.update(EMPTY_MAP_ROOT, {first: b"1", second: b"2"})
    proof = tree.prove(root, first)
    assert decode_map_proof(proof).siblings.count(EMPTY_MAP_ROOT) >= 13
    assert len(proof) < 3 + 32 + 32 + 2
    verify_map_proof(root=root, key=first, value=b"1", proof=proof)
    assert tree.update(root, {second: None}) == tree.update(EMPTY_MAP_ROOT, {first: b"1"})


# --- ICS-23: existence and non-existence proofs of another implementation's map ---


def protobuf(encoded: bytes) -> dict[int, list[Any]]:
    """Just enough of protobuf to read the vectors: varints and length-delimited fields."""
    fields: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = encoded[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(encoded):
        tag = varint()
        if tag & 7 == 0:
            fields.setdefault(tag >> 3, []).append(varint())
        else:
            size = varint()
            fields.setdefault(tag >> 3, []).append(encoded[at : at + size])
            at += size
    return fields


def siblings_of(existence: dict[int, list[Any]]) -> tuple[list[bytes], list[int]]:
    """Siblings from the leaf up, and for each whether it stands on the left."""
    siblings, on_left = [], []
    for step in map(protobuf, existence.get(4, [])):
        prefix, suffix = step.get(2, [b""])[0], step.get(3, [b""])[0]
        assert prefix[:1] == b"\1"
        assert len(prefix) + len(suffix) == 33
        siblings.append(prefix[1:] or suffix)
        on_left.append(int(bool(prefix[1:])))
    return siblings, on_left


def as_presence(existence: dict[int, list[Any]]) -> bytes:
    siblings, on_left = siblings_of(existence)
    bits = int.from_bytes(map_path(existence[1][0]), "big")
    depth = len(siblings)
    assert [bits >> (256 - depth + step) & 1 for step in range(depth)] == on_left
    return encode_map_proof(MapProof(siblings=tuple(siblings), is_present=True))


def test_ics23(vectors: Path, ran: Tally) -> None:
    """Existence and non-existence: one vector at each end of the map, and one within."""
    for side in ("left", "middle", "right"):
        check_ics23_existence(vectors, f"exist_{side}")
        check_ics23_non_existence(vectors, f"nonexist_{side}")
    ran("ics23 smt", len(list((vectors / "ics23/testdata/smt").glob("*.json"))), "SmtSpec, as published")


def check_ics23_existence(vectors: Path, name: str) -> None:
    case = json.loads((vectors / f"ics23/testdata/smt/{name}.json").read_text())
    root, key = bytes.fromhex(case["root"]), bytes.fromhex(case["key"])
    existence = protobuf(protobuf(bytes.fromhex(case["proof"]))[1][0])
    value = bytes.fromhex(case["value"])
    assert existence[1] == [key]
    verify_map_proof(root=root, key=key, value=value, proof=as_presence(existence))
    with pytest.raises(InclusionProofError):
        verify_map_proof(root=root, key=key, value=value + b"x", proof=as_presence(existence))


def check_ics23_non_existence(vectors: Path, name: str) -> None:
    """The neighbours' proofs hold, and give our proof that the key between them is absent."""
    case = json.loads((vectors / f"ics23/testdata/smt/{name}.json").read_text())
    root, key = bytes.fromhex(case["root"]), bytes.fromhex(case["key"])
    absence = protobuf(protobuf(bytes.fromhex(case["proof"]))[2][0])
    neighbours = [protobuf(absence[field][0]) for field in (2, 3) if field in absence]
    assert neighbours
    for neighbour in neighbours:
        verify_map_proof(root=root, key=neighbour[1][0], value=neighbour[2][0], proof=as_presence(neighbour))
    nearest = max(neighbours, key=lambda neighbour: shared_bits(map_path(neighbour[1][0]), map_path(key)))
    proof = as_absence(nearest, map_path(key))
    verify_map_proof(root=root, key=key, value=None, proof=proof)


def as_absence(neighbour: dict[int, list[Any]], path: bytes) -> bytes:
    siblings, on_left = siblings_of(neighbour)
    other = map_path(neighbour[1][0])
    value_hash = sha256(neighbour[2][0]).digest()
    shared = shared_bits(other, path)
    if shared >= len(siblings):
        return encode_map_proof(
            MapProof(siblings=tuple(siblings), is_present=False, other=(other, value_hash))
        )
    # The key leaves the neighbour's path at depth `shared`; the slot beside it must be empty.
    node = map_leaf_hash(other, value_hash)
    beside = len(siblings) - 1 - shared
    for step in range(beside):
        pair = (siblings[step], node) if on_left[step] else (node, siblings[step])
        node = map_inner_hash(*pair)
    assert siblings[beside] == EMPTY_MAP_ROOT
    return encode_map_proof(MapProof(siblings=(node, *siblings[beside + 1 :]), is_present=False))


def shared_bits(one: bytes, other: bytes) -> int:
    return 256 - (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).bit_length()

"""Laws of the sparse Merkle map, against a definition that recurses over all keys."""

from collections.abc import Collection
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from creditledger.errors import InclusionProofError
from creditledger.transparency.sparse_merkle import (
    EMPTY_MAP_ROOT,
    MemoryNodeStore,
    SparseMerkleMap,
    decode_map_proof,
    encode_map_proof,
    verify_map_proof,
)

KEYS = st.integers(0, 60).map(lambda number: b"k%d" % number)
CHANGES = st.dictionaries(KEYS, st.one_of(st.none(), st.binary(max_size=3)), max_size=12)


def naive_root(content: dict[bytes, bytes]) -> bytes:
    def subtree(leaves: list[tuple[str, bytes]], depth: int) -> bytes:
        if not leaves:
            return bytes(32)
        if len(leaves) == 1:
            return leaves[0][1]
        left = subtree([leaf for leaf in leaves if leaf[0][depth] == "0"], depth + 1)
        right = subtree([leaf for leaf in leaves if leaf[0][depth] == "1"], depth + 1)
        return sha256(b"\1" + left + right).digest()

    leaves = []
    for key, value in content.items():
        path = sha256(key).digest()
        leaf = sha256(b"\0" + path + sha256(value).digest()).digest()
        leaves.append((f"{int.from_bytes(path, 'big'):0256b}", leaf))
    return subtree(leaves, 0)


@given(st.lists(CHANGES, max_size=6))
def test_the_root_is_that_of_the_content_however_it_came_about(
    batches: list[dict[bytes, bytes | None]],
) -> None:
    tree = SparseMerkleMap(MemoryNodeStore())
    root, content = EMPTY_MAP_ROOT, {}
    for changes in batches:
        root = tree.update(root, changes)
        for key, value in changes.items():
            if value is None:
                content.pop(key, None)
            else:
                content[key] = value
        assert root == naive_root(content)
    for key in [b"k%d" % number for number in range(61)]:
        assert tree.value(root, key) == content.get(key)
        proof = tree.prove(root, key)
        verify_map_proof(root=root, key=key, value=content.get(key), proof=proof)
        assert encode_map_proof(decode_map_proof(proof)) == proof


@given(st.dictionaries(KEYS, st.binary(max_size=3), max_size=20), KEYS, KEYS, st.binary(max_size=3))
def test_no_proof_shows_what_the_map_does_not_say(
    content: dict[bytes, bytes], key: bytes, proven: bytes, claim: bytes
) -> None:
    tree = SparseMerkleMap(MemoryNodeStore())
    root = tree.update(EMPTY_MAP_ROOT, content)
    proof = tree.prove(root, proven)
    for value in (claim, None):
        try:
            verify_map_proof(root=root, key=key, value=value, proof=proof)
        except InclusionProofError:
            continue
        assert content.get(key) == value


@given(st.binary(max_size=140))
def test_bytes_that_are_read_are_written_back(encoded: bytes) -> None:
    try:
        proof = decode_map_proof(encoded)
    except InclusionProofError:
        return
    assert encode_map_proof(proof) == encoded


class FarNodes(MemoryNodeStore):
    """Counts how often it was told what will be read, and what was read without that."""

    def __init__(self) -> None:
        super().__init__()
        self.told = self.alone = 0
        self._ready: set[bytes] = set()

    def prepare(self, node_hashes: Collection[bytes], /) -> None:
        self.told += 1
        self._ready |= set(node_hashes)

    def put(self, node_hash: bytes, node: bytes, /) -> None:
        super().put(node_hash, node)
        self._ready.add(node_hash)

    def get(self, node_hash: bytes, /) -> bytes | None:
        self.alone += node_hash not in self._ready
        return super().get(node_hash)


def test_an_update_asks_a_far_store_once_a_level() -> None:
    """However many keys change; besides, only for who might rise into an empty neighbour's place."""
    store = FarNodes()
    keys = [b"key %d" % number for number in range(2_000)]
    root = SparseMerkleMap(store).update(EMPTY_MAP_ROOT, dict.fromkeys(keys[:1_000], b"first"))
    far = FarNodes()
    far.nodes = store.nodes
    later = SparseMerkleMap(far).update(root, dict.fromkeys(keys, b"second"))
    assert 10 <= far.told <= 30
    assert far.alone == 0
    assert later == SparseMerkleMap(MemoryNodeStore()).update(EMPTY_MAP_ROOT, dict.fromkeys(keys, b"second"))
    SparseMerkleMap(far).update(later, dict.fromkeys(keys[::2], None))
    assert far.alone < 1_000

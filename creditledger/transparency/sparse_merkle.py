"""The sparse Merkle map in ICS-23 `SmtSpec` form: one root for a set of keys and values.

A persistent tree over a content-addressed node store: an old root stays readable and provable.
Source: specs/log.md §5."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from creditledger.errors import InclusionProofError, IntegrityError

HASH_SIZE: Final = 32
EMPTY_MAP_ROOT: Final = bytes(32)
"""The root of the map without keys, and the hash of every empty subtree."""
DEPTH_MAX: Final = 256

_LEAF_TAG: Final = b"\x00"
_INNER_TAG: Final = b"\x01"
_NODE_SIZE: Final = 65

_PRESENT: Final = 0
_ABSENT_EMPTY: Final = 1
_ABSENT_OTHER: Final = 2


class NodeStore(Protocol):
    """Immutable nodes under their 32-byte hash. What was put is at once there to get."""

    def get(self, node_hash: bytes, /) -> bytes | None:
        """The bytes put under ``node_hash``, or None."""

    def put(self, node_hash: bytes, node: bytes, /) -> None:
        """Keep ``node``; the same hash always comes with the same bytes."""

    def prepare(self, node_hashes: Collection[bytes], /) -> None:
        """All of these will be asked for next: a store that is far away fetches them together."""


class MemoryNodeStore:
    """A `NodeStore` in a dict."""

    __slots__ = ("nodes",)

    def __init__(self) -> None:
        self.nodes: dict[bytes, bytes] = {}

    def get(self, node_hash: bytes, /) -> bytes | None:
        return self.nodes.get(node_hash)

    def put(self, node_hash: bytes, node: bytes, /) -> None:
        self.nodes[node_hash] = node

    def prepare(self, node_hashes: Collection[bytes], /) -> None:
        """They are here."""


def map_path(key: bytes) -> bytes:
    """Where ``key`` lives: its SHA-256, read from the most significant bit down."""
    return sha256(key).digest()


def map_leaf_hash(path: bytes, value_hash: bytes) -> bytes:
    """SHA-256(0x00 || path || value hash). Source: specs/log.md §5."""
    return sha256(_LEAF_TAG + path + value_hash).digest()


def map_inner_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right). Source: specs/log.md §5."""
    return sha256(_INNER_TAG + left + right).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class MapProof:
    """The parts of a map proof. Source: specs/log.md §5."""

    siblings: tuple[bytes, ...]
    """From the proven slot up to the root; `EMPTY_MAP_ROOT` for an empty one."""
    is_present: bool
    other: tuple[bytes, bytes] | None = None
    """Path and value hash of the leaf that stands where an absent key would."""


class SparseMerkleMap:
    """Reads and makes versions of the map in one node store."""

    __slots__ = ("_store",)

    def __init__(self, store: NodeStore) -> None:
        self._store = store

    def update(self, root: bytes, changes: Mapping[bytes, bytes | None]) -> bytes:
        """The root after ``changes``: key to new value, None to delete. ``root`` stays valid.

        O(depth) node writes per change, shared between changes. Raises IntegrityError when a node
        of ``root`` is missing or is not what its hash says."""
        leaves: list[tuple[bytes, bytes | None]] = []
        for key, value in changes.items():
            leaves.append((map_path(key), None if value is None else self._put_leaf(key, value)))
        leaves.sort(key=lambda change: change[0])
        paths = [path for path, _ in leaves]
        return _Update(self, paths, [leaf for _, leaf in leaves]).applied(root)

    def value(self, root: bytes, key: bytes) -> bytes | None:
        """The value of ``key`` under ``root``, or None. Raises IntegrityError as `update` does."""
        path = map_path(key)
        slot = self._descend(root, path)[0]
        node = self._load(slot)
        if node is None or node[1 : 1 + HASH_SIZE] != path:
            return None
        return node[_NODE_SIZE:]

    def prove(self, root: bytes, key: bytes) -> bytes:
        """A proof of ``key``'s value under ``root``, or of its absence: see `verify_map_proof`."""
        path = map_path(key)
        slot, siblings = self._descend(root, path)
        node = self._load(slot)
        other = None
        if node is not None and node[1 : 1 + HASH_SIZE] != path:
            other = (node[1 : 1 + HASH_SIZE], node[1 + HASH_SIZE : _NODE_SIZE])
        return encode_map_proof(
            MapProof(
                siblings=tuple(reversed(siblings)),
                is_present=node is not None and other is None,
                other=other,
            )
        )

    def _descend(self, root: bytes, path: bytes) -> tuple[bytes, list[bytes]]:
        """The leaf or empty slot that ``path`` leads to, and the siblings from the root down."""
        siblings: list[bytes] = []
        current = root
        while (node := self._load(current)) is not None and node[:1] == _INNER_TAG:
            left, right = node[1 : 1 + HASH_SIZE], node[1 + HASH_SIZE :]
            is_right = _bit(path, len(siblings))
            siblings.append(left if is_right else right)
            current = right if is_right else left
        return current, siblings

    def _join(self, left: bytes, right: bytes) -> bytes:
        """The subtree of two children: a lone leaf rises, so that one set has one tree."""
        for child, sibling in ((left, right), (right, left)):
            if sibling == EMPTY_MAP_ROOT and not self._is_inner(child):
                return child
        return self._put_inner(left, right)

    def _is_inner(self, node_hash: bytes) -> bool:
        node = self._load(node_hash)
        return node is not None and node[:1] == _INNER_TAG

    def _put_inner(self, left: bytes, right: bytes) -> bytes:
        inner = map_inner_hash(left, right)
        self._store.put(inner, _INNER_TAG + left + right)
        return inner

    def _put_leaf(self, key: bytes, value: bytes) -> bytes:
        path, value_hash = map_path(key), sha256(value).digest()
        leaf = map_leaf_hash(path, value_hash)
        self._store.put(leaf, _LEAF_TAG + path + value_hash + value)
        return leaf

    def _load(self, node_hash: bytes) -> bytes | None:
        """The node, checked against its hash; None for the empty subtree."""
        return None if node_hash == EMPTY_MAP_ROOT else self._loaded(node_hash)

    def _loaded(self, node_hash: bytes) -> bytes:
        node = self._store.get(node_hash)
        if node is None:
            raise IntegrityError("a map node is missing", expected=node_hash.hex(), found="nothing")
        is_leaf = node[:1] == _LEAF_TAG
        intact = sha256(node[:_NODE_SIZE]).digest() == node_hash and (
            sha256(node[_NODE_SIZE:]).digest() == node[1 + HASH_SIZE : _NODE_SIZE]
            if is_leaf
            else len(node) == _NODE_SIZE
        )
        if not intact:
            raise IntegrityError(
                "a map node is not what its hash says",
                expected=node_hash.hex(),
                found=sha256(node[:_NODE_SIZE]).hexdigest(),
            )
        return node


class _Update:
    """One update of one root: paths that ascend, and the leaf that each gets, None for none."""

    __slots__ = ("_leaves", "_map", "_nodes", "_paths")

    def __init__(self, tree: SparseMerkleMap, paths: Sequence[bytes], leaves: Sequence[bytes | None]) -> None:
        self._map = tree
        self._paths = paths
        self._leaves = leaves
        self._nodes: dict[bytes, bytes] = {}
        """Those on the way to the paths, by their hashes."""

    def applied(self, root: bytes) -> bytes:
        """The root with all changes."""
        self._read_ahead(root)
        return self._apply(root, 0, 0, len(self._paths))

    def _read_ahead(self, root: bytes) -> None:
        """Level by level, so that a store is asked as often as the tree is deep."""
        level, depth = [(root, 0, len(self._paths))], 0
        while level := [each for each in level if each[0] != EMPTY_MAP_ROOT and each[1] < each[2]]:
            self._map._store.prepare([node_hash for node_hash, _, _ in level])
            below: list[tuple[bytes, int, int]] = []
            for node_hash, start, stop in level:
                node = self._nodes[node_hash] = self._map._loaded(node_hash)
                if node[:1] == _INNER_TAG:
                    at = _first_right(self._paths, depth, start, stop)
                    below.append((node[1 : 1 + HASH_SIZE], start, at))
                    below.append((node[1 + HASH_SIZE :], at, stop))
            level, depth = below, depth + 1

    def _apply(self, root: bytes, depth: int, start: int, stop: int) -> bytes:
        if start == stop:
            return root
        node = None if root == EMPTY_MAP_ROOT else self._nodes[root]
        if node is not None and node[:1] == _INNER_TAG:
            at = _first_right(self._paths, depth, start, stop)
            left = self._apply(node[1 : 1 + HASH_SIZE], depth + 1, start, at)
            right = self._apply(node[1 + HASH_SIZE :], depth + 1, at, stop)
            return self._map._join(left, right)
        leaves = dict(zip(self._paths[start:stop], self._leaves[start:stop], strict=True))
        if node is not None:
            leaves.setdefault(node[1 : 1 + HASH_SIZE], root)
        kept = sorted((path, leaf) for path, leaf in leaves.items() if leaf is not None)
        paths = [path for path, _ in kept]
        return self._build(depth, paths, [leaf for _, leaf in kept], 0, len(kept))

    def _build(
        self, depth: int, paths: Sequence[bytes], leaves: Sequence[bytes], start: int, stop: int
    ) -> bytes:
        if start == stop:
            return EMPTY_MAP_ROOT
        if stop - start == 1:
            return leaves[start]
        at = _first_right(paths, depth, start, stop)
        left = self._build(depth + 1, paths, leaves, start, at)
        return self._map._put_inner(left, self._build(depth + 1, paths, leaves, at, stop))


def encode_map_proof(proof: MapProof) -> bytes:
    """The one byte string of ``proof``. Source: specs/log.md §5."""
    kind = _PRESENT if proof.is_present else _ABSENT_OTHER if proof.other else _ABSENT_EMPTY
    bitmap = bytearray((len(proof.siblings) + 7) // 8)
    for position, sibling in enumerate(proof.siblings):
        if sibling != EMPTY_MAP_ROOT:
            bitmap[position >> 3] |= 1 << (position & 7)
    head = bytes([kind]) + len(proof.siblings).to_bytes(2, "big") + bytes(bitmap)
    return (
        head
        + b"".join(proof.other or ())
        + b"".join(sibling for sibling in proof.siblings if sibling != EMPTY_MAP_ROOT)
    )


def decode_map_proof(encoded: bytes) -> MapProof:
    """The exact inverse of `encode_map_proof`. Raises InclusionProofError for any other bytes.

    Refuses also what no map gives: a lowest sibling that is empty. Source: specs/log.md §5."""
    if len(encoded) < 3 or encoded[0] > _ABSENT_OTHER:
        raise _malformed("kind 0, 1 or 2 and a depth", f"{encoded[:3].hex()}")
    kind, depth = encoded[0], int.from_bytes(encoded[1:3], "big")
    if depth > DEPTH_MAX:
        raise _malformed(f"a depth of at most {DEPTH_MAX}", str(depth))
    at = 3 + (depth + 7) // 8
    bits = int.from_bytes(encoded[3:at], "little")
    other_size = 2 * HASH_SIZE if kind == _ABSENT_OTHER else 0
    size = at + other_size + HASH_SIZE * bits.bit_count()
    if len(encoded) != size or bits >> depth:
        raise _malformed(f"{size} bytes and {depth} bitmap bits", f"{len(encoded)} bytes")
    if depth and not bits & 1:
        raise _malformed("a lowest sibling that is not empty", "an empty one")
    other = None
    if other_size:
        other = (encoded[at : at + HASH_SIZE], encoded[at + HASH_SIZE : at + 2 * HASH_SIZE])
    rest = iter(encoded[start : start + HASH_SIZE] for start in range(at + other_size, size, HASH_SIZE))
    siblings = tuple(next(rest) if bits >> position & 1 else EMPTY_MAP_ROOT for position in range(depth))
    proof = MapProof(siblings=siblings, is_present=kind == _PRESENT, other=other)
    if encode_map_proof(proof) != encoded:
        raise _malformed("canonical form", "a spelt-out empty sibling")
    return proof


def verify_map_proof(*, root: bytes, key: bytes, value: bytes | None, proof: bytes) -> None:
    """Check that under ``root`` the map gives ``key`` the value ``value``; None says: no entry.

    Raises InclusionProofError. Source: specs/log.md §5."""
    parts = decode_map_proof(proof)
    if parts.is_present != (value is not None):
        raise InclusionProofError(
            "map proof is of the other kind",
            expected="absence" if value is None else "presence",
            found="presence" if parts.is_present else "absence",
        )
    path, slot = map_path(key), _slot(key, value, parts)
    depth = len(parts.siblings)
    for position, sibling in enumerate(parts.siblings):
        if _bit(path, depth - 1 - position):
            slot = map_inner_hash(sibling, slot)
        else:
            slot = map_inner_hash(slot, sibling)
    if slot != root:
        raise InclusionProofError("map proof leads to another root", expected=root.hex(), found=slot.hex())


def _slot(key: bytes, value: bytes | None, parts: MapProof) -> bytes:
    """What stands where ``key`` leads: its leaf, nothing, or another leaf with this prefix."""
    path = map_path(key)
    if value is not None:
        return map_leaf_hash(path, sha256(value).digest())
    if parts.other is None:
        return EMPTY_MAP_ROOT
    other_path, other_value_hash = parts.other
    depth = len(parts.siblings)
    shared = DEPTH_MAX - (int.from_bytes(path, "big") ^ int.from_bytes(other_path, "big")).bit_length()
    if shared == DEPTH_MAX or shared < depth:
        raise InclusionProofError(
            "the other leaf does not stand in the key's place",
            expected=f"another path with the key's first {depth} bits",
            found=f"{shared} bits in common",
        )
    return map_leaf_hash(other_path, other_value_hash)


def _bit(path: bytes, depth: int) -> int:
    return path[depth >> 3] >> (7 - (depth & 7)) & 1


def _first_right(paths: Sequence[bytes], depth: int, start: int, stop: int) -> int:
    """Which of the ascending ``paths[start:stop]``, alike above ``depth``, is the first to go right."""
    low, high = start, stop
    byte, mask = depth >> 3, 0x80 >> (depth & 7)
    while low < high:
        middle = (low + high) // 2
        if paths[middle][byte] & mask:
            high = middle
        else:
            low = middle + 1
    return low


def _malformed(expected: str, found: str) -> InclusionProofError:
    return InclusionProofError("map proof is malformed", expected=expected, found=found)

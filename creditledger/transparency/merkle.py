"""The RFC 6962 tree: hashes, inclusion and consistency proofs.

A *node* ``(level, index)`` is the perfect subtree over leaves ``index * 2**level`` up to
``(index + 1) * 2**level``; level 0 holds the leaf hashes. Source: specs/log.md §2 and §3."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Final

from creditledger.errors import ConsistencyProofError, InclusionProofError

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
TREE_SIZE_MAX: Final = 2**63 - 1

NodeReader = Callable[[int, int], bytes]
"""``read(level, index)``: the 32-byte hash of a complete node of the tree."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256(0x00 || entry). Source: specs/log.md §2."""
    return sha256(b"\x00" + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """`leaf_hash` of each, in order."""
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right). Source: specs/log.md §2."""
    return sha256(b"\x01" + left + right).digest()


def root_from_leaf_hashes(hashes: Iterable[bytes]) -> bytes:
    """The root of the tree over ``hashes`` (32 bytes each, in order); `EMPTY_ROOT` for none."""
    level = list(hashes)
    while len(level) > 1:
        level = _level_above(level)
    return level[0] if level else EMPTY_ROOT


def _level_above(level: Sequence[bytes]) -> list[bytes]:
    """A node for each two; the last of an odd number stands for itself, as RFC 6962's splits leave it."""
    pairs = iter(level)
    above = [sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs, strict=False)]
    if len(level) & 1:
        above.append(level[-1])
    return above


def tree_root(read: NodeReader, *, size: int) -> bytes:
    """The root of the tree's first ``size`` leaves, in O(log size) reads."""
    return _range_hash(read, 0, size) or EMPTY_ROOT


def append_nodes(
    read: NodeReader, size: int, new_leaf_hashes: Iterable[bytes]
) -> Iterator[tuple[int, int, bytes]]:
    """Every node that ``new_leaf_hashes`` complete when appended to a tree of ``size`` leaves.

    Yields ``(level, index, hash)``, leaves included, children before parents. ``read`` is asked
    only for nodes that were complete before."""
    left_siblings: dict[int, bytes] = {}
    for position, carried in enumerate(new_leaf_hashes, start=size):
        level, index = 0, position
        yield level, index, carried
        while index & 1:
            left = left_siblings.pop(level, None) or read(level, index - 1)
            carried = node_hash(left, carried)
            level, index = level + 1, index >> 1
            yield level, index, carried
        left_siblings[level] = carried


def prove_inclusion(read: NodeReader, *, index: int, size: int) -> list[bytes]:
    """The sibling hashes from leaf ``index`` up to the root of the first ``size`` leaves.

    O(log size) reads. Raises InclusionProofError unless ``0 <= index < size``.
    Source: specs/log.md §3, RFC 6962 §2.1.1."""
    _require_index(index, size)
    inner = (index ^ (size - 1)).bit_length()
    proof = [read(level, (index >> level) ^ 1) for level in range(inner - 1)]
    if inner:
        # The first sibling that reaches to the tree's end; it may be no complete node.
        proof.append(_range_hash(read, ((index >> (inner - 1)) + 1) << (inner - 1), size))
    border = index >> inner
    while border:
        if border & 1:
            proof.append(read(inner, border - 1))
        border, inner = border >> 1, inner + 1
    return proof


def prove_consistency(read: NodeReader, *, first: int, second: int) -> list[bytes]:
    """The hashes that show the first ``first`` of ``second`` leaves to be a prefix.

    O(log second) reads; empty when ``first`` is 0 or ``second``. Raises ConsistencyProofError
    unless ``0 <= first <= second``. Source: specs/log.md §3, RFC 6962 §2.1.2."""
    _require_sizes(first, second)
    if first in (0, second):
        return []
    start, stop, whole = 0, second, True
    downward: list[bytes] = []
    while first != stop:
        middle = start + _split(stop - start)
        if first <= middle:
            downward.append(_range_hash(read, middle, stop))
            stop = middle
        else:
            downward.append(_range_hash(read, start, middle))
            start, whole = middle, False
    if not whole:
        downward.append(_range_hash(read, start, stop))
    return downward[::-1]


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int, size: int) -> list[bytes]:
    """`prove_inclusion` over leaf hashes held in memory; ``size`` may be below their number."""
    _require_held(leaf_hashes, size, InclusionProofError)
    return prove_inclusion(_reader_over(leaf_hashes), index=index, size=size)


def root_and_proofs(leaves: Sequence[bytes]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """The root over these leaf hashes and `inclusion_proof` of every one, for little more than the root."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        levels.append(_level_above(levels[-1]))
    root = levels[-1][0] if leaves else EMPTY_ROOT
    proofs: list[tuple[bytes, ...]] = [()] * len(levels[-1])
    for level in reversed(levels[:-1]):
        # Downward: a node's proof is its sibling, then its parent's proof.
        proofs = [
            (level[index ^ 1], *proofs[index >> 1]) if index ^ 1 < len(level) else proofs[index >> 1]
            for index in range(len(level))
        ]
    return root, proofs


def consistency_proof(leaf_hashes: Sequence[bytes], first: int, second: int) -> list[bytes]:
    """`prove_consistency` over leaf hashes held in memory; ``second`` may be below their number."""
    _require_held(leaf_hashes, second, ConsistencyProofError)
    return prove_consistency(_reader_over(leaf_hashes), first=first, second=second)


def verify_inclusion(*, leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that ``leaf`` is leaf hash ``index`` of the ``size``-leaf tree with root ``root``.

    ``proof``: 32-byte sibling hashes from the leaf up; ``index`` and ``size`` fix how many.
    Raises InclusionProofError. Source: specs/log.md §3, after RFC 9162 §2.1.3.2."""
    _require_index(index, size)
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    _require_hashes((leaf, root, *proof), len(proof), inner + border, InclusionProofError)
    carried = _climb(leaf, proof[:inner], index)
    for sibling in proof[inner:]:
        carried = node_hash(sibling, carried)
    if carried != root:
        raise InclusionProofError(
            f"leaf {index} is not in the tree of {size}", expected=root.hex(), found=carried.hex()
        )


def verify_consistency(
    *, first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the tree of ``first`` leaves is a prefix of the tree of ``second`` leaves.

    ``proof``: 32-byte hashes in RFC 6962 order; the sizes fix how many: none when ``first`` is 0
    or ``second``. An empty tree must have the root `EMPTY_ROOT`. Raises ConsistencyProofError.
    Source: specs/log.md §3, after RFC 9162 §2.1.4.2."""
    _require_sizes(first, second)
    inner, seeded = _consistency_shape(first, second)
    border = ((first - 1) >> inner).bit_count() if 0 < first < second else 0
    wanted = inner - _trailing_zeros(first, second) + border + seeded
    # Equal sizes only compare the two roots; elsewhere each hash is an operand.
    roots = () if first == second else (first_root, second_root)
    _require_hashes((*roots, *proof), len(proof), wanted, ConsistencyProofError)
    for size, root in ((first, first_root), (second, second_root)):
        if size == 0 and root != EMPTY_ROOT:
            raise ConsistencyProofError(
                "empty tree has a root of its own", expected=EMPTY_ROOT.hex(), found=root.hex()
            )
    if first == 0:
        return
    if first == second:
        _require_root(second_root, first_root, second)
        return
    _verify_growth(first, second, first_root, second_root, proof)


def _verify_growth(
    first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """The case ``0 < first < second``, with as many hashes as the sizes ask for."""
    inner, seeded = _consistency_shape(first, second)
    shift = _trailing_zeros(first, second)
    inner -= shift
    seed, path = (proof[0], proof[1:]) if seeded else (first_root, proof)
    mask = (first - 1) >> shift
    old = seed
    for depth, sibling in enumerate(path[:inner]):
        if mask >> depth & 1:
            old = node_hash(sibling, old)
    new = _climb(seed, path[:inner], mask)
    for sibling in path[inner:]:
        old, new = node_hash(sibling, old), node_hash(sibling, new)
    _require_root(old, first_root, first)
    _require_root(new, second_root, second)


def _consistency_shape(first: int, second: int) -> tuple[int, int]:
    """Levels below the fork of the two right edges, and whether the proof starts with a seed."""
    if not 0 < first < second:
        return 0, 0
    is_perfect = first & (first - 1) == 0
    return ((first - 1) ^ (second - 1)).bit_length(), 0 if is_perfect else 1


def _trailing_zeros(first: int, second: int) -> int:
    return (first & -first).bit_length() - 1 if 0 < first < second else 0


def _climb(carried: bytes, siblings: Sequence[bytes], index: int) -> bytes:
    """Hash upward; bit ``i`` of ``index`` says whether sibling ``i`` stands on the left."""
    for depth, sibling in enumerate(siblings):
        is_right = index >> depth & 1
        carried = node_hash(sibling, carried) if is_right else node_hash(carried, sibling)
    return carried


def _split(width: int) -> int:
    """The largest power of two below ``width`` (at least 2)."""
    return 1 << ((width - 1).bit_length() - 1)


def _range_hash(read: NodeReader, start: int, stop: int) -> bytes:
    """The hash of leaves ``start..stop``, empty for none; aligned as RFC 6962 splits leave them."""
    width, found = stop - start, b""
    while width:
        level = (width & -width).bit_length() - 1
        width &= width - 1
        perfect = read(level, start + width >> level)
        found = node_hash(perfect, found) if found else perfect
    return found


def _reader_over(leaf_hashes: Sequence[bytes]) -> NodeReader:
    def read(level: int, index: int) -> bytes:
        return root_from_leaf_hashes(leaf_hashes[index << level : (index + 1) << level])

    return read


def _require_index(index: int, size: int) -> None:
    if not 0 <= index < size <= TREE_SIZE_MAX:
        raise InclusionProofError(
            "leaf index is not below the tree size",
            expected="0 <= index < size < 2^63",
            found=f"index {str(index)[:40]}, size {str(size)[:40]}",
        )


def _require_sizes(first: int, second: int) -> None:
    if not 0 <= first <= second <= TREE_SIZE_MAX:
        raise ConsistencyProofError(
            "tree sizes are out of order",
            expected="0 <= first <= second < 2^63",
            found=f"first {str(first)[:40]}, second {str(second)[:40]}",
        )


def _require_held(
    leaf_hashes: Sequence[bytes],
    size: int,
    error: type[InclusionProofError] | type[ConsistencyProofError],
) -> None:
    if size > len(leaf_hashes):
        raise error(
            "the tree is larger than what is held",
            expected=f"at most {len(leaf_hashes)} leaves",
            found=str(size)[:40],
        )


def _require_hashes(
    hashes: Sequence[bytes],
    count: int,
    wanted: int,
    error: type[InclusionProofError] | type[ConsistencyProofError],
) -> None:
    if count != wanted:
        raise error("proof has the wrong length", expected=f"{wanted} hashes", found=f"{count} hashes")
    for value in hashes:
        if len(value) != HASH_SIZE:
            raise error("a hash has the wrong length", expected="32 bytes", found=f"{len(value)} bytes")


def _require_root(computed: bytes, claimed: bytes, size: int) -> None:
    if computed != claimed:
        raise ConsistencyProofError(
            f"root of the tree of {size} does not follow",
            expected=claimed.hex(),
            found=computed.hex(),
        )

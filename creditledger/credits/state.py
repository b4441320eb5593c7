"""The fold's state: an ordered byte map, an overlay that can be thrown away, and typed access.

What a round certifies lives under ``m/``; everything else is bookkeeping that any replay rebuilds.
Source: specs/credits.md §2."""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Final, NamedTuple, Protocol, TypeVar

from creditledger.errors import IntegrityError
from creditledger.records.record import Fields, Record
from creditledger.transparency.sparse_merkle import EMPTY_MAP_ROOT, SparseMerkleMap

MAP: Final = b"m/"
DIRTY: Final = b"d/"
NODE: Final = b"n/"
MAP_ROOT: Final = b"r/"

ROW_BYTES_MAX: Final = 128 * 1024
"""A record of 65,535 bytes inside a row fits."""

F = TypeVar("F", bound=Fields)
R = TypeVar("R", bound=Record)


class StateView(Protocol):
    """An ordered map from byte keys to byte values. What was written is at once there to read."""

    def get(self, key: bytes, /) -> bytes | None:
        """The value of ``key``, or None."""

    def put(self, key: bytes, value: bytes, /) -> None:
        """Set the value of ``key``."""

    def delete(self, key: bytes, /) -> None:
        """Forget ``key``; an unknown key is no error."""

    def scan(self, prefix: bytes, /) -> Iterator[tuple[bytes, bytes]]:
        """All pairs whose key begins with ``prefix``, ascending by key. Write only after the last."""


class MemoryState:
    """A `StateView` in dicts, one per first two bytes of the keys."""

    __slots__ = ("_buckets", "_orders")

    def __init__(self) -> None:
        self._buckets: dict[bytes, dict[bytes, bytes]] = {}
        self._orders: dict[bytes, list[bytes]] = {}

    def get(self, key: bytes, /) -> bytes | None:
        bucket = self._buckets.get(key[:2])
        return None if bucket is None else bucket.get(key)

    def put(self, key: bytes, value: bytes, /) -> None:
        bucket = self._buckets.setdefault(key[:2], {})
        order = self._orders.get(key[:2])
        if order is not None and key not in bucket:
            insort(order, key)
        bucket[key] = value

    def delete(self, key: bytes, /) -> None:
        bucket = self._buckets.get(key[:2], {})
        if bucket.pop(key, None) is None:
            return
        order = self._orders.get(key[:2])
        if order is not None:
            del order[bisect_left(order, key)]

    def scan(self, prefix: bytes, /) -> Iterator[tuple[bytes, bytes]]:
        if len(prefix) < 2:
            names = sorted(name for name in self._buckets if name.startswith(prefix))
        else:
            names = [prefix[:2]]
        for name in names:
            yield from self._scan_bucket(name, prefix)

    def _scan_bucket(self, name: bytes, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        bucket = self._buckets.get(name, {})
        order = self._orders.get(name)
        if order is None:
            # Sorted on the first scan only: buckets that nobody scans never pay for an order.
            order = self._orders[name] = sorted(bucket)
        at = bisect_left(order, prefix)
        while at < len(order) and order[at].startswith(prefix):
            yield order[at], bucket[order[at]]
            at += 1


class Overlay:
    """Writes kept in ``changes`` above a base that stays as it is. None stands for a deletion."""

    __slots__ = ("_base", "_get", "_orders", "changes")

    def __init__(self, base: StateView) -> None:
        self._base = base
        self._get = base.get
        self._orders: dict[bytes, list[bytes]] = {}
        self.changes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes, /) -> bytes | None:
        changes = self.changes
        return changes[key] if key in changes else self._get(key)

    def put(self, key: bytes, value: bytes, /) -> None:
        if self._orders:
            self._note_order(key)
        self.changes[key] = value

    def delete(self, key: bytes, /) -> None:
        if self._orders:
            self._note_order(key)
        self.changes[key] = None

    def _note_order(self, key: bytes) -> None:
        order = self._orders.get(key[:2])
        if order is not None and key not in self.changes:
            insort(order, key)

    def scan(self, prefix: bytes, /) -> Iterator[tuple[bytes, bytes]]:
        own = self._changed(prefix)
        at = 0
        for key, value in self._base.scan(prefix):
            while at < len(own) and own[at] < key:
                yield from self._own(own[at])
                at += 1
            if key not in self.changes:
                yield key, value
        for key in own[at:]:
            yield from self._own(key)

    def _changed(self, prefix: bytes) -> list[bytes]:
        """The changed keys that begin with ``prefix``, in order."""
        name = prefix[:2]
        if len(name) < 2:
            return sorted(key for key in self.changes if key.startswith(prefix))
        order = self._orders.get(name)
        if order is None:
            # Sorted on the first scan only, as in `MemoryState`: a group has many changes and few of a kind.
            order = self._orders[name] = sorted(key for key in self.changes if key.startswith(name))
        start = stop = bisect_left(order, prefix)
        while stop < len(order) and order[stop].startswith(prefix):
            stop += 1
        return order[start:stop]

    def _own(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        value = self.changes[key]
        if value is not None:
            yield key, value

    def prepare(self, keys: Collection[bytes]) -> None:
        """See `prepare_view`."""
        prepare_view(self._base, [key for key in keys if key not in self.changes])

    def update(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Make all these changes; None stands for a deletion."""
        for name, order in self._orders.items():
            for key in changes:
                if key[:2] == name and key not in self.changes:
                    insort(order, key)
        self.changes.update(changes)

    def merge(self) -> None:
        """Write all changes to the base, and keep none."""
        update_view(self._base, self.changes)
        self.changes = {}
        self._orders = {}


def prepare_view(view: StateView, keys: Collection[bytes]) -> None:
    """Say that all of these will be read next: a view of what is far away fetches them together."""
    prepare = getattr(view, "prepare", None)
    if prepare is not None:
        prepare(keys)


def update_view(view: StateView, changes: Mapping[bytes, bytes | None]) -> None:
    """Make all these changes in a view, at once where it can; None stands for a deletion."""
    at_once = getattr(view, "update", None)
    if at_once is not None:
        at_once(changes)
        return
    for key, value in changes.items():
        if value is None:
            view.delete(key)
        else:
            view.put(key, value)


class MapNodes:
    """The map's nodes in a view, under ``n/`` and their hash; old roots stay provable.

    What is put stays in ``made`` until it is stored."""

    __slots__ = ("_view", "made")

    def __init__(self, view: StateView) -> None:
        self._view = view
        self.made: dict[bytes, bytes | None] = {}
        """New rows, by key."""

    def get(self, node_hash: bytes, /) -> bytes | None:
        key = NODE + node_hash
        return self.made.get(key) or self._view.get(key)

    def put(self, node_hash: bytes, node: bytes, /) -> None:
        self.made[NODE + node_hash] = node

    def prepare(self, node_hashes: Collection[bytes], /) -> None:
        prepare_view(self._view, [NODE + node_hash for node_hash in node_hashes])


class MapCommit(NamedTuple):
    """A version of the map that was made of another, and the rows of its new nodes."""

    before: bytes
    changes: Mapping[bytes, bytes | None]
    root: bytes
    rows: Mapping[bytes, bytes | None]


_proposed: list[MapCommit] = []
"""The last commit that was made, at most: a round is proposed first, and folded soon after. What it gives
follows from what is in it, whoever asks."""
PROPOSED_ROWS_MAX: Final = 1 << 17


class State:
    """Typed access over a view: certified map entries, and rows of bookkeeping."""

    __slots__ = ("view",)

    def __init__(self, view: StateView) -> None:
        self.view = view

    def map_value(self, key: bytes) -> bytes | None:
        """The value of a map key (`records.state`'s ``*_key``), committed or not."""
        return self.view.get(MAP + key)

    def put_map(self, key: bytes, value: bytes) -> None:
        """Set a map entry and mark it for the next `commit_map`."""
        self.view.put(MAP + key, value)
        self.view.put(DIRTY + key, b"")

    def entry(self, kind: type[R], key: bytes) -> R | None:
        """The state record under a map key, or None."""
        encoded = self.view.get(MAP + key)
        return None if encoded is None else _decoded(kind, encoded)

    def put_entry(self, key: bytes, value: Record) -> None:
        """Set a state record, as `put_map`."""
        self.put_map(key, value.encode())

    def row(self, kind: type[F], key: bytes) -> F | None:
        """The bookkeeping row under ``key``, or None. Raises IntegrityError if it cannot be read."""
        encoded = self.view.get(key)
        return None if encoded is None else decode_row(kind, encoded)

    def put_row(self, key: bytes, row: Fields) -> None:
        """Set a bookkeeping row."""
        self.view.put(key, encode_row(row))

    @property
    def map_root(self) -> bytes:
        """The root that the last `commit_map` gave."""
        return self.view.get(MAP_ROOT) or EMPTY_MAP_ROOT

    def commit_map(self) -> bytes:
        """Bring every marked entry into the sparse Merkle map and return its root, 32 bytes."""
        dirty = [key[len(DIRTY) :] for key, _ in self.view.scan(DIRTY)]
        prepare_view(self.view, [MAP + key for key in dirty])
        commit = self._commit({key: self.view.get(MAP + key) for key in dirty})
        update_view(self.view, commit.rows)
        for key in dirty:
            self.view.delete(DIRTY + key)
        self.view.put(MAP_ROOT, commit.root)
        return commit.root

    def _commit(self, changes: Mapping[bytes, bytes | None]) -> MapCommit:
        before = self.map_root
        for known in _proposed:
            if known.before == before and known.changes == changes:
                _proposed.clear()
                return known
        nodes = MapNodes(self.view)
        root = SparseMerkleMap(nodes).update(before, changes)
        made = MapCommit(before=before, changes=changes, root=root, rows=nodes.made)
        _proposed[:] = [made] if len(made.rows) <= PROPOSED_ROWS_MAX else []
        return made


def encode_row(row: Fields) -> bytes:
    """The canonical bytes of a bookkeeping row."""
    return row.to_bytes(most=ROW_BYTES_MAX)


@lru_cache(maxsize=4096)
def _decoded(kind: type[R], encoded: bytes) -> R:
    # One entry reads the same account several times, and records never change.
    return kind.decode(encoded)


@lru_cache(maxsize=4096)
def decode_row(kind: type[F], encoded: bytes) -> F:
    """The exact inverse of `encode_row`. Raises IntegrityError: rows are written by nobody else."""
    try:
        return kind.from_bytes(encoded, most=ROW_BYTES_MAX)
    except Exception as error:
        raise IntegrityError(
            f"a {kind.__name__} row cannot be read", expected="a row", found=str(error)
        ) from error

"""The log inside a store: entries, tree nodes, bodies, and the fold's state beside them.

Keys: ``e`` + u64be index, ``h`` + four levels + u64be index (`node_rows`), ``b`` + root, ``s`` + the state's
own, ``l`` for size and root, ``f`` + failed ids (`failed_ids`), ``k`` + what a service keeps beside the log.
Source: specs/ledger.md §3."""

import hashlib
from collections.abc import Sequence
from typing import Final

from creditledger.credits.state import StateView
from creditledger.errors import IntegrityError, MalformedRecordError, UnknownIdError
from creditledger.ledger.node_rows import NodeRows
from creditledger.ledger.store import Prefixed
from creditledger.records import canonical
from creditledger.records.canonical import FRAME_BYTES_MAX
from creditledger.records.entry import Entry
from creditledger.records.parameters import Genesis, Parameters
from creditledger.records.receipt import Batch
from creditledger.records.record import Record
from creditledger.records.verdict import Reveal
from creditledger.transparency.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    NodeReader,
    append_nodes,
    leaf_hash,
    tree_root,
)

ENTRY: Final = b"e"
BODIES: Final = b"b"
STATE: Final = b"s"
LOG: Final = b"l"
BESIDE: Final = b"k"


def entry_key(index: int) -> bytes:
    """Where entry ``index`` stands."""
    return ENTRY + index.to_bytes(8, "big")


def state_of(view: StateView) -> StateView:
    """The fold's state within a store's view."""
    return Prefixed(view, STATE)


def kept_beside(view: StateView) -> StateView:
    """What a service keeps beside the log; no part of it, and no replay rebuilds it."""
    return Prefixed(view, BESIDE)


class StoredLog:
    """The log as one transaction sees it. Nothing is believed that its hash does not bear out."""

    __slots__ = ("_nodes", "_view", "node", "root", "size")

    size: int
    """Entries, appended ones included."""
    root: bytes
    """Root hash of the tree over them."""

    node: NodeReader
    """The hash of a complete node. Raises IntegrityError."""

    def __init__(self, view: StateView) -> None:
        self._view = view
        self._nodes = NodeRows(view)
        self.node = self._nodes.node
        found = view.get(LOG)
        self.size, self.root = (0, EMPTY_ROOT) if found is None else _parse_log(found)

    def entry_bytes(self, index: int) -> bytes:
        """Entry ``index``, checked against the tree.

        Raises UnknownIdError beyond the log's end, IntegrityError if it is not what was logged."""
        if not 0 <= index < self.size:
            raise UnknownIdError(
                "the log has no such entry", expected=f"0..{self.size - 1}", found=str(index)[:40]
            )
        entry = self._view.get(entry_key(index))
        if entry is None:
            raise IntegrityError(f"entry {index} is missing", expected=f"{self.size} entries")
        logged = self.node(0, index)
        if leaf_hash(entry) != logged:
            raise IntegrityError(
                f"entry {index} is not what was logged", expected=logged.hex(), found=leaf_hash(entry).hex()
            )
        return entry

    def genesis(self) -> Genesis:
        """The founding record. Raises IntegrityError if the log does not begin with one."""
        record = Entry.decode(self.entry_bytes(0)).record if self.size else None
        if not isinstance(record, Genesis):
            raise IntegrityError(
                "entry 0 is not a genesis", expected="a genesis", found=f"{self.size} entries"
            )
        return record

    def root_at(self, size: int) -> bytes:
        """The root of the first ``size`` entries."""
        return tree_root(self.node, size=size)

    def at(self, size: int) -> "StoredLog":
        """The log as it was with its first ``size`` entries, for reading."""
        self._nodes.flush()
        earlier = StoredLog(self._view)
        earlier.size, earlier.root = size, self.root_at(size)
        return earlier

    def require_sound_edge(self) -> None:
        """Check that the tree's right edge gives the stored root. Raises IntegrityError.

        Done before anything is built on it: one flipped bit here would be signed for ever."""
        root = self.root_at(self.size)
        if root != self.root:
            raise IntegrityError(
                "the tree's right edge does not give its root", expected=self.root.hex(), found=root.hex()
            )

    def append(self, entry: bytes) -> bytes:
        """Add an entry; its leaf hash."""
        leaf = leaf_hash(entry)
        self._view.put(entry_key(self.size), entry)
        for level, index, node in append_nodes(self.node, self.size, [leaf]):
            self._nodes.add(level, index, node)
        self.size += 1
        return leaf

    def seal(self) -> None:
        """Store size and root after all appends of a transaction."""
        self._nodes.flush()
        self.root = self.root_at(self.size)
        self._view.put(LOG, self.size.to_bytes(8, "big") + self.root)

    def put_bodies(self, record: Record, bodies: Sequence[bytes]) -> None:
        """Keep the bodies beside ``record``, each under the digest by which the record names it."""
        for name, content in body_files(record, bodies):
            self._view.put(BODIES + name, content)

    def bodies(self, record: Record) -> tuple[bytes, ...]:
        """The bodies beside a logged record, as the fold takes them. Raises IntegrityError."""
        found: list[bytes] = []
        for name, is_needed in body_names(record):
            content = self.body_file(name)
            if content is not None:
                found.extend(decode_bodies(content))
            elif is_needed:
                raise IntegrityError("a record's bodies are missing", expected=name.hex())
        return tuple(found)

    def body_file(self, name: bytes) -> bytes | None:
        """The published form of the bodies under ``name``: a canonical array, or None."""
        return self._view.get(BODIES + name)


def body_names(record: Record) -> list[tuple[bytes, bool]]:
    """Under which digests a record's bodies are kept, and whether they must be there.

    Batch and reveal: the root over them. Parameters: each listed profile's digest, and a profile
    may be kept elsewhere. Source: specs/ledger.md §3."""
    if isinstance(record, Batch) or (isinstance(record, Reveal) and record.count):
        return [(record.root, True)]
    if isinstance(record, Genesis):
        return body_names(record.parameters)
    if isinstance(record, Parameters):
        return [(digest, False) for digest in dict.fromkeys(terms.profile for terms in record.profiles)]
    return []


def body_files(record: Record, bodies: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Name and content of what to keep for ``record``: the inverse of reading `body_names`."""
    if isinstance(record, Genesis | Parameters):
        return [(hashlib.sha256(body).digest(), encode_bodies([body])) for body in bodies]
    return [(name, encode_bodies(bodies)) for name, _ in body_names(record)]


def encode_bodies(bodies: Sequence[bytes]) -> bytes:
    """The canonical array of ``bodies``, at most 4 MiB."""
    return canonical.encode(list(bodies), most=FRAME_BYTES_MAX)


def decode_bodies(content: bytes) -> tuple[bytes, ...]:
    """The inverse of `encode_bodies`. Raises MalformedRecordError."""
    bodies = canonical.decode(content, most=FRAME_BYTES_MAX)
    if not isinstance(bodies, list):
        raise MalformedRecordError("not an array of bodies", found=type(bodies).__name__)
    checked: list[bytes] = []
    for body in bodies:
        if not isinstance(body, bytes):
            raise MalformedRecordError("a body is not bytes", found=type(body).__name__)
        checked.append(body)
    return tuple(checked)


def _parse_log(found: bytes) -> tuple[int, bytes]:
    if len(found) != 8 + HASH_SIZE:
        raise IntegrityError("size and root of the log are not readable", found=f"{len(found)} bytes")
    return int.from_bytes(found[:8], "big"), found[8:]

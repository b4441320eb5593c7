"""The tree's hashes in a store: a row for each 16 nodes and what stands on them. Source: specs/ledger.md §3.

A path from leaf to root then asks the store for a quarter as many rows, and a commit writes fewer."""

from typing import Final

from creditledger.credits.state import StateView
from creditledger.errors import IntegrityError
from creditledger.transparency.merkle import HASH_SIZE

NODE: Final = b"h"
ROW_LEVELS: Final = 4
ROW_WIDTH: Final = 1 << ROW_LEVELS
HELD_ROWS: Final = 64


def row_key(level: int, index: int) -> bytes:
    """The key of the row that holds the hash of node ``(level, index)``."""
    return _key(_name(level, index))


def row_place(level: int, index: int) -> int:
    """How many hashes stand before node ``(level, index)`` in its row: those that were complete earlier."""
    rest = level % ROW_LEVELS
    return _PLACES[rest][index % (ROW_WIDTH >> rest)]


def row_count(size: int) -> int:
    """How many rows a tree of ``size`` leaves has."""
    count = 0
    while size:
        count += (size + ROW_WIDTH - 1) // ROW_WIDTH
        size >>= ROW_LEVELS
    return count


def row_hashes(key: bytes, size: int) -> int:
    """How many hashes the row under ``key`` has in a tree of ``size`` leaves."""
    tier, number = key[1], int.from_bytes(key[2:], "big")
    width = min(ROW_WIDTH, max(0, (size >> ROW_LEVELS * tier) - number * ROW_WIDTH))
    # A full row's own root stands in the row above.
    return 2 * width - width.bit_count() - (width == ROW_WIDTH)


def _place(rest: int, offset: int) -> int:
    last = (offset + 1 << rest) - 1
    return 2 * last - last.bit_count() + rest


_TIER_BITS: Final = 4
_TIER_MAX: Final = (1 << _TIER_BITS) - 1
_MASKS: Final = tuple((ROW_WIDTH >> rest) - 1 for rest in range(ROW_LEVELS))
_PLACES: Final = tuple(
    tuple(_place(rest, offset) for offset in range(ROW_WIDTH >> rest)) for rest in range(ROW_LEVELS)
)


_STARTS: Final = tuple(tuple(HASH_SIZE * place for place in places) for places in _PLACES)
_REST: Final = ROW_LEVELS - 1
_REST_BITS: Final = 2


class NodeRows:
    """The hashes of complete nodes, as one transaction sees them; what is added is stored by `flush`."""

    __slots__ = ("_added", "_rows", "_view")

    def __init__(self, view: StateView) -> None:
        self._view = view
        self._rows: dict[int, bytes] = {}
        """Some rows last read or added to: a path asks for several hashes of each, and paths meet."""
        self._added: dict[int, bytes] = {}
        """Rows that were added to. A group of entries fills most of its rows, and stores each once."""

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete node: a `NodeReader`. Raises IntegrityError."""
        # A path has twenty of these: `_name` and `row_place`, spelled out.
        rest = level & _REST
        name = index >> (ROW_LEVELS - rest) << _TIER_BITS | level >> _REST_BITS
        row = self._rows.get(name) or self._read(name)
        at = _STARTS[rest][index & _MASKS[rest]]
        found = row[at : at + HASH_SIZE]
        if len(found) != HASH_SIZE:
            raise IntegrityError(
                f"tree node {level}/{index} is missing", found=f"{len(row)} bytes in its row"
            )
        return found

    def add(self, level: int, index: int, node: bytes) -> None:
        """Keep the hash of a node that has become complete; children come before parents.

        Raises IntegrityError where its row does not end there."""
        rest = level % ROW_LEVELS
        name = _name(level, index)
        row = self._rows.get(name) or self._read(name)
        before = _STARTS[rest][index & _MASKS[rest]]
        if len(row) != before:
            raise IntegrityError(
                f"the row of tree node {level}/{index} does not end before it",
                expected=f"{before} bytes",
                found=f"{len(row)} bytes",
            )
        self._rows[name] = self._added[name] = row + node

    def flush(self) -> None:
        """Store what was added, before the transaction ends or anybody else reads it."""
        for name, row in self._added.items():
            self._view.put(_key(name), row)
        self._added = {}

    def _read(self, name: int) -> bytes:
        row = self._added.get(name) or self._view.get(_key(name)) or b""
        if len(self._rows) >= HELD_ROWS:
            self._rows.clear()
        self._rows[name] = row
        return row


# A row is asked for far more often than it is read: a number is a shorter name for it than its key.
def _name(level: int, index: int) -> int:
    return index >> (ROW_LEVELS - level % ROW_LEVELS) << _TIER_BITS | level // ROW_LEVELS


def _key(name: int) -> bytes:
    return NODE + bytes([name & _TIER_MAX]) + (name >> _TIER_BITS).to_bytes(8, "big")

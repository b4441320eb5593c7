"""Tiles: the log as write-once files of 256 hashes or entries. Source: specs/log.md §4."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from creditledger.errors import MalformedRecordError
from creditledger.transparency.merkle import (
    HASH_SIZE,
    TREE_SIZE_MAX,
    NodeReader,
    leaf_hashes,
    root_from_leaf_hashes,
)

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 256
LEVEL_MAX: Final = 63
ENTRY_SIZE_MAX: Final = 65_535

_PATH: Final = re.compile(
    rb"tile/(?:(?P<level>0|[1-9][0-9]?)|entries)/(?P<index>(?:x[0-9]{3}/)*[0-9]{3})"
    rb"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?"
)
_PATH_SIZE_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One file of the log: a tile of hashes, or of entries. Source: specs/log.md §4."""

    level: int | None
    """0..63, where level L holds the hashes of nodes of 256^L leaves; None for entries."""
    index: int
    width: int = TILE_WIDTH
    """How many hashes or entries: 256 when full, 1..255 when partial."""

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= LEVEL_MAX:
            raise _bad_tile("a level from 0 to 63", str(self.level))
        if not 0 <= self.index <= TREE_SIZE_MAX >> TILE_HEIGHT:
            raise _bad_tile("an index below 2^55", str(self.index))
        if not 1 <= self.width <= TILE_WIDTH:
            raise _bad_tile("a width from 1 to 256", str(self.width))

    @property
    def path(self) -> str:
        """Relative to the log's prefix, such as ``tile/0/x001/234.p/5``."""
        digits = f"{self.index:03d}"
        digits = digits.rjust((len(digits) + 2) // 3 * 3, "0")
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        folder = "entries" if self.level is None else str(self.level)
        suffix = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{folder}/{name}{suffix}"


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile of hashes. Raises MalformedRecordError for numbers out of range."""
    return Tile(level=level, index=index, width=width).path


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """The path of a bundle of entries. Raises MalformedRecordError for numbers out of range."""
    return Tile(level=None, index=index, width=width).path


def parse_tile_path(path: str) -> Tile:
    """The exact inverse of `Tile.path`. Raises MalformedRecordError for any other text.

    A server joins the path of the `Tile` it gets, never the text it was sent."""
    found = None
    if len(path) <= _PATH_SIZE_MAX and path.isascii():
        found = _PATH.fullmatch(path.encode("ascii"))
    if found is None:
        raise _bad_tile("tile/<level>|entries/<index>[.p/<width>]", ascii(path[:60]))
    level, width = found["level"], found["width"]
    tile = Tile(
        level=None if level is None else int(level),
        index=int(found["index"].replace(b"/", b"").replace(b"x", b"")),
        width=TILE_WIDTH if width is None else int(width),
    )
    if tile.path != path:
        raise _bad_tile(tile.path, path[:60])
    return tile


def tiles_for_size(size: int) -> Iterator[Tile]:
    """Every tile of hashes and bundle of entries of a log of ``size`` entries, partials included."""
    return new_tiles(0, size)


def new_tiles(old_size: int, new_size: int) -> Iterator[Tile]:
    """The tiles and bundles of ``new_size`` that ``old_size`` did not have, lowest level first.

    Bundles come first: a tile never speaks of entries that are not there."""
    for level in (None, *range(LEVEL_MAX + 1)):
        shift = TILE_HEIGHT * (level or 0)
        old_count, new_count = old_size >> shift, new_size >> shift
        if new_count == 0:
            return
        if new_count == old_count:
            continue
        for index in range(old_count // TILE_WIDTH, (new_count - 1) // TILE_WIDTH + 1):
            width = min(TILE_WIDTH, new_count - index * TILE_WIDTH)
            yield Tile(level=level, index=index, width=width)


def tile_hashes(read: NodeReader, tile: Tile) -> bytes:
    """The content of a tile of hashes: ``width`` times 32 bytes, read as tree nodes."""
    if tile.level is None:
        raise _bad_tile("a tile of hashes", tile.path)
    start = tile.index * TILE_WIDTH
    level = tile.level * TILE_HEIGHT
    return b"".join(read(level, start + offset) for offset in range(tile.width))


def split_tile(content: bytes, *, width: int) -> list[bytes]:
    """The hashes of a tile. Raises MalformedRecordError unless it holds exactly ``width``."""
    if len(content) != width * HASH_SIZE:
        raise MalformedRecordError(
            "a tile has the wrong size",
            expected=f"{width * HASH_SIZE} bytes",
            found=f"{len(content)} bytes",
        )
    return [content[at : at + HASH_SIZE] for at in range(0, len(content), HASH_SIZE)]


def tile_node_reader(fetch: Callable[[Tile], bytes], *, size: int) -> NodeReader:
    """A node reader over the tiles of a log of ``size`` entries: ``fetch`` gives a tile's content.

    The hashes are as true as the tiles: check the root they lead to against a checkpoint."""
    held: dict[Tile, list[bytes]] = {}

    def read(level: int, index: int) -> bytes:
        tile_level, rest = divmod(level, TILE_HEIGHT)
        start = index << rest
        number = start // TILE_WIDTH
        width = min(TILE_WIDTH, (size >> (TILE_HEIGHT * tile_level)) - number * TILE_WIDTH)
        tile = Tile(level=tile_level, index=number, width=width)
        if tile not in held:
            held[tile] = split_tile(fetch(tile), width=width)
        offset = start % TILE_WIDTH
        hashes = held[tile][offset : offset + (1 << rest)]
        if len(hashes) != 1 << rest:
            raise _bad_tile(f"a complete node of {size} leaves", f"level {level}, index {index}")
        return root_from_leaf_hashes(hashes)

    return read


def encode_entry_bundle(entries: Sequence[bytes]) -> bytes:
    """1..256 entries, each as uint16be length and its bytes. Raises MalformedRecordError."""
    if not 1 <= len(entries) <= TILE_WIDTH:
        raise _bad_bundle("1 to 256 entries", f"{len(entries)}")
    for entry in entries:
        if len(entry) > ENTRY_SIZE_MAX:
            raise _bad_bundle(f"entries of at most {ENTRY_SIZE_MAX} bytes", f"{len(entry)} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_entry_bundle(content: bytes, *, width: int) -> list[bytes]:
    """The ``width`` entries of a bundle. Raises MalformedRecordError for more, less or a tail."""
    entries: list[bytes] = []
    at = 0
    while at < len(content) and len(entries) < width:
        size = int.from_bytes(content[at : at + 2], "big")
        entries.append(content[at + 2 : at + 2 + size])
        at += 2 + size
    if at != len(content) or len(entries) != width:
        raise _bad_bundle(f"{width} whole entries", f"{len(entries)} in {len(content)} bytes")
    return entries


def bundle_leaf_hashes(entries: Sequence[bytes]) -> bytes:
    """The content of the level-0 tile that stands over these entries."""
    return b"".join(leaf_hashes(entries))


def _bad_tile(expected: str, found: str) -> MalformedRecordError:
    return MalformedRecordError("not a tile of the log", expected=expected, found=found)


def _bad_bundle(expected: str, found: str) -> MalformedRecordError:
    return MalformedRecordError("not a bundle of entries", expected=expected, found=found)

"""A published tree, read from the top down so that no hash is believed on its own.

Source: specs/ledger.md §7 and specs/log.md §4."""

from collections import OrderedDict
from typing import Final

from creditledger.errors import InclusionProofError, VerificationError
from creditledger.ledger.source import LogSource
from creditledger.transparency.checkpoint import Checkpoint
from creditledger.transparency.merkle import (
    HASH_SIZE,
    leaf_hash,
    root_from_leaf_hashes,
    tree_root,
)
from creditledger.transparency.tile import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    decode_entry_bundle,
    split_tile,
    tile_node_reader,
)

HELD_TILES: Final = 64


class VerifiedTiles:
    """Tiles, nodes and entries of the tree that a checkpoint names.

    A full tile must hash to its parent's word for it; a level's last, partial tile must give the
    root. Nothing that fails is handed out: InclusionProofError."""

    __slots__ = ("_held", "_size", "_source")

    def __init__(self, source: LogSource, checkpoint: Checkpoint) -> None:
        """Reads the right edge and checks it against the checkpoint's root."""
        self._source = source
        self._size = checkpoint.size
        self._held: OrderedDict[Tile, list[bytes]] = OrderedDict()
        root = tree_root(tile_node_reader(self._fetch_edge, size=checkpoint.size), size=checkpoint.size)
        if root != checkpoint.root:
            raise InclusionProofError(
                "the published tiles do not give the checkpoint's root",
                expected=checkpoint.root.hex(),
                found=root.hex(),
            )

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete node: a `NodeReader`."""
        tile_level, rest = divmod(level, TILE_HEIGHT)
        start = index << rest
        hashes = self.hashes(tile_level, start // TILE_WIDTH)
        offset = start % TILE_WIDTH
        return root_from_leaf_hashes(hashes[offset : offset + (1 << rest)])

    def hashes(self, level: int, index: int) -> list[bytes]:
        """The 1 to 256 hashes of tile ``index`` at a tile level. Raises VerificationError."""
        tile = self._tile(level, index)
        if tile in self._held:
            self._held.move_to_end(tile)
            return self._held[tile]
        hashes = split_tile(fetch_hashes(self._source, tile), width=tile.width)
        if tile.width == TILE_WIDTH:
            parent = self.hashes(level + 1, index // TILE_WIDTH)[index % TILE_WIDTH]
            if root_from_leaf_hashes(hashes) != parent:
                raise InclusionProofError(
                    f"{tile.path} is not what the tile above says",
                    expected=parent.hex(),
                    found=root_from_leaf_hashes(hashes).hex(),
                )
        else:
            raise InclusionProofError("a partial tile inside the tree", found=tile.path)
        return self._hold(tile, hashes)

    def entries(self, index: int) -> list[bytes]:
        """The entries of bundle ``index``, each checked against its leaf hash."""
        leaves = self.hashes(0, index)
        tile = Tile(level=None, index=index, width=len(leaves))
        entries = fetch_entries(self._source, tile)
        for offset, (entry, leaf) in enumerate(zip(entries, leaves, strict=True)):
            if leaf_hash(entry) != leaf:
                raise InclusionProofError(
                    f"entry {index * TILE_WIDTH + offset} is not what the tree says",
                    expected=leaf.hex(),
                    found=leaf_hash(entry).hex(),
                )
        return entries

    def _tile(self, level: int, index: int) -> Tile:
        width = min(TILE_WIDTH, (self._size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH)
        return Tile(level=level, index=index, width=width)

    def _fetch_edge(self, tile: Tile) -> bytes:
        content = fetch_hashes(self._source, tile)
        if tile.width < TILE_WIDTH:
            # All of a partial tile goes into the root, so the root's check vouches for it.
            self._held[tile] = split_tile(content, width=tile.width)
        return content

    def _hold(self, tile: Tile, hashes: list[bytes]) -> list[bytes]:
        self._held[tile] = hashes
        full = [held for held in self._held if held.width == TILE_WIDTH]
        if len(full) > HELD_TILES:
            del self._held[full[0]]
        return hashes


def fetch_hashes(source: LogSource, tile: Tile) -> bytes:
    """A tile of hashes; where only the full tile is still served, its beginning."""
    try:
        return source.tile(tile)
    except VerificationError:
        if tile.width == TILE_WIDTH:
            raise
    return source.tile(Tile(level=tile.level, index=tile.index))[: tile.width * HASH_SIZE]


def fetch_entries(source: LogSource, tile: Tile) -> list[bytes]:
    """The entries of a bundle; where only the full bundle is still served, its beginning."""
    try:
        return decode_entry_bundle(source.tile(tile), width=tile.width)
    except VerificationError:
        if tile.width == TILE_WIDTH:
            raise
    whole = source.tile(Tile(level=None, index=tile.index))
    return decode_entry_bundle(whole, width=TILE_WIDTH)[: tile.width]

"""Partial tiles that a full one has made superfluous. Source: specs/ledger.md §6, after C2SP tlog-tiles."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from creditledger.errors import MalformedRecordError
from creditledger.transparency.tile import TILE_HEIGHT, TILE_WIDTH, Tile, new_tiles, parse_tile_path

_PARTIALS = ".p"


def remove_superseded(public: Path, *, old_size: int, size: int) -> None:
    """Remove the partial tiles that the growth from ``old_size`` to ``size`` has filled.

    Call it when the checkpoint of ``size`` is durable, which its full tiles are then too."""
    _remove(public, (tile for tile in new_tiles(old_size, size) if tile.width == TILE_WIDTH))


def sweep_superseded(public: Path, *, size: int) -> None:
    """Remove all that `remove_superseded` would have, had it never been stopped: looks at every name."""
    _remove(public, (tile for tile in _partly_there(public) if _is_full(tile, size)))


def _remove(public: Path, tiles: Iterable[Tile]) -> None:
    for tile in tiles:
        if (public / tile.path).is_file():
            # Who reads at an older size takes the beginning of the full tile. What cannot be removed now
            # costs space and no correctness: the next sweep tries again.
            with contextlib.suppress(OSError):
                shutil.rmtree(public / (tile.path + _PARTIALS))


def _partly_there(public: Path) -> Iterator[Tile]:
    for folder, names, _ in os.walk(public / "tile"):
        for name in [name for name in names if name.endswith(_PARTIALS)]:
            path = (Path(folder) / name.removesuffix(_PARTIALS)).relative_to(public).as_posix()
            with contextlib.suppress(MalformedRecordError):
                yield parse_tile_path(path)


def _is_full(tile: Tile, size: int) -> bool:
    return (tile.index + 1) << (TILE_HEIGHT * ((tile.level or 0) + 1)) <= size

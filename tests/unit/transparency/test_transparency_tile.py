"""Tiles: paths, which tiles a size has, contents, and another implementation's log."""

import json
from pathlib import Path

import pytest

from creditledger.errors import MalformedRecordError
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.merkle import (
    append_nodes,
    leaf_hash,
    prove_inclusion,
    root_from_leaf_hashes,
    tree_root,
    verify_inclusion,
)
from creditledger.transparency.tile import (
    Tile,
    bundle_leaf_hashes,
    decode_entry_bundle,
    encode_entry_bundle,
    entries_path,
    new_tiles,
    parse_tile_path,
    split_tile,
    tile_hashes,
    tile_node_reader,
    tile_path,
    tiles_for_size,
)
from published_vectors import Tally


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(level=0, index=0), "tile/0/000"),
        (Tile(level=0, index=273, width=112), "tile/0/273.p/112"),
        (Tile(level=63, index=1234067), "tile/63/x001/x234/067"),
        (Tile(level=None, index=1000, width=1), "tile/entries/x001/000.p/1"),
        (Tile(level=1, index=999), "tile/1/999"),
    ],
)
def test_paths_both_ways(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert parse_tile_path(path) == tile


def test_path_functions() -> None:
    assert tile_path(2, 5, 7) == "tile/2/005.p/7"
    assert entries_path(5) == "tile/entries/005"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/001/",
        "/tile/0/001",
        "tile/0/x000/001",
        "tile/0/x01/001",
        "tile/0/X001/001",
        "tile/0/001/001",
        "tile/0/x001",
        "tile/00/001",
        "tile/64/001",
        "tile/-1/001",
        "tile/0/001.p/0",
        "tile/0/001.p/01",
        "tile/0/001.p/256",
        "tile/0/001.p/257",
        "tile/0/001.p/",
        "tile/0/001.p/1/2",
        "tile/0/..",
        "tile/0/../../checkpoint",
        "tile/0/%2e%2e",
        "tile/entries/../0/001",
        "tile/0/001\n",
        "tile/0/\uff10\uff10\uff11",
        "tile/data/001",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/" + "x001/" * 2000 + "000",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(MalformedRecordError):
        parse_tile_path(path)


@pytest.mark.parametrize(
    "bad", [{"level": 64}, {"level": -1}, {"index": -1}, {"index": 2**55}, {"width": 0}, {"width": 257}]
)
def test_numbers_out_of_range_are_refused(bad: dict[str, int]) -> None:
    Tile(level=63, index=2**55 - 1, width=256)
    with pytest.raises(MalformedRecordError):
        Tile(**{"level": 0, "index": 0, "width": 256, **bad})


def test_tiles_of_two_sizes_from_the_specification() -> None:
    assert [tile.path for tile in tiles_for_size(256)] == [
        "tile/entries/000",
        "tile/0/000",
        "tile/1/000.p/1",
    ]
    paths = {tile.path for tile in tiles_for_size(70_000)}
    assert {"tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"} <= paths
    assert len(paths) == 274 * 2 + 2 + 1
    assert not list(tiles_for_size(0))


def test_new_tiles_are_those_the_old_size_did_not_have() -> None:
    for old in (0, 1, 255, 256, 257, 511, 512):
        for new in (old, old + 1, old + 255, old + 256, old + 65_536):
            added = list(new_tiles(old, new))
            assert set(added) == set(tiles_for_size(new)) - set(tiles_for_size(old))
            assert len(added) == len(set(added))


def test_a_tree_is_proven_from_its_tiles_alone() -> None:
    size = 600
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    nodes = {(level, index): value for level, index, value in append_nodes(_none, 0, leaves)}
    files = {
        tile.path: tile_hashes(lambda level, index: nodes[level, index], tile)
        for tile in tiles_for_size(size)
        if tile.level is not None
    }
    read = tile_node_reader(lambda tile: files[tile.path], size=size)
    root = tree_root(read, size=size)
    assert root == root_from_leaf_hashes(leaves)
    for index in (0, 255, 256, 511, 512, 599):
        proof = prove_inclusion(read, index=index, size=size)
        verify_inclusion(leaf=leaves[index], index=index, size=size, proof=proof, root=root)


def test_a_tile_of_another_size_is_refused() -> None:
    assert split_tile(bytes(64), width=2) == [bytes(32)] * 2
    for size in (0, 63, 65, 96):
        with pytest.raises(MalformedRecordError):
            split_tile(bytes(size), width=2)


def test_a_node_beyond_the_size_is_refused() -> None:
    read = tile_node_reader(lambda tile: bytes(32 * tile.width), size=3)
    assert read(1, 0)
    with pytest.raises(MalformedRecordError):
        read(1, 1)
    with pytest.raises(MalformedRecordError):
        read(0, 3)


def test_entry_bundles() -> None:
    entries = [b"", b"x" * 65_535, b"abc"]
    content = encode_entry_bundle(entries)
    assert content[:4] == b"\0\0\xff\xff"
    assert decode_entry_bundle(content, width=3) == entries
    for broken, width in (
        (content, 2),
        (content, 4),
        (content[:-1], 3),
        (content + b"\0", 3),
        (content + b"\0\0", 3),
        (b"", 1),
    ):
        with pytest.raises(MalformedRecordError):
            decode_entry_bundle(broken, width=width)
    for wrong in ([], [b""] * 257, [b"x" * 65_536]):
        with pytest.raises(MalformedRecordError):
            encode_entry_bundle(wrong)
    assert len(encode_entry_bundle([b""] * 256)) == 512


def test_another_implementations_log_byte_for_byte(vectors: Path, ran: Tally) -> None:
    folder = vectors / "tessera-log"
    entries = [entry.encode() for entry in json.loads((folder / "keys.json").read_text())["entries"]]
    assert len(entries) == 15
    nodes: dict[tuple[int, int], bytes] = {}
    for size in range(1, 16):
        new = append_nodes(lambda *at: nodes[at], size - 1, [leaf_hash(entries[size - 1])])
        nodes.update({(level, index): value for level, index, value in new})
        hashes, bundle = tile_path(0, 0, size), entries_path(0, size)
        content = tile_hashes(lambda *at: nodes[at], Tile(level=0, index=0, width=size))
        assert content == (folder / "log" / hashes).read_bytes()
        assert content == bundle_leaf_hashes(entries[:size])
        stored = (folder / "log" / bundle).read_bytes()
        assert encode_entry_bundle(entries[:size]) == stored
        assert decode_entry_bundle(stored, width=size) == entries[:size]
        checkpoint = parse_checkpoint_note((folder / "log" / f"checkpoint.{size}").read_bytes())
        assert (checkpoint.size, checkpoint.root) == (size, tree_root(lambda *at: nodes[at], size=size))
    ran("tessera-log tiles and entry bundles", 2 * size, "byte for byte, with the root of each size")


def _none(level: int, index: int) -> bytes:
    raise KeyError((level, index))

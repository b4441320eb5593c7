"""A published tree, brought to another place: tiles before checkpoint, nothing ever backwards.

Source: specs/ledger.md §16."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Final

from creditledger.errors import BusyError, IntegrityError, OpeningError, VerificationError
from creditledger.ledger.continuation import continued_tree
from creditledger.ledger.publish import CHECKPOINT, body_path
from creditledger.ledger.source import FILE_BYTES_MAX, LogSource
from creditledger.ledger.stored_log import body_names, decode_bodies
from creditledger.ledger.tree_place import TreePlace
from creditledger.ledger.verified_tiles import VerifiedTiles
from creditledger.records.entry import Entry
from creditledger.records.parameters import Genesis, Parameters
from creditledger.records.record import Record
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.merkle import leaf_hashes, root_from_leaf_hashes
from creditledger.transparency.note import NOTE_SIZE_MAX
from creditledger.transparency.tile import TILE_WIDTH, encode_entry_bundle, new_tiles
from creditledger.transparency.trust_policy import TrustPolicy

AT_ONCE: Final = 8
"""Files on their way at the same time, which bounds what is held in memory."""
TURNS: Final = 3
"""How often the checkpoint is tried where somebody else writes to the same place."""

_File = tuple[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeCopy:
    """What came of bringing a tree to a place."""

    size: int
    """Entries under the checkpoint that stands there now."""
    written: int
    """Files that were not there before."""


def copy_tree(source: LogSource, place: TreePlace, policy: TrustPolicy, *, now_unix_ms: int) -> TreeCopy:
    """Bring ``place`` up to the checkpoint that ``source`` shows, every file of it checked on the way.

    Stopped anywhere, it leaves a tree that holds, and the next turn goes on. Raises what
    `TrustPolicy.verify_checkpoint` and `continued_tree` raise: ForkError with evidence, ConsistencyProofError
    where the place shows more; IntegrityError for another file in the way; BusyError, StorageError."""
    written = 0
    for _ in range(TURNS):
        note = source.checkpoint()
        size = policy.verify_checkpoint(note, now_unix_ms=now_unix_ms).checkpoint.size
        found = place.find(CHECKPOINT, most=NOTE_SIZE_MAX)
        seen = [] if found is None else [found.content]
        tiles = continued_tree(source, policy, seen=seen, shown=note)
        standing = parse_checkpoint_note(seen[0]).size if seen else 0
        written += _write_files(_new_files(source, tiles, standing, size), place)
        if seen == [note] or place.replace(CHECKPOINT, note, found=found):
            _remove_superseded(place, standing, size)
            return TreeCopy(size=size, written=written)
    raise BusyError("somebody else writes to this place", expected="one writer")


def _new_files(source: LogSource, tiles: VerifiedTiles, old_size: int, size: int) -> Iterator[_File]:
    """Every file that ``size`` has and ``old_size`` had not: bodies, then bundles, then tiles of hashes."""
    for tile in new_tiles(old_size, size):
        if tile.level is not None:
            yield tile.path, b"".join(tiles.hashes(tile.level, tile.index))
            continue
        entries = tiles.entries(tile.index)
        for entry in entries[max(0, old_size - tile.index * TILE_WIDTH) :]:
            yield from _bodies(source, Entry.decode(entry).record)
        yield tile.path, encode_entry_bundle(entries)


def _bodies(source: LogSource, record: Record) -> Iterator[_File]:
    for name, is_needed in body_names(record):
        try:
            content = source.bodies(name)
        except VerificationError:
            if is_needed:
                raise
            continue
        bodies = decode_bodies(content)
        is_profile = isinstance(record, Genesis | Parameters)
        found = (
            sha256(b"".join(bodies)).digest() if is_profile else root_from_leaf_hashes(leaf_hashes(bodies))
        )
        if found != name:
            raise OpeningError("bodies are not those a record names", expected=name.hex(), found=found.hex())
        yield body_path(name), content


def _write_files(files: Iterator[_File], place: TreePlace) -> int:
    written = 0
    with ThreadPoolExecutor(AT_ONCE) as threads:
        while group := list(islice(files, AT_ONCE)):
            written += sum(threads.map(lambda file: _write(place, *file), group))
    return written


def _write(place: TreePlace, path: str, content: bytes) -> bool:
    if place.create(path, content):
        return True
    found = place.find(path, most=FILE_BYTES_MAX)
    if found is None:
        raise BusyError("a file came and went", found=path)
    if found.content != content:
        raise IntegrityError("a write-once file has other content", found=path)
    return False


def _remove_superseded(place: TreePlace, old_size: int, size: int) -> None:
    for tile in new_tiles(old_size, size):
        if tile.width == TILE_WIDTH:
            place.remove_below(f"{tile.path}.p/")

"""Publication: the store's log as write-once files that anything may serve.

Source: specs/ledger.md §6, after C2SP tlog-tiles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from creditledger.errors import IntegrityError, PolicyError, RollbackError, StorageError
from creditledger.ledger.cosigning import Cosigner, Reply, collect, quorum_error
from creditledger.ledger.directory import (
    disk_errors,
    is_there,
    read_file,
    replace_file,
    sync_directory,
    write_once,
)
from creditledger.ledger.head import log_key
from creditledger.ledger.operator_keys import OperatorAt
from creditledger.ledger.partial_tiles import remove_superseded
from creditledger.ledger.stored_log import StoredLog, body_names
from creditledger.records.entry import Entry
from creditledger.transparency.checkpoint import (
    Checkpoint,
    parse_checkpoint,
    parse_checkpoint_note,
    sign_checkpoint,
)
from creditledger.transparency.cosignature import MlDsaCosignatureSigner
from creditledger.transparency.keys import Ed25519Signer
from creditledger.transparency.merkle import (
    EMPTY_ROOT,
    root_from_leaf_hashes,
    tree_root,
)
from creditledger.transparency.note import Ed25519NoteSigner, Ed25519NoteVerifier, add_signatures, open_note
from creditledger.transparency.tile import (
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    encode_entry_bundle,
    new_tiles,
    tile_hashes,
    tile_node_reader,
)
from creditledger.transparency.trust_policy import TrustPolicy, VerifiedCheckpoint

CHECKPOINT = "checkpoint"


def body_path(name: bytes) -> str:
    """Where the bodies named by a digest are published. Source: specs/ledger.md §6."""
    return f"batch/{name.hex()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A published checkpoint and its note."""

    note: bytes
    verified: VerifiedCheckpoint
    replies: tuple[Reply, ...]
    """What became of asking each witness."""


class Publisher:
    """Projects one log onto one public directory."""

    __slots__ = ("_ml_dsa", "_operator", "_operator_at", "_origin", "_public")

    def __init__(
        self,
        public: Path,
        *,
        origin: str,
        operator: Ed25519Signer,
        ml_dsa: MlDsaCosignatureSigner | None = None,
        operator_at: OperatorAt | None = None,
    ) -> None:
        """``ml_dsa``: the log's second key, which signs what ``operator`` signs. ``operator_at``: who signed
        what was published before; by default ``operator``."""
        self._public = public
        self._origin = origin
        self._operator = operator
        self._ml_dsa = ml_dsa
        self._operator_at = operator_at or (lambda size: operator.public_key)

    def publish(
        self, log: StoredLog, *, policy: TrustPolicy, cosigners: Sequence[Cosigner], now_unix_ms: int
    ) -> Publication:
        """Publish all of ``log``, cosigned as ``policy`` asks; again without news it is dated anew.

        Raises IntegrityError or RollbackError before anything is signed that contradicts the tree,
        the last checkpoint or a written file; where the quorum of witnesses is not reached BusyError,
        or what is worse among their replies (the old checkpoint stays); StorageError."""
        published = self.published()
        _require_continuation(log, published)
        # Tiles before checkpoint: a crash in between leaves spare tiles; reversed, a root nobody can
        # prove. Their names are durable before the checkpoint that speaks of them is.
        self._write_files(log, published.size)
        publication = self._cosigned(log, published.size, policy, cosigners, now_unix_ms)
        replace_file(self._public / CHECKPOINT, publication.note)
        remove_superseded(self._public, old_size=published.size, size=log.size)
        return publication

    def _cosigned(
        self,
        log: StoredLog,
        old_size: int,
        policy: TrustPolicy,
        cosigners: Sequence[Cosigner],
        now_unix_ms: int,
    ) -> Publication:
        checkpoint = Checkpoint(origin=self._origin, size=log.size, root=log.root)
        signed = sign_checkpoint(checkpoint, [Ed25519NoteSigner(self._origin, self._operator)])
        note = signed
        if self._ml_dsa is not None:
            own = self._ml_dsa.cosign(checkpoint.text, timestamp=now_unix_ms // 1_000)
            note = add_signatures(signed, [own.line])
        replies = collect(
            cosigners, signed, log, old_size=old_size, suffices=lambda lines: _suffices(policy, note, lines)
        )
        note = add_signatures(note, [reply.line for reply in replies if reply.line])
        try:
            verified = policy.verify_checkpoint(note)
        except PolicyError as error:
            raise quorum_error(error, replies) from error
        return Publication(note=note, verified=verified, replies=tuple(replies))

    def published(self) -> Checkpoint:
        """The last published checkpoint, or the empty log's. Raises IntegrityError if it is not ours."""
        path = self._public / CHECKPOINT
        if not is_there(path):
            return Checkpoint(origin=self._origin, size=0, root=EMPTY_ROOT)
        try:
            note = read_file(path, what="checkpoint")
            operator = self._operator_at(parse_checkpoint_note(note).size)
            text, _ = open_note(note, [Ed25519NoteVerifier(log_key(self._origin, operator))])
            return parse_checkpoint(text)
        except StorageError:
            raise
        except Exception as error:
            raise IntegrityError("the published checkpoint is not ours", found=str(error)) from error

    def _write_files(self, log: StoredLog, old_size: int) -> None:
        touched: set[Path] = set()
        for path, content in published_files(log, old_size=old_size):
            target = self._public / path
            with disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            # Also where the file is there already: whoever wrote it may have been stopped before its
            # name was durable.
            write_once(target, content)
            touched.add(target.parent)
        # A new folder's own name must last too: sync up to the public folder.
        folders = {folder for leaf in touched for folder in (leaf, *leaf.parents)}
        for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
            if folder == self._public or self._public in folder.parents:
                with disk_errors(folder):
                    sync_directory(folder)


def _suffices(policy: TrustPolicy, note: bytes, lines: Sequence[bytes]) -> bool:
    try:
        policy.verify_checkpoint(add_signatures(note, lines))
    except PolicyError:
        return False
    return True


def published_files(log: StoredLog, *, old_size: int) -> Iterator[tuple[str, bytes]]:
    """Path and content of each file that publishing ``log`` adds to a publication of ``old_size``.

    Bodies first, then bundles of entries, then tiles of hashes. Every entry is checked against its
    leaf hash and every new tile against its parent: raises IntegrityError instead of giving a file
    that contradicts the log's root."""
    _require_edge_of_tiles(log)
    for tile in new_tiles(old_size, log.size):
        if tile.level is not None:
            _require_parents(log, tile, old_size)
            yield tile.path, tile_hashes(log.node, tile)
            continue
        start = tile.index * TILE_WIDTH
        entries = [log.entry_bytes(start + offset) for offset in range(tile.width)]
        for offset, entry in enumerate(entries):
            if start + offset >= old_size:
                yield from _bodies(log, entry)
        yield tile.path, encode_entry_bundle(entries)


def _bodies(log: StoredLog, entry: bytes) -> Iterator[tuple[str, bytes]]:
    for name, is_needed in body_names(Entry.decode(entry).record):
        content = log.body_file(name)
        if content is not None:
            yield body_path(name), content
        elif is_needed:
            raise IntegrityError("a record's bodies are missing", expected=name.hex())


def _require_parents(log: StoredLog, tile: Tile, old_size: int) -> None:
    """Each node of a tile that is new must be the hash over its 256 children."""
    level = TILE_HEIGHT * (tile.level or 0)
    if level == 0:
        return
    first = max(tile.index * TILE_WIDTH, old_size >> level)
    for index in range(first, tile.index * TILE_WIDTH + tile.width):
        children = (log.node(level - TILE_HEIGHT, index * TILE_WIDTH + at) for at in range(TILE_WIDTH))
        computed, stored = root_from_leaf_hashes(children), log.node(level, index)
        if computed != stored:
            raise IntegrityError(
                f"tree node {level}/{index} is not the hash over its children",
                expected=computed.hex(),
                found=stored.hex(),
            )


def _require_edge_of_tiles(log: StoredLog) -> None:
    """The hashes in the rightmost tiles must give the log's root."""
    read = tile_node_reader(lambda tile: tile_hashes(log.node, tile), size=log.size)
    root = tree_root(read, size=log.size)
    if root != log.root:
        raise IntegrityError(
            "the tree's right edge does not give its root", expected=log.root.hex(), found=root.hex()
        )


def _require_continuation(log: StoredLog, published: Checkpoint) -> None:
    if published.size > log.size:
        raise RollbackError(
            "more is published than the store holds",
            expected=f"at least {published.size} entries",
            found=str(log.size),
        )
    root = log.root_at(published.size)
    if root != published.root:
        raise RollbackError(
            f"the published log has another history up to entry {published.size}",
            expected=published.root.hex(),
            found=root.hex(),
        )

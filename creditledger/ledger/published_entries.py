"""The entries and bodies of a published log, proven under one checkpoint. Source: specs/ledger.md §6.

What `StoredLog` is to the writer: a reader without the store can make proofs from it."""

from creditledger.errors import BusyError, UnknownIdError
from creditledger.ledger.bundle_note import note_for
from creditledger.ledger.prove import Prover
from creditledger.ledger.replica import Replica
from creditledger.ledger.source import LogSource, published_bodies
from creditledger.ledger.verified_tiles import VerifiedTiles
from creditledger.records.record import Record
from creditledger.transparency.checkpoint import Checkpoint
from creditledger.transparency.tile import TILE_WIDTH
from creditledger.transparency.trust_policy import TrustPolicy


class PublishedEntries:
    """One checkpoint's log, read from public files; nothing counts that its root does not bear out."""

    __slots__ = ("_source", "_tiles", "size")

    size: int
    """Entries in the checkpoint's tree."""

    def __init__(self, source: LogSource, checkpoint: Checkpoint) -> None:
        """Reads the tree's right edge. Raises VerificationError, StorageError."""
        self._source = source
        self._tiles = VerifiedTiles(source, checkpoint)
        self.size = checkpoint.size

    def entry_bytes(self, index: int) -> bytes:
        """Entry ``index``. Raises UnknownIdError beyond the tree, VerificationError, StorageError."""
        if not 0 <= index < self.size:
            raise UnknownIdError(
                "the log has no such entry", expected=f"0..{self.size - 1}", found=str(index)[:40]
            )
        return self._tiles.entries(index // TILE_WIDTH)[index % TILE_WIDTH]

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete node: a `NodeReader`."""
        return self._tiles.node(level, index)

    def bodies(self, record: Record) -> tuple[bytes, ...]:
        """The bodies beside a logged record, as the fold takes them; they are not yet held against it."""
        return published_bodies(self._source, record)


def published_prover(source: LogSource, replica: Replica, policy: TrustPolicy) -> Prover:
    """A prover over what ``replica`` has followed from ``source``, to readers with ``policy``.

    Raises BusyError before all of it was followed, PolicyError if ``policy`` knows none of the
    checkpoint's lines."""
    if replica.checkpoint is None or replica.size < replica.checkpoint.size:
        raise BusyError("the published log was not followed to its end yet", found=str(replica.size))
    return Prover(
        ledger_id=replica.ledger_id,
        log=PublishedEntries(source, replica.checkpoint),
        state=replica.state,
        published_note=replica.note,
        note=note_for(replica.note, policy),
        size=replica.checkpoint.size,
    )

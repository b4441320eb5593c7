"""Whether what a log shows now continues what it showed before, and evidence where it does not.

Source: specs/ledger.md §12."""

from collections.abc import Sequence

from creditledger.errors import ConsistencyProofError, CreditLedgerError, ForkError
from creditledger.ledger.source import LogSource
from creditledger.ledger.verified_tiles import VerifiedTiles
from creditledger.transparency.checkpoint import Checkpoint, parse_checkpoint_note
from creditledger.transparency.fork import make_fork
from creditledger.transparency.merkle import NodeReader, tree_root
from creditledger.transparency.trust_policy import TrustPolicy


def continued_tree(
    source: LogSource, policy: TrustPolicy, *, seen: Sequence[bytes], shown: bytes
) -> VerifiedTiles:
    """The tree of the note ``shown``, which continues those of the notes ``seen``, by what is served.

    Raises ForkError with evidence; ConsistencyProofError for a log that became shorter, or contradicts
    what was seen without evidence; VerificationError for tiles that do not hold, BusyError, StorageError."""
    new = parse_checkpoint_note(shown)
    earlier = [(note, parse_checkpoint_note(note)) for note in seen]
    for note, old in earlier:
        if new.origin != old.origin:
            raise ConsistencyProofError("another log is served", expected=old.origin, found=new.origin)
        if new.size < old.size:
            raise _shorter(source, policy, note, shown)
        if new.size == old.size and new.root != old.root:
            # The two notes tell all: no tile is asked for.
            raise _forked(policy, note, shown, None)
    tiles = VerifiedTiles(source, new)
    for note, old in earlier:
        if tree_root(tiles.node, size=old.size) != old.root:
            raise _forked(policy, note, shown, tiles.node)
    return tiles


def _shorter(source: LogSource, policy: TrustPolicy, seen: bytes, shown: bytes) -> ConsistencyProofError:
    """A fork if the larger tree's own files tell; else a rollback, or an old copy."""
    old, new = parse_checkpoint_note(seen), parse_checkpoint_note(shown)
    known = ""
    try:
        read = VerifiedTiles(source, old).node
        if tree_root(read, size=new.size) != new.root:
            return _forked(policy, shown, seen, read)
    except CreditLedgerError:
        known = "; whether it forked cannot be told from what is served"
    return ConsistencyProofError(
        f"the log has become shorter: it was rolled back, or this is an old copy{known}",
        expected=f"at least {old.size} entries",
        found=str(new.size),
    )


def _forked(
    policy: TrustPolicy, first: bytes, second: bytes, read: NodeReader | None
) -> ConsistencyProofError:
    """A ForkError, or a plain one where nobody else could be convinced. ``first``: of the smaller tree."""
    one, other = parse_checkpoint_note(first), parse_checkpoint_note(second)
    said = f"the log signed two histories, of {one.size} and of {other.size} entries"
    try:
        evidence = make_fork(first, second, policy, read).encode()
    except CreditLedgerError as error:
        return ConsistencyProofError(
            f"{said}, but there is no evidence: {error}", expected=_root(one), found=_root(other)
        )
    return ForkError(
        said, evidence=evidence, sizes=(one.size, other.size), expected=_root(one), found=_root(other)
    )


def _root(checkpoint: Checkpoint) -> str:
    return f"{checkpoint.size} {checkpoint.root.hex()}"

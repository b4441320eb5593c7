"""A reader's own copy of the state, made from nothing but a public log and a policy.

Source: specs/ledger.md §7."""

from collections.abc import Callable, Iterator
from typing import Final

from creditledger.credits import reading
from creditledger.credits.fold import FoldContext, SignatureVerifier, TransparencyVerifier, apply_entry
from creditledger.credits.pool import in_force
from creditledger.credits.state import MemoryState, State, StateView
from creditledger.errors import (
    BusyError,
    ConsistencyProofError,
    CreditLedgerError,
    MalformedRecordError,
    PolicyError,
    SignatureError,
    VerificationError,
)
from creditledger.ledger.source import LogSource
from creditledger.ledger.stored_log import body_names, decode_bodies
from creditledger.ledger.verified_tiles import VerifiedTiles
from creditledger.records.entry import Entry
from creditledger.records.parameters import Genesis
from creditledger.records.record import Record
from creditledger.transparency.checkpoint import Checkpoint
from creditledger.transparency.merkle import EMPTY_ROOT, tree_root
from creditledger.transparency.tile import TILE_WIDTH
from creditledger.transparency.trust_policy import TrustPolicy, VerifiedCheckpoint

_NO_LIMIT: Final = 2**63 - 1


class Replica:
    """Follows a `LogSource` and folds what it can prove; holds the state, never the log.

    Whatever does not hold raises, and leaves the replica at the last entry that did."""

    def __init__(
        self,
        source: LogSource,
        policy: TrustPolicy,
        *,
        state: StateView | None = None,
        seen: Checkpoint | None = None,
        verifier: SignatureVerifier | None = None,
    ) -> None:
        """``state``: an empty view to fold into; by default in memory. ``seen``: a checkpoint that was
        accepted before, which the log must continue."""
        self._source = source
        self._policy = policy
        self._verifier = verifier or TransparencyVerifier()
        self._ledger_id = b""
        self.state: StateView = MemoryState() if state is None else state
        """What the folded entries give, for `credits.reading`."""
        self.checkpoint: Checkpoint | None = seen
        """The last checkpoint that was accepted; it may speak of more than was folded."""
        self.note = b""
        """Its note."""
        self.size = 0
        """Entries folded."""
        self.time_unix_ms = 0
        """The last folded entry's time."""

    @property
    def ledger_id(self) -> bytes:
        """32 bytes. Raises VerificationError before the genesis is folded."""
        if not self._ledger_id:
            raise VerificationError("nothing was read yet", expected="a genesis")
        return self._ledger_id

    def follow(self, now_unix_ms: int, up_to: int | None = None) -> Checkpoint:
        """Read the newest checkpoint and fold up to its end, or up to ``up_to`` entries.

        Checks, in this order: log signature and witness quorum, continuation of the last checkpoint,
        every tile and entry against the root, times against the witnesses and ``now_unix_ms`` (plus
        the pool's tolerance), bodies and rules as the fold does. Raises VerificationError,
        RefusedError or MalformedRecordError, naming the entry."""
        for _ in self.steps(now_unix_ms, up_to):
            pass
        if self.checkpoint is None:
            raise VerificationError("nothing was read yet", expected="a checkpoint")
        return self.checkpoint

    def steps(self, now_unix_ms: int, up_to: int | None = None) -> Iterator[tuple[int, Entry]]:
        """As `follow`, handing out index and entry after each was folded."""
        note = self._source.checkpoint()
        verified = self._policy.verify_checkpoint(note, now_unix_ms=now_unix_ms)
        checkpoint = verified.checkpoint
        self._require_operator(verified)
        tiles = VerifiedTiles(self._source, checkpoint)
        self._require_continuation(tiles, checkpoint)
        before = self.checkpoint, self.note
        self.checkpoint, self.note = checkpoint, note
        latest = min(
            now_unix_ms, _NO_LIMIT if verified.cosigned_unix_ms is None else verified.cosigned_unix_ms
        )
        stop = checkpoint.size if up_to is None else min(up_to, checkpoint.size)
        while self.size < stop:
            start = self.size // TILE_WIDTH * TILE_WIDTH
            entries = tiles.entries(self.size // TILE_WIDTH)
            for encoded in entries[self.size - start : stop - start]:
                entry = self._fold(encoded, tiles, latest)
                try:
                    self._require_operator(verified)
                except SignatureError:
                    self.checkpoint, self.note = before
                    raise
                yield self.size - 1, entry

    def _fold(self, encoded: bytes, tiles: VerifiedTiles, latest_unix_ms: int) -> Entry:
        index = self.size
        try:
            entry = Entry.decode(encoded)
            self._require_time(entry, latest_unix_ms)
            ledger_id = self._ledger_id or self._found(entry.record)
            bodies = self._bodies(entry.record)
            self._apply(entry, bodies, ledger_id, lambda: tree_root(tiles.node, size=index))
        except CreditLedgerError as error:
            error.args = (f"entry {index}: {error}"[:500],)
            raise
        self._ledger_id = ledger_id
        self.size = index + 1
        self.time_unix_ms = entry.time_unix_ms
        return entry

    def _apply(
        self, entry: Entry, bodies: tuple[bytes, ...], ledger_id: bytes, log_root: Callable[[], bytes]
    ) -> None:
        context = FoldContext(
            ledger_id=ledger_id, index=self.size, log_root=log_root, verifier=self._verifier
        )
        try:
            apply_entry(self.state, entry, bodies, context)
        except BusyError as error:
            # "Too early" is a matter of waiting for a writer; in a log it is a fault.
            raise VerificationError(str(error), expected=error.expected, found=error.found) from error

    def _found(self, record: Record) -> bytes:
        """The ledger's id from its genesis, which must be the one that the policy names."""
        if not isinstance(record, Genesis):
            raise MalformedRecordError("a log begins with a genesis", found=record.KIND.name.lower())
        wanted = self._policy.ledger_id
        if wanted is not None and record.ledger_id != wanted:
            raise PolicyError(
                "the log is of another ledger", expected=wanted.hex(), found=record.ledger_id.hex()
            )
        keys = [log.vkey.public_key for log in self._policy.logs]
        if record.operator not in keys:
            raise PolicyError("the log's key is not the genesis' operator", found=record.operator.hex())
        return record.ledger_id

    def _require_time(self, entry: Entry, latest_unix_ms: int) -> None:
        record = entry.record
        rules = record.parameters if isinstance(record, Genesis) else in_force(State(self.state))
        if entry.time_unix_ms > latest_unix_ms + rules.clock_tolerance_ms:
            raise VerificationError(
                "entry is dated after it was witnessed",
                expected=f"at most {latest_unix_ms} plus {rules.clock_tolerance_ms} ms",
                found=str(entry.time_unix_ms),
            )

    def _bodies(self, record: Record) -> tuple[bytes, ...]:
        bodies: list[bytes] = []
        for name, is_needed in body_names(record):
            try:
                bodies.extend(decode_bodies(self._source.bodies(name)))
            except VerificationError:
                if is_needed:
                    raise
        return tuple(bodies)

    def _require_operator(self, verified: VerifiedCheckpoint) -> None:
        """The checkpoint's key is the operator's for its size, as soon as that can be told.

        A retired key never signs again; one that is not known yet may still come into force."""
        if not self.size:
            return
        keys = [key for _, key in reading.operator_keys(self.state)]
        may_come = self.size < verified.checkpoint.size and not verified.log_keys <= set(keys)
        if keys[-1] not in verified.log_keys and not may_come:
            raise SignatureError(
                "the checkpoint is not signed by the operator's key for its size",
                expected=keys[-1].hex(),
                found=", ".join(sorted(key.hex() for key in verified.log_keys)),
            )

    def _require_continuation(self, tiles: VerifiedTiles, new: Checkpoint) -> None:
        old = self.checkpoint or Checkpoint(origin=new.origin, size=0, root=EMPTY_ROOT)
        if new.size < old.size:
            raise ConsistencyProofError(
                "the log has become shorter", expected=f"at least {old.size} entries", found=str(new.size)
            )
        root = tree_root(tiles.node, size=old.size)
        if root != old.root:
            raise ConsistencyProofError(
                f"the log has another history up to entry {old.size}",
                expected=old.root.hex(),
                found=root.hex(),
            )

"""A reader's own copy of the state, made from nothing but a public log and a policy.

Source: specs/ledger.md §7."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeAlias

from creditledger.credits import reading
from creditledger.credits.fold import FoldContext, SignatureVerifier, TransparencyVerifier, apply_entry
from creditledger.credits.pool import in_force
from creditledger.credits.state import MemoryState, State, StateView
from creditledger.errors import (
    BusyError,
    CreditLedgerError,
    MalformedRecordError,
    PolicyError,
    SignatureError,
    VerificationError,
)
from creditledger.ledger.continuation import continued_tree
from creditledger.ledger.last_seen import LastSeen
from creditledger.ledger.source import LogSource, published_bodies
from creditledger.ledger.verified_tiles import VerifiedTiles
from creditledger.records.entry import Entry
from creditledger.records.parameters import Genesis
from creditledger.records.record import Record
from creditledger.transparency.checkpoint import Checkpoint, parse_checkpoint_note
from creditledger.transparency.merkle import tree_root
from creditledger.transparency.tile import TILE_WIDTH
from creditledger.transparency.trust_policy import TrustPolicy, VerifiedCheckpoint

_NO_LIMIT: Final = 2**63 - 1
Keep: TypeAlias = Callable[[bytes, Record, tuple[bytes, ...]], None]
"""Told each entry's bytes, its record and its bodies, once it was folded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """How far an earlier replica came, whose state is gone on with."""

    ledger_id: bytes
    size: int
    """At least the genesis."""
    time_unix_ms: int
    note: bytes
    """The last checkpoint that it accepted."""


class Replica:
    """Follows a `LogSource` and folds what it can prove; holds the state, never the log.

    Whatever does not hold raises, and leaves the replica at the last entry that did."""

    def __init__(
        self,
        source: LogSource,
        policy: TrustPolicy,
        *,
        state: StateView | None = None,
        memory: LastSeen | None = None,
        verifier: SignatureVerifier | None = None,
        folded: Folded | None = None,
        keep: Keep = lambda encoded, record, bodies: None,
    ) -> None:
        """``state``: an empty view to fold into, or what ``folded`` came to; by default in memory.
        ``memory``: the last checkpoint seen, which the log must continue, and which it then becomes."""
        self._source = source
        self._policy = policy
        self._verifier = verifier or TransparencyVerifier()
        self._memory = memory
        self._kept: bytes | None = None
        self._ledger_id = b""
        self.state: StateView = MemoryState() if state is None else state
        """What the folded entries give, for `credits.reading`."""
        self.seen: Checkpoint | None = None
        """What ``memory`` held at the last look; None the first time."""
        self.checkpoint: Checkpoint | None = None
        """The last checkpoint that was accepted; it may speak of more than was folded."""
        self.note = b""
        """Its note."""
        self.size = 0
        """Entries folded."""
        self.time_unix_ms = 0
        """The last folded entry's time."""
        self._keep = keep
        if folded is not None:
            self._ledger_id, self.size, self.time_unix_ms = folded.ledger_id, folded.size, folded.time_unix_ms
            self.note, self.checkpoint = folded.note, parse_checkpoint_note(folded.note)

    @property
    def ledger_id(self) -> bytes:
        """32 bytes. Raises VerificationError before the genesis is folded."""
        if not self._ledger_id:
            raise VerificationError("nothing was read yet", expected="a genesis")
        return self._ledger_id

    def follow(self, now_unix_ms: int, up_to: int | None = None) -> Checkpoint:
        """Read the newest checkpoint and fold up to its end, or up to ``up_to`` entries.

        Checks, in this order: log signature and witness quorum, continuation of the last checkpoint
        (which is then kept: what the log signed binds it, also where it breaks the rules), every tile and
        entry against the root, times against the witnesses and ``now_unix_ms`` (plus the pool's
        tolerance), bodies and rules as the fold does. Raises VerificationError (ForkError for a log that
        signed two histories), RefusedError or MalformedRecordError, naming the entry."""
        for _ in self.steps(now_unix_ms, up_to):
            pass
        if self.checkpoint is None:
            raise VerificationError("nothing was read yet", expected="a checkpoint")
        return self.checkpoint

    def steps(self, now_unix_ms: int, up_to: int | None = None) -> Iterator[tuple[int, Entry]]:
        """As `follow`, handing out index and entry after each was folded."""
        before = self.checkpoint, self.note
        verified, tiles = self._accept(now_unix_ms)
        checkpoint = verified.checkpoint
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
                    self._forget(*before)
                    raise
                yield self.size - 1, entry

    def _accept(self, now_unix_ms: int) -> tuple[VerifiedCheckpoint, VerifiedTiles]:
        """The newest checkpoint, which is the last one seen from now on, and its tree."""
        if self._memory is None:
            return self._continued(now_unix_ms, None)
        with self._memory.locked():
            kept = self._memory.note()
            self.seen = None if kept is None else parse_checkpoint_note(kept)
            accepted = self._continued(now_unix_ms, kept)
            self._memory.keep(self.note)
        self._kept = kept
        return accepted

    def _continued(self, now_unix_ms: int, kept: bytes | None) -> tuple[VerifiedCheckpoint, VerifiedTiles]:
        note = self._source.checkpoint()
        verified = self._policy.verify_checkpoint(note, now_unix_ms=now_unix_ms)
        self._require_operator(verified)
        seen = [each for each in dict.fromkeys((kept, self.note)) if each]
        tiles = continued_tree(self._source, self._policy, seen=seen, shown=note)
        self.checkpoint, self.note = verified.checkpoint, note
        return verified, tiles

    def _forget(self, checkpoint: Checkpoint | None, note: bytes) -> None:
        """Go back to what was accepted before: a retired key signed the rest, so it is nobody's word."""
        refused, self.checkpoint, self.note = self.note, checkpoint, note
        if self._memory is not None:
            # Where another reader is at it, its own replay finds the same.
            with suppress(BusyError):
                self._memory.put_back(self._kept, instead_of=refused)

    def _fold(self, encoded: bytes, tiles: VerifiedTiles, latest_unix_ms: int) -> Entry:
        index = self.size
        try:
            entry = Entry.decode(encoded)
            self._require_time(entry, latest_unix_ms)
            ledger_id = self._ledger_id or self._found(entry.record)
            bodies = published_bodies(self._source, entry.record)
            self._apply(entry, bodies, ledger_id, lambda: tree_root(tiles.node, size=index))
        except CreditLedgerError as error:
            error.args = (f"entry {index}: {error}"[:500],)
            raise
        self._keep(encoded, entry.record, bodies)
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

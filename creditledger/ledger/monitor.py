"""What a log says about one key: every entry that names it, and every change of the rules.

Source: specs/ledger.md §14."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from creditledger.credits import reading
from creditledger.errors import InclusionProofError, SignatureError
from creditledger.ledger.replica import Replica
from creditledger.ledger.source import LogSource
from creditledger.ledger.stored_log import body_names, decode_bodies
from creditledger.ledger.verified_tiles import VerifiedTiles
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.entry import Entry
from creditledger.records.parameters import Genesis, Parameters
from creditledger.records.receipt import Batch, Receipt
from creditledger.records.record import Fields, Record
from creditledger.records.round import Attestation
from creditledger.records.transfer import Capture
from creditledger.records.verdict import Commit, Reveal, Verdict
from creditledger.transparency.keys import PUBLIC_KEY_SIZE, verify_ed25519
from creditledger.transparency.merkle import leaf_hash, root_from_leaf_hashes
from creditledger.transparency.tile import TILE_WIDTH

REFERENCES: Final = frozenset({"hold", "job", "receipt", "capture"})
"""Fields that name another record by its digest; who is named there is named here."""
SIGNATURE: Final = "signature"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """An entry that names the key, its account, or a job, hold, receipt or capture of theirs."""

    index: int
    time_unix_ms: int
    record: Record
    fields: tuple[str, ...]
    """Where, each once: such as ``payee``, ``plan.node``, ``receipt.node``; `SIGNATURE` if the key signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesChanged:
    """New parameters were logged; they take effect with a later certified round."""

    index: int
    time_unix_ms: int
    parameters: Parameters
    is_new_committee: bool
    """Whether members or quorum are others than in the parameters logged before."""


Event = Named | RulesChanged


class Monitor:
    """Follows a log for one key: an Ed25519 key of 32 bytes or a validator's BLS key of 48."""

    __slots__ = ("_acts", "_changes", "_key", "_latest", "_next", "_replica", "_source")

    def __init__(self, replica: Replica, source: LogSource, *, key: bytes, start: int) -> None:
        """``replica``: a fresh one over ``source``. ``start``: the first index to report."""
        self._replica = replica
        self._source = source
        self._key = key
        self._next = start
        self._latest: Parameters | None = None
        self._changes: dict[int, bool] = {}
        self._acts: set[int] = set()

    @property
    def next_index(self) -> int:
        """Everything before it has been reported."""
        return self._next

    def turn(self, now_unix_ms: int) -> Iterator[Event]:
        """What is new since the last turn, in the log's order.

        First all is folded, since a later rotation may say whose account the key is; then the new
        entries are read again, each checked against the tree. Raises as `Replica.follow`."""
        for index, entry in self._replica.steps(now_unix_ms):
            self._note(index, entry)
        if self._replica.checkpoint is None or self._next >= self._replica.size:
            return
        reported = _Scan(self._replica, self._source, self._key)
        for index, entry in reported.entries(self._next):
            named = reported.naming_fields(entry, is_own_act=index in self._acts)
            if named:
                yield Named(index=index, time_unix_ms=entry.time_unix_ms, record=entry.record, fields=named)
            if isinstance(entry.record, Parameters):
                yield RulesChanged(
                    index=index,
                    time_unix_ms=entry.time_unix_ms,
                    parameters=entry.record,
                    is_new_committee=self._changes[index],
                )
        self._next = self._replica.size
        self._acts.clear()

    def _note(self, index: int, entry: Entry) -> None:
        """What only the state of this moment tells."""
        record = entry.record
        if isinstance(record, Genesis):
            self._latest = record.parameters
        elif isinstance(record, Parameters):
            before, self._latest = self._latest, record
            self._changes[index] = before is None or (
                (before.committee, before.quorum) != (record.committee, record.quorum)
            )
        elif isinstance(record, Attestation | Commit | Reveal) and index >= self._next:
            committee = reading.parameters_in_force(self._replica.state).committee
            if record.member < len(committee) and committee[record.member].bls_key == self._key:
                self._acts.add(index)


class _Scan:
    """One pass over entries that were folded, with the state at its end."""

    __slots__ = ("_key", "_ledger_id", "_names", "_size", "_source", "_state", "_tiles")

    def __init__(self, replica: Replica, source: LogSource, key: bytes) -> None:
        if replica.checkpoint is None:
            raise InclusionProofError("nothing was read yet", expected="a checkpoint")
        self._tiles = VerifiedTiles(source, replica.checkpoint)
        self._source, self._state, self._size = source, replica.state, replica.size
        self._ledger_id = replica.ledger_id
        self._key = key
        known = reading.key_state(self._state, key) if len(key) == PUBLIC_KEY_SIZE else None
        self._names = {key} if known is None else {key, known.account}

    def entries(self, start: int) -> Iterator[tuple[int, Entry]]:
        """Entries from ``start`` to the end."""
        index = start
        while index < self._size:
            first = index // TILE_WIDTH * TILE_WIDTH
            for encoded in self._tiles.entries(index // TILE_WIDTH)[index - first : self._size - first]:
                yield index, Entry.decode(encoded)
                index += 1

    def naming_fields(self, entry: Entry, *, is_own_act: bool) -> tuple[str, ...]:
        """Where the entry names us; empty if it does not."""
        found = dict.fromkeys(self._in_fields(entry.record))
        for body in self._bodies(entry.record):
            name = body.KIND.name.lower()
            found |= dict.fromkeys(f"{name}.{place}" for place in self._in_fields(body))
        if is_own_act or self._is_signed(entry):
            found[SIGNATURE] = None
        return tuple(found)

    def _in_fields(self, row: Fields) -> Iterator[str]:
        for name in row.__struct_fields__:
            value = getattr(row, name)
            if isinstance(value, bytes):
                if value in self._names or (name in REFERENCES and self._is_ours(name, value)):
                    yield name
                continue
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Fields):
                    yield from (f"{name}.{place}" for place in self._in_fields(item))

    def _is_ours(self, what: str, digest: bytes) -> bool:
        """Whether the record with this digest names us."""
        if digest == ZERO_DIGEST:
            return False
        if what == "job":
            job = reading.job_body(self._state, digest)
            return job is not None and any(self._in_fields(job))
        if what == "hold":
            hold = reading.hold_body(self._state, digest)
            return hold is not None and any(self._in_fields(hold))
        if what == "receipt":
            receipt = reading.receipt_state(self._state, digest)
            return receipt is not None and (receipt.node in self._names or self._is_ours("job", receipt.job))
        capture = self._capture(digest)
        return capture is not None and any(self._in_fields(capture))

    def _capture(self, digest: bytes) -> Capture | None:
        index = reading.consumed_index(self._state, digest)
        if index is None:
            return None
        encoded = self._tiles.entries(index // TILE_WIDTH)[index % TILE_WIDTH]
        record = Entry.decode(encoded).record
        return record if isinstance(record, Capture) else None

    def _bodies(self, record: Record) -> Iterator[Receipt | Verdict]:
        """The receipts of a batch or verdicts of a reveal, checked once more against its root."""
        if not isinstance(record, Batch | Reveal):
            return
        for name, _ in body_names(record):
            bodies = decode_bodies(self._source.bodies(name))
            if root_from_leaf_hashes(map(leaf_hash, bodies)) != name:
                raise InclusionProofError("bodies are not what their record names", expected=name.hex())
            kind = Receipt if isinstance(record, Batch) else Verdict
            yield from map(kind.decode, bodies)

    def _is_signed(self, entry: Entry) -> bool:
        """By the key itself, whatever the record's fields say."""
        if len(self._key) != PUBLIC_KEY_SIZE or len(entry.signature) != 64:
            return False
        message = entry.record.signing_bytes(self._ledger_id)
        try:
            verify_ed25519(public_key=self._key, message=message, signature=entry.signature)
        except SignatureError:
            return False
        return True

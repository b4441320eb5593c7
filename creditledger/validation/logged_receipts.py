"""Finds receipts in a public log, each with its batch and its chain. Source: specs/validation.md §3."""

from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import UnknownIdError, VerificationError
from creditledger.ledger.source import LogSource
from creditledger.ledger.stored_log import decode_bodies
from creditledger.minting.batching import batch_root
from creditledger.records.entry import Entry
from creditledger.records.kinds import Kind
from creditledger.records.receipt import Batch, Receipt
from creditledger.records.record import signing_prefix

_HELD_BATCHES: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedReceipt:
    """A receipt and where it stands."""

    receipt: Receipt
    digest: bytes
    batch: Batch
    place: int
    """Its number within the batch, from 0."""


class LoggedReceipts:
    """The receipts of a log that is being followed; bodies are read again when they are asked for."""

    def __init__(self, source: LogSource) -> None:
        self._source = source
        self._batches: dict[int, Batch] = {}
        self._held: OrderedDict[int, dict[bytes, LoggedReceipt]] = OrderedDict()

    def note(self, index: int, entry: Entry) -> None:
        """Take notice of a new entry."""
        if isinstance(entry.record, Batch):
            self._batches[index] = entry.record

    def find(self, state: StateView, digest: bytes, *, ledger_id: bytes) -> LoggedReceipt:
        """The receipt with this digest. Raises UnknownIdError, VerificationError."""
        index = reading.consumed_index(state, digest)
        if index is None or index not in self._batches:
            raise UnknownIdError("no such receipt is logged", found=digest.hex())
        return self._batch(index, ledger_id)[digest]

    def chain(
        self, state: StateView, job: bytes, layer_start: int, *, stop: int, ledger_id: bytes
    ) -> list[LoggedReceipt]:
        """All receipts of one span of a job whose window begins before ``stop``, from window 0 on."""
        windows = reading.job_receipts(state, job, layer_start)
        return [self.find(state, digest, ledger_id=ledger_id) for start, digest in windows if start < stop]

    def at(
        self, state: StateView, job: bytes, layer_start: int, window_start: int, *, ledger_id: bytes
    ) -> LoggedReceipt | None:
        """The receipt of one window of one span of a job, if it is logged."""
        for start, digest in reading.job_receipts(state, job, layer_start):
            if start == window_start:
                return self.find(state, digest, ledger_id=ledger_id)
        return None

    def _batch(self, index: int, ledger_id: bytes) -> dict[bytes, LoggedReceipt]:
        held = self._held.get(index)
        if held is None:
            held = self._held[index] = self._read(self._batches[index], ledger_id)
            while len(self._held) > _HELD_BATCHES:
                self._held.popitem(last=False)
        self._held.move_to_end(index)
        return held

    def _read(self, batch: Batch, ledger_id: bytes) -> dict[bytes, LoggedReceipt]:
        bodies = decode_bodies(self._source.bodies(batch.root))
        if batch_root(bodies) != batch.root or len(bodies) != batch.count:
            raise VerificationError("published receipts are not the batch's", expected=batch.root.hex())
        prefix = signing_prefix(Kind.RECEIPT, ledger_id)
        found = {}
        for place, body in enumerate(bodies):
            digest = sha256(prefix + body).digest()
            found[digest] = LoggedReceipt(
                receipt=Receipt.decode(body), digest=digest, batch=batch, place=place
            )
        return found

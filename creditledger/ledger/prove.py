"""Proofs from a ledger: what an offline reader needs to believe one thing.

Source: specs/bundle.md, and specs/log.md §11 for proofs in text."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from creditledger.credits import reading
from creditledger.credits.rounds import RoundInfo
from creditledger.credits.state import StateView
from creditledger.errors import BusyError, UnknownIdError
from creditledger.ledger.bundle_note import note_for
from creditledger.ledger.shown_keys import Signature, is_by_later_key, shown_keys
from creditledger.records.entry import Entry
from creditledger.records.job import Job
from creditledger.records.receipt import Batch, Delivery, Receipt
from creditledger.records.record import Record
from creditledger.records.round import Certificate
from creditledger.records.state import (
    ReceiptState,
    account_key,
    consumed_key,
    hold_key,
    lot_key,
    public_key_key,
    receipt_key,
)
from creditledger.records.verdict import Verdict
from creditledger.transparency.bundle import (
    Bundle,
    CertifiedRound,
    Leaf,
    MapValue,
    Place,
    ShownVerdict,
    SignedRecord,
    Subject,
)
from creditledger.transparency.checkpoint import parse_checkpoint_note
from creditledger.transparency.merkle import inclusion_proof, leaf_hashes, prove_inclusion
from creditledger.transparency.tlog_proof import TlogProof
from creditledger.transparency.trust_policy import TrustPolicy

if TYPE_CHECKING:
    from creditledger.ledger.ledger import Ledger

Level = Literal["signed", "logged", "certified"]
LEVELS: Final[tuple[Level, ...]] = ("signed", "logged", "certified")


class ProvenLog(Protocol):
    """A log's entries, bodies and tree: a `StoredLog`, or the `PublishedEntries` of a reader."""

    size: int

    def entry_bytes(self, index: int) -> bytes:
        """Entry ``index``. Raises UnknownIdError beyond the log's end."""

    def node(self, level: int, index: int) -> bytes:
        """The hash of a complete node."""

    def bodies(self, record: Record) -> tuple[bytes, ...]:
        """The bodies beside a logged record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prover:
    """Proves from one consistent view of a ledger, under one published checkpoint."""

    ledger_id: bytes
    log: ProvenLog
    state: StateView
    published_note: bytes
    """The published checkpoint note as it stands."""
    note: bytes
    """The same as bundles have it: only lines that the reader's policy needs, ascending."""
    size: int
    """Entries in that checkpoint's tree."""

    def receipt(self, digest: bytes, *, most: Level = "certified") -> bytes:
        """A receipt's bundle, up to level ``most`` as far as the ledger has come.

        Signed by a key that its node rotated to, it is a certified one whatever ``most`` says; a client's
        such signatures are left out of one that is not. Raises UnknownIdError; BusyError while no checkpoint,
        or for a rotated key no certified round, covers it."""
        state = reading.receipt_state(self.state, digest)
        if state is None:
            raise UnknownIdError("no such receipt", found=digest.hex())
        batch = self._entry(state.batch_index)
        bodies = self.log.bodies(batch.record)
        position = self._position(bodies, digest)
        ran = Signature(account=state.node, index=state.batch_index)
        if is_by_later_key(self.state, ran):
            most = "certified"
        certified, states = self._certified_receipt(digest) if most == "certified" else ((), ())
        info = self._published_round() if states else None
        job, delivery = self._order(state, info)
        ordered = [self._signature(index) for index in (*job, *delivery)]
        keys = shown_keys(self.state, info, [ran, *ordered])
        return self._bundle(
            Subject.RECEIPT,
            body=bodies[position],
            leaf=(_leaf(bodies, position),),
            entry=(self._signed(state.batch_index, is_placed=most != "signed"),),
            job=tuple(self._signed(index, is_placed=False) for index in job),
            delivery=tuple(self._signed(index, is_placed=False) for index in delivery),
            note=b"" if most == "signed" else self.note,
            certified=certified,
            states=(*states, *keys),
            verdicts=self._verdicts(digest, states),
        )

    def batch(self, digest: bytes) -> bytes:
        """The bundle of a logged batch header. Raises UnknownIdError; BusyError until it is published."""
        index = self._index_of(digest)
        record = self._entry(index).record
        if not isinstance(record, Batch):
            raise UnknownIdError("the record of this id is no batch", found=digest.hex())
        info = self._published_round()
        keys = shown_keys(self.state, info, [Signature(account=record.node, index=index)])
        return self._bundle(
            Subject.BATCH,
            entry=(self._signed(index, is_placed=True),),
            note=self.note,
            certified=(self._certified(info),) if keys and info is not None else (),
            states=keys,
        )

    def hold(self, digest: bytes) -> bytes:
        """A hold's bundle: what a voucher is made of. Raises UnknownIdError, BusyError."""
        state = reading.hold_state(self.state, digest)
        _require_known(state, digest)
        index = self._index_of(digest)
        body = reading.hold_body(self.state, digest)
        signatures = [Signature(account=body.signer, index=index)] if body else []
        entry = self._signed(index, is_placed=True)
        return self._under_round(Subject.HOLD, hold_key(digest), entry=(entry,), signatures=signatures)

    def account(self, account: bytes) -> bytes:
        """A balance under the latest certified round. Raises UnknownIdError, BusyError."""
        _require_known(reading.account_state(self.state, account), account)
        return self._under_round(Subject.ACCOUNT, account_key(account), body=account)

    def key(self, key: bytes) -> bytes:
        """For whom a key speaks. Raises UnknownIdError, BusyError."""
        _require_known(reading.key_state(self.state, key), key)
        return self._under_round(Subject.KEY, public_key_key(key), body=key)

    def absent(self, digest: bytes) -> bytes:
        """That no record of this digest was accepted up to a round. UnknownIdError if one was by now.

        Raises BusyError while there is no published round."""
        info = self._round()
        key = consumed_key(digest)
        if reading.consumed_index(self.state, digest) is not None:
            raise UnknownIdError("not absent: a record of this id was logged", found=digest.hex())
        return self._bundle(
            Subject.ABSENT,
            body=digest,
            note=self.note,
            certified=(self._certified(info),),
            states=(MapValue(value=b"", proof=reading.map_proof(self.state, info.round.map_root, key)),),
        )

    def tlog_proof(self, subject: int | bytes) -> TlogProof:
        """That an entry is in the published log: the one at an index, or the record of a digest.

        A receipt's digest stands for the batch that it is in. Raises UnknownIdError; BusyError until
        it is published."""
        index = subject if isinstance(subject, int) else self._entry_of(subject)
        if not 0 <= index < self.log.size:
            raise UnknownIdError(
                "the log has no such entry", expected=f"0..{self.log.size - 1}", found=str(index)[:40]
            )
        hashes = self._path(index)
        return TlogProof(index=index, hashes=hashes, checkpoint=self.published_note)

    def _under_round(
        self,
        subject: Subject,
        key: bytes,
        *,
        body: bytes = b"",
        entry: tuple[SignedRecord, ...] = (),
        signatures: Sequence[Signature] = (),
    ) -> bytes:
        info = self._round()
        state = self._state(info, key)
        if state is None:
            raise BusyError("no certified round covers it yet", expected="a later round")
        return self._bundle(
            subject,
            body=body,
            entry=entry,
            note=self.note,
            certified=(self._certified(info),),
            states=(state, *shown_keys(self.state, info, signatures)),
        )

    def _certified_receipt(self, digest: bytes) -> tuple[tuple[CertifiedRound, ...], tuple[MapValue, ...]]:
        info = self._published_round()
        if info is None:
            return (), ()
        state = self._state(info, receipt_key(digest))
        if state is None:
            return (), ()
        found = ReceiptState.decode(state.value)
        lot = self._state(info, lot_key(found.job, found.layer_start)) if found.settled else None
        return (self._certified(info),), (state,) if lot is None else (state, lot)

    def _verdicts(self, digest: bytes, states: Sequence[MapValue]) -> tuple[ShownVerdict, ...]:
        if not states:
            return ()
        state = ReceiptState.decode(states[0].value)
        shown = []
        for number, member in reading.checks_of(self.state, digest):
            duty = reading.member_duty(self.state, member, number)
            if duty is None or duty.reveal_index == 0:
                continue
            bodies = self.log.bodies(self._entry(duty.reveal_index).record)
            found = [i for i, body in enumerate(bodies) if Verdict.decode(body).receipt == digest]
            if found and Verdict.decode(bodies[found[0]]).outcome == state.outcome:
                reveal = self._signed(duty.reveal_index, is_placed=False)
                shown.append(
                    ShownVerdict(reveal=reveal, verdict=bodies[found[0]], leaf=_leaf(bodies, found[0]))
                )
        return tuple(shown[:1])

    def _order(self, state: ReceiptState, info: RoundInfo | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Where job and delivery stand, as far as they can be shown: not what a later key of the client's
        signed after ``info``, the bundle's round."""
        job, delivery = (self._index_of(state.job),), self._delivery(state)
        shown = 0 if info is None else info.round.log_size
        late = [index for index in (*job, *delivery) if index >= shown]
        if not any(is_by_later_key(self.state, self._signature(index)) for index in (*job, *delivery)):
            return job, delivery
        return (job, ()) if delivery and late == [*delivery] else ((), ()) if late else (job, delivery)

    def _signature(self, index: int) -> Signature:
        """Of a job or delivery."""
        record = self._entry(index).record
        if not isinstance(record, Job | Delivery):
            raise UnknownIdError("no job or delivery stands there", found=str(index))
        return Signature(account=record.client, index=index, digest=record.digest(self.ledger_id))

    def _delivery(self, state: ReceiptState) -> tuple[int, ...]:
        """The index of the last delivery of its job that reaches past the receipt."""
        progress = reading.job_status(self.state, state.job)
        legs = {leg.layer_start: leg for leg in reading.job_legs(self.state, state.job)}
        leg = legs.get(state.layer_start)
        windows = reading.job_receipts(self.state, state.job, state.layer_start)
        stop = next((start + state.positions for start, digest in windows if digest == state.receipt), None)
        if progress is None or leg is None or stop is None or leg.delivered_positions < stop:
            return ()
        # The last delivery names the spans it moves, maybe not this one: then an earlier one does.
        for index in range(progress.delivery_index, state.batch_index, -1):
            record = self._entry(index).record
            if isinstance(record, Delivery) and record.job == state.job:
                heads = {head.layer_start: head.positions for head in record.heads}
                if heads.get(state.layer_start, 0) >= stop:
                    return (index,)
        return ()

    def _position(self, bodies: Sequence[bytes], digest: bytes) -> int:
        for position, body in enumerate(bodies):
            if Receipt.decode(body).digest(self.ledger_id) == digest:
                return position
        raise UnknownIdError("no such receipt in its batch", found=digest.hex())

    def _index_of(self, digest: bytes) -> int:
        index = reading.consumed_index(self.state, digest)
        if index is None:
            raise UnknownIdError("no record of this id was logged", found=digest.hex())
        return index

    def _entry_of(self, digest: bytes) -> int:
        receipt = reading.receipt_state(self.state, digest)
        return self._index_of(digest) if receipt is None else receipt.batch_index

    def _entry(self, index: int) -> Entry:
        return Entry.decode(self.log.entry_bytes(index))

    def _signed(self, index: int, *, is_placed: bool) -> SignedRecord:
        entry = self._entry(index)
        return SignedRecord(
            record=entry.record.encode(),
            signature=entry.signature,
            place=(self._place(index, entry.time_unix_ms),) if is_placed else (),
        )

    def _place(self, index: int, time_unix_ms: int) -> Place:
        return Place(time_unix_ms=time_unix_ms, index=index, path=self._path(index))

    def _path(self, index: int) -> tuple[bytes, ...]:
        if index >= self.size:
            raise BusyError(
                "no published checkpoint covers it yet", expected=f"size above {index}", found=str(self.size)
            )
        return tuple(prove_inclusion(self.log.node, index=index, size=self.size))

    def _round(self) -> RoundInfo:
        info = self._published_round()
        if info is None:
            raise BusyError("no certified round is published yet", expected="a certified round", found="none")
        return info

    def _published_round(self) -> RoundInfo | None:
        """The latest certified round that the checkpoint covers."""
        info = reading.latest_certified_round(self.state)
        while info is not None and not (info.is_certified and info.index < self.size):
            info = reading.round_numbered(self.state, info.round.number - 1)
        return info

    def _certified(self, info: RoundInfo) -> CertifiedRound:
        certificate = self._entry(info.certificate_index)
        if not isinstance(certificate.record, Certificate):
            raise UnknownIdError("no certificate stands there", found=str(info.certificate_index))
        return CertifiedRound(
            round=self._signed(info.index, is_placed=True),
            signers=certificate.record.signers,
            aggregate=certificate.signature,
        )

    def _state(self, info: RoundInfo, key: bytes) -> MapValue | None:
        value = reading.map_value(self.state, info.round.map_root, key)
        if value is None:
            return None
        return MapValue(value=value, proof=reading.map_proof(self.state, info.round.map_root, key))

    def _bundle(
        self,
        subject: Subject,
        *,
        body: bytes = b"",
        leaf: tuple[Leaf, ...] = (),
        entry: tuple[SignedRecord, ...] = (),
        job: tuple[SignedRecord, ...] = (),
        delivery: tuple[SignedRecord, ...] = (),
        note: bytes = b"",
        certified: tuple[CertifiedRound, ...] = (),
        states: tuple[MapValue, ...] = (),
        verdicts: tuple[ShownVerdict, ...] = (),
    ) -> bytes:
        return Bundle(
            subject=subject,
            ledger=self.ledger_id,
            body=body,
            leaf=leaf,
            entry=entry,
            job=job,
            delivery=delivery,
            checkpoint=note,
            certified=certified,
            states=states,
            verdicts=verdicts,
        ).encode()


def _require_known(state: Record | None, id: bytes) -> None:
    if state is None:
        raise UnknownIdError("nothing of this kind is known under this id", found=id.hex())


def _leaf(bodies: Sequence[bytes], position: int) -> Leaf:
    hashes = leaf_hashes(bodies)
    return Leaf(index=position, path=tuple(inclusion_proof(hashes, position, len(hashes))))


@contextmanager
def prover(ledger: "Ledger", policy: TrustPolicy | None = None) -> Iterator[Prover]:
    """A prover over one moment of ``ledger``, under its published checkpoint.

    ``policy``: the reader's, by default the ledger's own. Raises PolicyError if it knows none of the
    checkpoint's lines."""
    # The note before the snapshot: a checkpoint published in between would be larger than what is read.
    published = ledger.checkpoint()
    note = note_for(published, policy or ledger.policy())
    with ledger.snapshot() as snapshot:
        yield Prover(
            ledger_id=ledger.id,
            log=snapshot.log,
            state=snapshot.state,
            published_note=published,
            note=note,
            size=parse_checkpoint_note(note).size,
        )

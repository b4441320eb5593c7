"""Offline verification of a bundle against a reader's policy. Source: specs/bundle.md §3."""

from dataclasses import dataclass
from typing import Final, Literal, TypeVar

from creditledger.errors import (
    CertificateError,
    MalformedBundleError,
    MalformedRecordError,
    PolicyError,
    VerificationError,
)
from creditledger.records import canonical
from creditledger.records.entry import Entry, record_from_values
from creditledger.records.job import Job
from creditledger.records.receipt import Batch, Delivery, Receipt
from creditledger.records.record import Record
from creditledger.records.round import Round, round_statement
from creditledger.records.state import (
    AccountState,
    HoldState,
    KeyState,
    LotState,
    ReceiptState,
    account_key,
    consumed_key,
    hold_key,
    lot_key,
    public_key_key,
    receipt_key,
)
from creditledger.records.transfer import Hold
from creditledger.records.verdict import Outcome, Reveal, Verdict
from creditledger.transparency.bls import BlsBackend, verify_bls
from creditledger.transparency.bundle import Bundle, ShownVerdict, SignedRecord, Subject, decode_bundle
from creditledger.transparency.certificate import verify_certificate
from creditledger.transparency.checkpoint import Checkpoint
from creditledger.transparency.keys import verify_ed25519
from creditledger.transparency.merkle import leaf_hash, verify_inclusion
from creditledger.transparency.sparse_merkle import verify_map_proof
from creditledger.transparency.trust_policy import TrustPolicy

RecordT = TypeVar("RecordT", bound=Record)
Requirement = Literal["signed", "logged", "upheld", "vested"]
REQUIREMENTS: Final[tuple[Requirement, ...]] = ("signed", "logged", "upheld", "vested")

_WORK: Final = {
    Outcome.UNCHECKED: "unchecked",
    Outcome.UPHELD: "upheld",
    Outcome.REFUTED: "refuted",
    Outcome.INCONCLUSIVE: "inconclusive",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a bundle proves, and of which tree and time."""

    subject: Subject
    reached: tuple[str, ...]
    """Levels proven: of ``signed``, ``logged``, ``certified``, ``upheld``, ``vested``."""
    work: str
    """``unchecked``, ``upheld``, ``refuted`` or ``inconclusive``."""
    size: int | None
    """Entries in the checkpoint's tree; None at `signed`."""
    time_unix_ms: int | None
    """When the witness quorum saw the checkpoint; None at `signed`."""
    round: Round | None
    record: Record | None
    """The receipt, the batch header or the hold."""
    state: Record | None
    """The certified state of the subject."""
    delivered: bool
    """Whether the client's countersignature covers the receipt."""


def verify_bundle(
    encoded: bytes,
    policy: TrustPolicy,
    *,
    require: Requirement = "logged",
    now_unix_ms: int | None = None,
    backend: BlsBackend | None = None,
) -> Verified:
    """Check everything in the bundle, then that it reaches ``require``. Opens no file and no socket.

    Hold, account, key and absence bundles count only with a certified round, whatever is required.
    Raises VerificationError: MalformedBundleError, SignatureError, InclusionProofError,
    CertificateError, PolicyError. Source: specs/bundle.md §3."""
    if require not in REQUIREMENTS:
        raise PolicyError("no such requirement", expected=", ".join(REQUIREMENTS), found=require[:40])
    bundle = decode_bundle(encoded)
    if policy.ledger_id is None:
        raise PolicyError("policy names no ledger", expected="a #creditledger ledger line", found="none")
    if bundle.ledger != policy.ledger_id:
        raise PolicyError(
            "bundle is of another ledger", expected=policy.ledger_id.hex(), found=bundle.ledger.hex()
        )
    verified = _Reader(bundle, policy, now_unix_ms, backend).read()
    if bundle.subject in (Subject.RECEIPT, Subject.BATCH) and require not in verified.reached:
        raise PolicyError(
            f"bundle does not reach {require}", expected=require, found=", ".join(verified.reached)
        )
    return verified


class _Reader:
    """One pass over one bundle: cheap hashes first, pairings last."""

    def __init__(
        self, bundle: Bundle, policy: TrustPolicy, now_unix_ms: int | None, backend: BlsBackend | None
    ) -> None:
        self.bundle = bundle
        self.policy = policy
        self.backend = backend
        self.checkpoint: Checkpoint | None = None
        self.time_unix_ms: int | None = None
        if bundle.checkpoint:
            verified = policy.verify_checkpoint(bundle.checkpoint, now_unix_ms=now_unix_ms, only_known=True)
            self.checkpoint, self.time_unix_ms = verified.checkpoint, verified.cosigned_unix_ms
        self.round: Round | None = None

    def read(self) -> Verified:
        self._require_shape()
        record, signer = self._subject_record()
        if self.bundle.entry:
            self._verify_entry(self.bundle.entry[0])
            _verify_signature(self.bundle.entry[0], signer, self.bundle.ledger)
        delivered = self._verify_order(record)
        self._read_round()
        state, lot = self._read_states(record)
        self._verify_verdicts(state)
        if self.round is not None:
            self._verify_certificate()
        return Verified(
            subject=Subject(self.bundle.subject),
            reached=self._reached(state, lot),
            work=_WORK[Outcome(state.outcome)] if isinstance(state, ReceiptState) else "unchecked",
            size=self.checkpoint.size if self.checkpoint else None,
            time_unix_ms=self.time_unix_ms,
            round=self.round,
            record=record,
            state=state,
            delivered=delivered,
        )

    def _require_shape(self) -> None:
        bundle, subject = self.bundle, self.bundle.subject
        is_receipt = subject == Subject.RECEIPT
        has_entry = subject in (Subject.RECEIPT, Subject.BATCH, Subject.HOLD)
        needs_round = subject not in (Subject.RECEIPT, Subject.BATCH)
        wrong = (
            bool(bundle.leaf) != is_receipt
            or bool(bundle.entry) != has_entry
            or bool(bundle.body) != (subject not in (Subject.BATCH, Subject.HOLD))
            or (not is_receipt and bool(bundle.job or bundle.delivery or bundle.verdicts))
            or (bool(bundle.delivery) and not bundle.job)
            or bool(bundle.states) != bool(bundle.certified)
            or (bool(bundle.certified) and not bundle.checkpoint)
            or (subject == Subject.BATCH and bool(bundle.certified))
            or (len(bundle.states) > 1 and not is_receipt)
            or (bool(bundle.verdicts) and not bundle.certified)
            or any(part.place for part in (*bundle.job, *bundle.delivery))
            or any(shown.reveal.place for shown in bundle.verdicts)
        )
        if wrong:
            raise MalformedBundleError("bundle carries other parts than its subject asks for")
        if needs_round and not bundle.certified:
            raise CertificateError(
                "no balance, hold, key or absence counts without its round's certificate",
                expected="a certified round",
                found="none",
            )

    def _subject_record(self) -> tuple[Record | None, bytes]:
        bundle = self.bundle
        if bundle.subject == Subject.RECEIPT:
            receipt = _decode(Receipt, bundle.body)
            batch = _decode(Batch, bundle.entry[0].record)
            verify_inclusion(
                leaf=leaf_hash(bundle.body),
                index=bundle.leaf[0].index,
                size=batch.count,
                proof=bundle.leaf[0].path,
                root=batch.root,
            )
            if receipt.node != batch.node:
                raise VerificationError("receipt is another node's", expected=batch.node.hex())
            return receipt, batch.node
        if bundle.subject == Subject.BATCH:
            batch = _decode(Batch, bundle.entry[0].record)
            return batch, batch.node
        if bundle.subject == Subject.HOLD:
            hold = _decode(Hold, bundle.entry[0].record)
            return hold, hold.holder
        if len(bundle.body) != 32:
            raise MalformedBundleError("id has another length", expected="32 bytes")
        return None, b""

    def _verify_entry(self, signed: SignedRecord) -> None:
        if len(signed.place) != (1 if self.checkpoint else 0):
            raise MalformedBundleError("an entry has a place exactly when there is a checkpoint")
        if self.checkpoint is None:
            return
        place = signed.place[0]
        entry = Entry(
            time_unix_ms=place.time_unix_ms, record=_any_record(signed.record), signature=signed.signature
        )
        verify_inclusion(
            leaf=leaf_hash(entry.encode()),
            index=place.index,
            size=self.checkpoint.size,
            proof=place.path,
            root=self.checkpoint.root,
        )

    def _verify_order(self, record: Record | None) -> bool:
        if not self.bundle.job or not isinstance(record, Receipt):
            return False
        job = _decode(Job, self.bundle.job[0].record)
        span = job.span_of(record.layer_start)
        if job.digest(self.bundle.ledger) != record.job or span is None or span.node != record.node:
            raise VerificationError("job is not the one the receipt names", expected=record.job.hex())
        _verify_signature(self.bundle.job[0], job.client, self.bundle.ledger)
        if not self.bundle.delivery:
            return False
        delivery = _decode(Delivery, self.bundle.delivery[0].record)
        _verify_signature(self.bundle.delivery[0], job.client, self.bundle.ledger)
        heads = [head for head in delivery.heads if head.layer_start == record.layer_start]
        covered = bool(heads) and heads[0].positions >= record.window_start + record.positions
        if delivery.client != job.client or delivery.job != record.job or not covered:
            raise VerificationError("delivery does not cover the receipt", expected=record.job.hex())
        return True

    def _read_round(self) -> None:
        if not self.bundle.certified:
            return
        signed = self.bundle.certified[0].round
        round_ = _decode(Round, signed.record)
        self._verify_entry(signed)
        if round_.log_size != signed.place[0].index:
            raise VerificationError(
                "round does not stand where it says",
                expected=str(round_.log_size),
                found=str(signed.place[0].index),
            )
        self.round = round_

    def _verify_certificate(self) -> None:
        certified, round_ = self.bundle.certified[0], self.round
        committee = self.policy.committee
        if round_ is None or committee is None:
            raise CertificateError("policy names no committee", expected="#creditledger validator lines")
        statement = round_statement(round_.digest(self.bundle.ledger), committee.digest, self.bundle.ledger)
        verify_certificate(
            committee=committee,
            statement=statement,
            bitmap=certified.signers,
            aggregate=certified.aggregate,
            backend=self.backend,
        )

    def _read_states(self, record: Record | None) -> tuple[Record | None, LotState | None]:
        if not self.bundle.states or self.round is None:
            return None, None
        key, kind = self._state_key(record)
        state = self._read_state(0, key, kind)
        if len(self.bundle.states) < 2:
            return state, None
        if not isinstance(record, Receipt):
            raise MalformedBundleError("only a receipt has a lot")
        lot = self._read_state(1, lot_key(record.job, record.layer_start), LotState)
        if not isinstance(lot, LotState) or lot.node != record.node:
            raise VerificationError("lot is another node's", expected=record.node.hex())
        return state, lot

    def _state_key(self, record: Record | None) -> tuple[bytes, type[Record] | None]:
        ledger, body = self.bundle.ledger, self.bundle.body
        if isinstance(record, Receipt):
            return receipt_key(record.digest(ledger)), ReceiptState
        if isinstance(record, Hold):
            return hold_key(record.digest(ledger)), HoldState
        if self.bundle.subject == Subject.ACCOUNT:
            return account_key(body), AccountState
        if self.bundle.subject == Subject.KEY:
            return public_key_key(body), KeyState
        return consumed_key(body), None

    def _read_state(self, position: int, key: bytes, kind: type[Record] | None) -> Record | None:
        part = self.bundle.states[position]
        if self.round is None or bool(part.value) != (kind is not None):
            raise MalformedBundleError("state is present exactly when its subject is")
        verify_map_proof(root=self.round.map_root, key=key, value=part.value or None, proof=part.proof)
        return _decode(kind, part.value) if kind is not None else None

    def _verify_verdicts(self, state: Record | None) -> None:
        for shown in self.bundle.verdicts:
            self._verify_verdict(shown, state)
        judged = isinstance(state, ReceiptState) and state.outcome != Outcome.UNCHECKED
        if judged and not self.bundle.verdicts:
            raise MalformedBundleError("a judged receipt comes with a verdict of that outcome")

    def _verify_verdict(self, shown: ShownVerdict, state: Record | None) -> None:
        if not isinstance(state, ReceiptState):
            raise MalformedBundleError("verdicts speak of a receipt's certified state")
        verdict, reveal = _decode(Verdict, shown.verdict), _decode(Reveal, shown.reveal.record)
        same = (verdict.receipt, verdict.round, verdict.member, verdict.outcome)
        if same != (state.receipt, reveal.round, reveal.member, state.outcome):
            raise VerificationError("verdict is not the one the certified state rests on")
        verify_inclusion(
            leaf=leaf_hash(shown.verdict),
            index=shown.leaf.index,
            size=reveal.count,
            proof=shown.leaf.path,
            root=reveal.root,
        )
        committee = self.policy.committee
        if committee is None or reveal.member >= len(committee.members):
            raise CertificateError("verdict is by nobody on the committee", found=str(reveal.member))
        verify_bls(
            public_key=committee.members[reveal.member].bls_key,
            message=reveal.signing_bytes(self.bundle.ledger),
            signature=shown.reveal.signature,
            backend=self.backend,
        )

    def _reached(self, state: Record | None, lot: LotState | None) -> tuple[str, ...]:
        reached = [] if self.bundle.subject in (Subject.ACCOUNT, Subject.KEY, Subject.ABSENT) else ["signed"]
        if self.checkpoint is not None and reached:
            reached.append("logged")
        if self.round is not None:
            reached.append("certified")
        if isinstance(state, ReceiptState):
            if state.outcome == Outcome.UPHELD:
                reached.append("upheld")
            passed = state.outcome == Outcome.UPHELD or (state.due == 0 and state.settled == 1)
            if passed and lot is not None and lot.vested:
                reached.append("vested")
        return tuple(reached)


def _decode(kind: type[RecordT], encoded: bytes) -> RecordT:
    try:
        return kind.decode(encoded)
    except MalformedRecordError as error:
        raise MalformedBundleError(f"bundle holds no {kind.KIND.name.lower()}: {error}") from None


def _any_record(encoded: bytes) -> Record:
    try:
        return record_from_values(canonical.decode(encoded))
    except MalformedRecordError as error:
        raise MalformedBundleError(f"bundle holds no record: {error}") from None


def _verify_signature(signed: SignedRecord, signer: bytes, ledger_id: bytes) -> None:
    verify_ed25519(
        public_key=signer,
        message=_any_record(signed.record).signing_bytes(ledger_id),
        signature=signed.signature,
    )

"""Offline verification of a bundle against a reader's policy. Source: specs/bundle.md §3."""

from dataclasses import dataclass
from typing import Final, Literal

from creditledger.errors import (
    CertificateError,
    InclusionProofError,
    MalformedBundleError,
    MalformedRecordError,
    PolicyError,
    VerificationError,
)
from creditledger.records.entry import Entry
from creditledger.records.receipt import Batch, Receipt
from creditledger.records.record import Record
from creditledger.records.round import Round, round_statement
from creditledger.records.state import LotState, ReceiptState
from creditledger.records.transfer import Hold
from creditledger.records.verdict import Outcome
from creditledger.transparency.bls import BlsBackend
from creditledger.transparency.bundle import (
    Bundle,
    SignedRecord,
    Subject,
    decode_bundle,
    decode_logged,
    decode_part,
)
from creditledger.transparency.bundle_order import verify_order
from creditledger.transparency.bundle_shape import require_shape
from creditledger.transparency.bundle_signers import Signers, read_signers
from creditledger.transparency.bundle_state import CertifiedState, read_states, verify_verdicts
from creditledger.transparency.certificate import Committee, verify_certificate
from creditledger.transparency.checkpoint import Checkpoint
from creditledger.transparency.merkle import leaf_hash, verify_inclusion
from creditledger.transparency.trust_policy import TrustPolicy

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
    """When the witness quorum saw the checkpoint; None at `signed`, and where no quorum is asked for."""
    round: Round | None
    record: Record | None
    """The receipt, the batch header or the hold."""
    state: Record | None
    """The certified state of the subject, as of ``round``."""
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

    Hold, account, key and absence bundles, and what a later key than its account's first has signed, count
    only with a certified round, whatever is required; the first four reach no more than that.

    Raises VerificationError: MalformedBundleError, SignatureError, InclusionProofError, CertificateError,
    PolicyError. Source: specs/bundle.md §3."""
    if require not in REQUIREMENTS:
        raise PolicyError("no such requirement", expected=", ".join(REQUIREMENTS), found=str(require)[:40])
    bundle = decode_bundle(encoded)
    if policy.ledger_id is None:
        raise PolicyError("policy names no ledger", expected="a #creditledger ledger line", found="none")
    if bundle.ledger != policy.ledger_id:
        raise PolicyError(
            "bundle is of another ledger", expected=policy.ledger_id.hex(), found=bundle.ledger.hex()
        )
    require_shape(bundle)
    verified = _Reader(bundle, policy, now_unix_ms, backend).read()
    # A certified round is logged and signed: whoever asks for less may have it.
    enough = {require, "certified"} if require in ("signed", "logged") else {require}
    if enough.isdisjoint(verified.reached):
        raise PolicyError(
            f"bundle does not reach {require}", expected=require, found=", ".join(verified.reached)
        )
    return verified


class _Reader:
    """One pass over one bundle of the right shape: hashes first, pairings last."""

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

    def read(self) -> Verified:
        signers = read_signers(self.bundle)
        record = self._read_record(signers)
        delivered = isinstance(record, Receipt) and verify_order(self.bundle, record, signers)
        signers.require_all_used()
        round_, certified = self._read_certified(record)
        state, lot = certified.subject, certified.lot
        return Verified(
            subject=Subject(self.bundle.subject),
            reached=_reached(self.bundle, state, lot, delivered=delivered),
            work=_WORK[Outcome(state.outcome)] if isinstance(state, ReceiptState) else "unchecked",
            size=self.checkpoint.size if self.checkpoint else None,
            time_unix_ms=self.time_unix_ms,
            round=round_,
            record=record,
            state=state,
            delivered=delivered,
        )

    def _read_record(self, signers: Signers) -> Record | None:
        """The receipt, batch or hold, with its place in the log and its signature checked."""
        if not self.bundle.entry:
            return None
        entry = self.bundle.entry[0]
        record: Record
        if self.bundle.subject == Subject.HOLD:
            record = hold = _hold(entry.record)
            signer = hold.signer
        else:
            record = batch = decode_part(Batch, entry.record)
            signer = batch.node
            if self.bundle.subject == Subject.RECEIPT:
                record = _receipt_under(batch, self.bundle)
        self._verify_logged(entry)
        signers.verify(entry, signer)
        return record

    def _verify_logged(self, signed: SignedRecord) -> None:
        if self.checkpoint is None:
            return
        place = signed.place[0]
        try:
            entry = Entry(
                time_unix_ms=place.time_unix_ms,
                record=decode_logged(signed.record),
                signature=signed.signature,
            ).encode()
        except MalformedRecordError as error:
            raise MalformedBundleError(f"bundle holds no entry: {error}", found=error.found) from None
        verify_inclusion(
            leaf=leaf_hash(entry),
            index=place.index,
            size=self.checkpoint.size,
            proof=place.path,
            root=self.checkpoint.root,
        )

    def _read_certified(self, record: Record | None) -> tuple[Round | None, CertifiedState]:
        if not self.bundle.certified:
            return None, CertifiedState(subject=None, lot=None)
        committee = self.policy.committee
        if committee is None:
            raise CertificateError("policy names no committee", expected="#creditledger validator lines")
        round_ = self._read_round()
        certified = read_states(self.bundle, record, round_)
        verify_verdicts(self.bundle, certified.subject, committee, self.backend)
        self._verify_certificate(round_, committee)
        return round_, certified

    def _read_round(self) -> Round:
        signed = self.bundle.certified[0].round
        round_ = decode_part(Round, signed.record)
        if round_.log_size != signed.place[0].index:
            raise InclusionProofError(
                "round does not stand where it says",
                expected=str(round_.log_size),
                found=str(signed.place[0].index),
            )
        self._verify_logged(signed)
        return round_

    def _verify_certificate(self, round_: Round, committee: Committee) -> None:
        certified, ledger = self.bundle.certified[0], self.bundle.ledger
        verify_certificate(
            committee=committee,
            statement=round_statement(round_.digest(ledger), committee.digest, ledger),
            bitmap=certified.signers,
            aggregate=certified.aggregate,
            backend=self.backend,
        )


def _hold(encoded: bytes) -> Hold:
    """The hold, its holder's or a delegate's. Raises MalformedBundleError."""
    found = decode_logged(encoded)
    if not isinstance(found, Hold):
        raise MalformedBundleError("bundle holds no hold", found=found.KIND.name.lower())
    return found


def _receipt_under(batch: Batch, bundle: Bundle) -> Receipt:
    """The receipt in the body, its leaf recomputed and found under the batch's root."""
    receipt, leaf = decode_part(Receipt, bundle.body), bundle.leaf[0]
    verify_inclusion(
        leaf=leaf_hash(bundle.body), index=leaf.index, size=batch.count, proof=leaf.path, root=batch.root
    )
    if receipt.node != batch.node:
        raise VerificationError(
            "receipt is another node's", expected=batch.node.hex(), found=receipt.node.hex()
        )
    return receipt


def _reached(
    bundle: Bundle, state: Record | None, lot: LotState | None, *, delivered: bool
) -> tuple[str, ...]:
    """The levels of specs/bundle.md §4, ascending."""
    reached = ["signed"] if bundle.entry else []
    if bundle.entry and bundle.checkpoint:
        reached.append("logged")
    if bundle.certified:
        reached.append("certified")
    if isinstance(state, ReceiptState):
        is_upheld = state.outcome == Outcome.UPHELD
        if is_upheld:
            reached.append("upheld")
        # Settled says that the job was: only what the client accepted of it was paid.
        is_paid = bool(state.settled) and delivered and state.has_passed
        if is_paid and lot is not None and lot.vested:
            reached.append("vested")
    return tuple(reached)

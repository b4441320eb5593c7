"""What a certified round says of a bundle's subject, and the verdicts that it rests on.

Source: specs/bundle.md §3."""

from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from creditledger.errors import CertificateError, MalformedBundleError, VerificationError
from creditledger.records.receipt import Receipt
from creditledger.records.record import Record
from creditledger.records.round import Round
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
from creditledger.transparency.bls import BlsBackend, verify_bls, verify_possession
from creditledger.transparency.bundle import Bundle, MapValue, ShownVerdict, Subject, decode_part
from creditledger.transparency.bundle_signers import split_states
from creditledger.transparency.certificate import Committee
from creditledger.transparency.merkle import leaf_hash, verify_inclusion
from creditledger.transparency.sparse_merkle import verify_map_proof

SubjectState: TypeAlias = AccountState | HoldState | KeyState | ReceiptState
_StateT = TypeVar("_StateT", bound=Record)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedState:
    """The subject's state under one round's map."""

    subject: SubjectState | None
    """None for an absence and for a batch."""
    lot: LotState | None
    """A settled receipt's."""


def read_states(bundle: Bundle, record: Record | None, round_: Round) -> CertifiedState:
    """The states of ``bundle``, each proven under the map of ``round_`` and about the same subject.

    ``record``: the receipt or hold. Raises InclusionProofError, MalformedBundleError, else
    VerificationError. Source: specs/bundle.md §3."""
    states, root = split_states(bundle), round_.map_root
    shown = states.own
    if shown is None:
        return CertifiedState(subject=None, lot=None)
    if bundle.subject == Subject.ABSENT:
        _require_proven(root, consumed_key(bundle.body), shown, is_present=False)
        return CertifiedState(subject=None, lot=None)
    if isinstance(record, Receipt):
        digest = record.digest(bundle.ledger)
        receipt_state = _proven(ReceiptState, root, receipt_key(digest), shown)
        _require_receipt_state(receipt_state, record, digest, bundle.entry[0].place[0].index)
        return CertifiedState(subject=receipt_state, lot=_read_lot(states.lot, record, receipt_state, root))
    return CertifiedState(subject=_read_balance(bundle, shown, record, root), lot=None)


def _read_balance(bundle: Bundle, shown: MapValue, record: Record | None, root: bytes) -> SubjectState:
    found = bundle.body
    if isinstance(record, Hold):
        digest = record.digest(bundle.ledger)
        hold = _proven(HoldState, root, hold_key(digest), shown)
        said = (digest, record.holder, record.job, record.queue, record.amount_micro, record.expires_unix_ms)
        _require_same(
            (hold.hold, hold.holder, hold.job, hold.queue, hold.amount_micro, hold.expires_unix_ms), said
        )
        return hold
    if bundle.subject == Subject.ACCOUNT:
        account = _proven(AccountState, root, account_key(found), shown)
        _require_same((account.account,), (found,))
        return account
    key = _proven(KeyState, root, public_key_key(found), shown)
    _require_same((key.key,), (found,))
    return key


def _require_receipt_state(state: ReceiptState, receipt: Receipt, digest: bytes, batch_index: int) -> None:
    said = (digest, receipt.job, receipt.node, receipt.layer_start, receipt.positions, batch_index)
    found = (state.receipt, state.job, state.node, state.layer_start, state.positions, state.batch_index)
    _require_same(found, said)
    if state.outcome not in tuple(Outcome):
        raise MalformedBundleError("receipt state has an unknown outcome", found=str(state.outcome))


def _read_lot(shown: MapValue | None, receipt: Receipt, state: ReceiptState, root: bytes) -> LotState | None:
    if shown is None:
        return None
    if not state.settled:
        raise MalformedBundleError("only a settled receipt has a lot", expected="one state", found="two")
    key = lot_key(receipt.job, receipt.layer_start)
    lot = _proven(LotState, root, key, shown)
    _require_same((lot.job, lot.node, lot.layer_start), (receipt.job, receipt.node, receipt.layer_start))
    return lot


def verify_verdicts(
    bundle: Bundle, state: SubjectState | None, committee: Committee, backend: BlsBackend | None
) -> None:
    """Check every verdict shown: that the certified state rests on it, and who signed it.

    Raises MalformedBundleError, InclusionProofError, SignatureError, CertificateError, else
    VerificationError. Source: specs/bundle.md §3."""
    if not isinstance(state, ReceiptState):
        return
    _require_verdicts(bundle, state)
    reveals = [_read_verdict(shown, state) for shown in bundle.verdicts]
    members = [reveal.member for reveal in reveals]
    if members != sorted(set(members)):
        raise MalformedBundleError("verdicts are not ascending, each member once", found=str(members))
    for shown, reveal in zip(bundle.verdicts, reveals, strict=True):
        verify_reveal(shown, reveal, committee, ledger_id=bundle.ledger, backend=backend)


def read_verdict(shown: ShownVerdict) -> tuple[Verdict, Reveal]:
    """The verdict, and the reveal under whose root it lies.

    Raises MalformedBundleError, InclusionProofError, else VerificationError."""
    verdict, reveal = decode_part(Verdict, shown.verdict), decode_part(Reveal, shown.reveal.record)
    _require_same((verdict.round, verdict.member), (reveal.round, reveal.member))
    verify_inclusion(
        leaf=leaf_hash(shown.verdict),
        index=shown.leaf.index,
        size=reveal.count,
        proof=shown.leaf.path,
        root=reveal.root,
    )
    return verdict, reveal


def verify_reveal(
    shown: ShownVerdict,
    reveal: Reveal,
    committee: Committee,
    *,
    ledger_id: bytes,
    backend: BlsBackend | None = None,
) -> None:
    """Check that the member that ``reveal`` names signed it. Raises SignatureError, CertificateError."""
    if reveal.member >= len(committee.members):
        raise CertificateError("verdict is by nobody on the committee", found=str(reveal.member))
    member = committee.members[reveal.member]
    verify_possession(public_key=member.bls_key, proof=member.proof_of_possession, backend=backend)
    verify_bls(
        public_key=member.bls_key,
        message=reveal.signing_bytes(ledger_id),
        signature=shown.reveal.signature,
        backend=backend,
    )


def _require_verdicts(bundle: Bundle, state: ReceiptState) -> None:
    is_judged = state.outcome != Outcome.UNCHECKED and not state.has_lapsed
    if is_judged and not bundle.verdicts:
        raise MalformedBundleError("a judged receipt comes with a verdict of that outcome", found="none")
    if state.has_lapsed and bundle.verdicts:
        raise MalformedBundleError(
            "nobody judged a receipt whose checks lapsed",
            expected="no verdict",
            found=str(len(bundle.verdicts)),
        )


def _read_verdict(shown: ShownVerdict, state: ReceiptState) -> Reveal:
    verdict, reveal = read_verdict(shown)
    _require_same((verdict.receipt, verdict.outcome), (state.receipt, state.outcome))
    if verdict.round < state.round:
        raise VerificationError(
            "verdict is of a round before the receipt's",
            expected=f"at least {state.round}",
            found=str(verdict.round),
        )
    return reveal


def _proven(kind: type[_StateT], root: bytes, key: bytes, shown: MapValue) -> _StateT:
    _require_proven(root, key, shown, is_present=True)
    return decode_part(kind, shown.value)


def _require_proven(root: bytes, key: bytes, shown: MapValue, *, is_present: bool) -> None:
    if bool(shown.value) != is_present:
        raise MalformedBundleError("a state has a value exactly when its subject is present")
    verify_map_proof(root=root, key=key, value=shown.value or None, proof=shown.proof)


def _require_same(found: tuple[object, ...], said: tuple[object, ...]) -> None:
    if found != said:
        raise VerificationError(
            "state, verdict and subject are not of one thing", expected=_shown(said), found=_shown(found)
        )


def _shown(values: tuple[object, ...]) -> str:
    return ", ".join(value[:8].hex() if isinstance(value, bytes) else str(value) for value in values)

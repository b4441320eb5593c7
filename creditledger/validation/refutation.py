"""What a validator ships with a refuting verdict: the check, for the accused and the committee to repeat.

Source: specs/validation.md §10."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from creditledger.activations.commitment import open_commitment
from creditledger.activations.sealing import pack_inputs, pack_sketches
from creditledger.credits import reading
from creditledger.credits.state import StateView
from creditledger.errors import OpeningError, UnknownIdError
from creditledger.ledger.prove import Prover
from creditledger.minting.sealed_evidence import SketchOpening, audit_keys
from creditledger.records.job import Job
from creditledger.records.parameters import Parameters
from creditledger.records.receipt import WINDOW, Receipt
from creditledger.records.verdict import Outcome, Reason
from creditledger.transparency.bundle import ShownVerdict
from creditledger.transparency.montgomery import x25519_public_key
from creditledger.validation.evidence import refutation_name
from creditledger.validation.evidence_bundle import EVIDENCE_BYTES_MAX, EvidenceBundle, EvidenceParts
from creditledger.validation.journal import JournaledVerdict, RoundVerdicts
from creditledger.validation.logged_receipts import LoggedReceipt, LoggedReceipts
from creditledger.validation.opened_evidence import OpenedEvidence
from creditledger.validation.sealed_refutation import seal_evidence
from creditledger.validation.span_rerun import is_committed
from creditledger.validation.validator_key import ValidatorKey
from creditledger.validation.verdict_signing import shown_verdicts


def refutations_of(verdicts: RoundVerdicts) -> Iterator[tuple[str, JournaledVerdict]]:
    """The verdicts of a round that ship evidence, each with the name that it is shipped under."""
    for one in verdicts.verdicts:
        if one.verdict.outcome == Outcome.REFUTED:
            name = refutation_name(
                one.verdict.receipt, round_number=one.verdict.round, member=one.verdict.member
            )
            yield name, one


class RefutationMaker:
    """Puts evidence bundles together from what the validator judged by."""

    def __init__(
        self, receipts: LoggedReceipts, evidence: OpenedEvidence, *, state: StateView, proofs: Prover
    ) -> None:
        """``proofs``: of the log as it is published."""
        self._receipts = receipts
        self._evidence = evidence
        self._state = state
        self._proofs = proofs
        self._ledger_id = proofs.ledger_id

    def sealed(
        self, verdicts: RoundVerdicts, *, key: ValidatorKey, random_bytes: Callable[[int], bytes]
    ) -> Iterator[tuple[str, bytes]]:
        """Name and sealed bundle of each refutation among ``verdicts``, for the accused and the committee.

        They show the reveal: they MUST NOT be published before it may be."""
        refuted = list(refutations_of(verdicts))
        if not refuted:
            return
        member = refuted[0][1].verdict.member
        shown = shown_verdicts(verdicts, member=member, key=key, ledger_id=self._ledger_id)
        for name, one in refuted:
            digest = one.verdict.receipt
            bundle, accused = self._bundle(one, shown[digest])
            yield (
                name,
                seal_evidence(
                    bundle,
                    self._recipients(accused),
                    ledger_id=self._ledger_id,
                    receipt=digest,
                    random_bytes=random_bytes,
                ),
            )

    def _recipients(self, node: bytes) -> list[bytes]:
        """The audit keys of the committee in force, and the key with which the accused signs now."""
        _, signing = reading.keys_of(self._state, node)[-1]
        members = audit_keys(reading.parameters_in_force(self._state))
        return sorted({x25519_public_key(signing), *members})

    def _bundle(self, one: JournaledVerdict, shown: ShownVerdict) -> tuple[EvidenceBundle, bytes]:
        """The bundle, and the account of the accused."""
        logged = self._receipts.find(self._state, one.verdict.receipt, ledger_id=self._ledger_id)
        receipt = logged.receipt
        job, terms = self._terms(receipt)
        chain = self._chain(receipt, stop=receipt.window_start)
        sketches, box, slot = self._openings(logged, chain, is_box_wrong=one.verdict.reason == Reason.OPENING)
        profile = self._evidence.profile(terms, receipt)
        parts = EvidenceParts(
            ledger=self._ledger_id,
            proof=self._proofs.receipt(logged.digest, most="logged"),
            job=job.encode(),
            parameters=terms.encode(),
            chain=tuple(earlier.receipt.encode() for earlier in chain),
            sketches=sketches,
            slot_key=slot,
            profile=b"" if profile is None else profile.encode(),
            handover=self._handover(receipt) if one.verdict.reason == Reason.BROKEN_LINK else b"",
            verdict=shown,
            salt=one.salt,
            statistics=one.statistics,
        )
        receipts = [*(earlier.receipt for earlier in chain), receipt]
        bundle = EvidenceBundle(parts=parts, box=box, inputs=tuple(map(self._inputs, receipts)))
        return _shortened(bundle), receipt.node

    def _terms(self, receipt: Receipt) -> tuple[Job, Parameters]:
        job = reading.job_body(self._state, receipt.job)
        terms = None if job is None else reading.parameters_with(self._state, job.parameters)
        if job is None or terms is None:
            raise UnknownIdError("a receipt's job is not logged", found=receipt.job.hex())
        return job, terms

    def _chain(self, receipt: Receipt, *, stop: int) -> list[LoggedReceipt]:
        return self._receipts.chain(
            self._state, receipt.job, receipt.layer_start, stop=stop, ledger_id=self._ledger_id
        )

    def _openings(
        self, logged: LoggedReceipt, chain: Sequence[LoggedReceipt], *, is_box_wrong: bool
    ) -> tuple[bytes, bytes, bytes]:
        """Packed sketches; or the box and the key of a slot, where what is in it is the fault."""
        if is_box_wrong:
            return b"", *self._evidence.box(logged.batch)
        own = self._opening(logged)
        short = logged.receipt.positions < WINDOW
        before = self._opening(chain[-1]) if chain and short else None
        return pack_sketches([one for one in (before, own) if one is not None]), b"", b""

    def _opening(self, logged: LoggedReceipt) -> SketchOpening | None:
        opening = self._evidence.sketch(logged, in_force=reading.parameters_in_force(self._state))
        if isinstance(opening, Reason):
            return None
        try:
            open_commitment(*opening, receipt=logged.receipt)
        except OpeningError:
            return None
        return opening

    def _inputs(self, receipt: Receipt) -> bytes:
        opened = self._evidence.inputs(receipt)
        if opened is None or not is_committed(receipt, opened, width=opened.rows.shape[1]):
            return b""
        return pack_inputs(opened.rows, opened.boundary_key, opened.first_position)

    def _handover(self, receipt: Receipt) -> bytes:
        """What the receiver shows: the accused's signature for other rows."""
        after = self._receipts.at(
            self._state, receipt.job, receipt.layer_stop, receipt.window_start, ledger_id=self._ledger_id
        )
        return b"" if after is None else self._evidence.handover(after.receipt)


def _shortened(bundle: EvidenceBundle) -> EvidenceBundle:
    """The bundle, without inputs where it would be too long with them."""
    if bundle.size <= EVIDENCE_BYTES_MAX:
        return bundle
    return replace(bundle, inputs=(b"",) * len(bundle.inputs))

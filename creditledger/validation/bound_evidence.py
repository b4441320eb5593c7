"""An evidence bundle whose parts were held against each other, and its check, done again.

Source: specs/validation.md §10."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from creditledger.activations.calibration import CalibrationProfile
from creditledger.activations.runners.layer_runner import LayerRunner
from creditledger.activations.sealing import OpenedInputs, unpack_inputs
from creditledger.errors import (
    CertificateError,
    MalformedBundleError,
    MalformedRecordError,
    OpeningError,
    UnknownIdError,
    VerificationError,
)
from creditledger.minting.handover import verify_handover
from creditledger.minting.sealed_evidence import SketchOpening
from creditledger.quantities import ZERO_DIGEST
from creditledger.records.job import Job
from creditledger.records.parameters import Parameters
from creditledger.records.receipt import WINDOW, Batch, Receipt
from creditledger.records.state import KeyState
from creditledger.records.verdict import Outcome, Reason
from creditledger.transparency.bls import BlsBackend
from creditledger.transparency.bundle import Bundle, Subject, decode_bundle, decode_part
from creditledger.transparency.bundle_signers import split_states
from creditledger.transparency.bundle_state import read_verdict, verify_reveal
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import Verified, verify_bundle
from creditledger.validation.attribution import Boundary, blame_boundary
from creditledger.validation.evidence_bundle import EvidenceBundle, EvidenceParts
from creditledger.validation.journal import JournaledVerdict
from creditledger.validation.judgement import Judgement, Link, evidence_digest, judge_window
from creditledger.validation.shown_opening import read_box, read_sketches
from creditledger.validation.span_rerun import SpanRerun, is_committed


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundEvidence:
    """All that a check needs, tied to the log, to the accused's signature and to the verdict."""

    logged: Verified
    """That the receipt stands in the log, signed by its node."""
    receipt: Receipt
    digest: bytes
    claimed: JournaledVerdict
    """The verdict, by the member that it names, with what was measured."""
    chain: tuple[Receipt, ...]
    """The receipts before, from window 0 on."""
    opening: SketchOpening | Reason
    before: SketchOpening | None
    inputs: tuple[OpenedInputs | None, ...]
    """Of the chain, then of the receipt: each under its root."""
    profile: CalibrationProfile | None
    link: Link

    def judge(self, runner: LayerRunner) -> Judgement:
        """The check once more, as a validator does it. Raises UnknownIdError for another model."""
        receipt, model = self.receipt, runner.model
        if model.digest != receipt.model:
            raise UnknownIdError(
                "the evidence is of another model", expected=receipt.model.hex(), found=model.digest.hex()
            )
        profile = self.profile
        if profile is not None and len(profile.exponents) != model.shape.hidden:
            profile = None
        return judge_window(
            receipt,
            rerun=SpanRerun([*self.chain, receipt], self.inputs, runner=runner),
            opening=self.opening,
            profile=profile,
            previous=self.chain[-1] if self.chain else None,
            before=self.before,
            link=self.link,
        )

    @property
    def outcome(self) -> Outcome:
        """What the verdict says."""
        return Outcome(self.claimed.verdict.outcome)


def bind_evidence(
    encoded: bytes,
    policy: TrustPolicy,
    *,
    now_unix_ms: int | None = None,
    backend: BlsBackend | None = None,
) -> BoundEvidence:
    """Check every part of an evidence bundle but the work itself. Opens no file and no socket.

    Raises VerificationError: MalformedBundleError, SignatureError, InclusionProofError, OpeningError,
    CertificateError, PolicyError. Source: specs/validation.md §10."""
    bundle = EvidenceBundle.decode(encoded)
    try:
        return _Binder(bundle, policy, now_unix_ms, backend).bind()
    except MalformedRecordError as error:
        raise MalformedBundleError(
            f"evidence holds what is none: {error}", expected=error.expected, found=error.found
        ) from error


class _Binder:
    """One pass over one bundle: hashes first, the pairing last."""

    def __init__(
        self,
        bundle: EvidenceBundle,
        policy: TrustPolicy,
        now_unix_ms: int | None,
        backend: BlsBackend | None,
    ) -> None:
        self.parts: EvidenceParts = bundle.parts
        self.bundle = bundle
        self.policy = policy
        self.backend = backend
        self.logged = verify_bundle(
            self.parts.proof, policy, require="logged", now_unix_ms=now_unix_ms, backend=backend
        )
        self.proof: Bundle = decode_bundle(self.parts.proof)
        _require_same("ledger", self.parts.ledger, self.proof.ledger)

    def bind(self) -> BoundEvidence:
        receipt = self.logged.record
        if self.logged.subject is not Subject.RECEIPT or not isinstance(receipt, Receipt):
            raise MalformedBundleError("evidence is about a receipt", found=self.logged.subject.name.lower())
        digest = receipt.digest(self.parts.ledger)
        job, parameters = self._terms(receipt)
        chain = self._chain(receipt)
        opening, before = self._openings(receipt, chain, parameters)
        return BoundEvidence(
            logged=self.logged,
            receipt=receipt,
            digest=digest,
            chain=chain,
            opening=opening,
            before=before,
            inputs=self._inputs([*chain, receipt]),
            profile=self._profile(receipt, parameters),
            link=self._link(receipt, job),
            claimed=self._verdict(digest),
        )

    def _terms(self, receipt: Receipt) -> tuple[Job, Parameters]:
        """The job that the receipt names, and the parameters that the job names."""
        job, parameters = Job.decode(self.parts.job), Parameters.decode(self.parts.parameters)
        _require_same("job", receipt.job, job.digest(self.parts.ledger))
        _require_same("parameters", job.parameters, parameters.digest(self.parts.ledger))
        return job, parameters

    def _chain(self, receipt: Receipt) -> tuple[Receipt, ...]:
        """The earlier receipts: each is named by the one after it, back to the first window."""
        chain = tuple(Receipt.decode(encoded) for encoded in self.parts.chain)
        previous = ZERO_DIGEST
        for number, one in enumerate([*chain, receipt]):
            _require_same("receipt before", one.previous, previous)
            if one.window_start != number * WINDOW or _span(one) != _span(receipt):
                raise VerificationError("the chain is not of one span from window 0 on", found=str(number))
            previous = one.digest(self.parts.ledger)
        return chain

    def _openings(
        self, receipt: Receipt, chain: Sequence[Receipt], parameters: Parameters
    ) -> tuple[SketchOpening | Reason, SketchOpening | None]:
        """From the sketches that are shown, or from the box where that is what is wrong."""
        if bool(self.parts.sketches) == bool(self.bundle.box):
            raise MalformedBundleError("evidence shows sketches or the sealed box", found="both or neither")
        if self.parts.sketches:
            if self.parts.slot_key:
                raise MalformedBundleError("a slot key goes with a box", found="no box")
            return read_sketches(self.parts.sketches, receipt, chain[-1] if chain else None)
        opening = read_box(
            self.bundle.box,
            self.parts.slot_key,
            batch=decode_part(Batch, self.proof.entry[0].record),
            place=self.proof.leaf[0].index,
            parameters=parameters,
            ledger_id=self.parts.ledger,
        )
        return opening, None

    def _inputs(self, receipts: Sequence[Receipt]) -> tuple[OpenedInputs | None, ...]:
        opened: list[OpenedInputs | None] = []
        for receipt, packed in zip(receipts, self.bundle.inputs, strict=True):
            one = unpack_inputs(packed) if packed else None
            if one is not None and not is_committed(receipt, one, width=one.rows.shape[1]):
                raise OpeningError("inputs are not under the root", expected=receipt.input_root.hex())
            opened.append(one)
        return tuple(opened)

    def _profile(self, receipt: Receipt, parameters: Parameters) -> CalibrationProfile | None:
        if not self.parts.profile:
            return None
        wanted = parameters.profile_digest(receipt.model, receipt.layer_stop)
        _require_same("profile", wanted or b"", sha256(self.parts.profile).digest())
        profile = CalibrationProfile.decode(self.parts.profile)
        _require_same("profile's model", receipt.model, profile.model)
        return profile

    def _link(self, receipt: Receipt, job: Job) -> Link:
        """Whether the accused signed, to the next span, for other rows than its receipt's."""
        if not self.parts.handover:
            return Link.AGREES
        keys = [receipt.node, *self._shown_keys(receipt.node)]
        handover = verify_handover(
            self.parts.handover, ledger_id=self.parts.ledger, keys_of=lambda account: keys
        )
        found = (handover.job, handover.sender, handover.boundary, handover.window_start)
        if found != (receipt.job, receipt.node, receipt.layer_stop, receipt.window_start):
            raise VerificationError("handover is of something else", found=handover.root.hex())
        after = job.span_of(receipt.layer_stop)
        boundary = Boundary(
            layer=receipt.layer_stop,
            sender=receipt.node,
            receiver=job.client if after is None else after.node,
            sent=receipt.output_root,
            received=handover.root,
        )
        blame = blame_boundary(boundary, [handover])
        return Link.CONTRADICTS_HANDOVER if blame is not None and blame.is_senders else Link.AGREES

    def _shown_keys(self, account: bytes) -> list[bytes]:
        """Later keys of an account that the proof shows under a certified round."""
        states = [decode_part(KeyState, shown.value) for shown in split_states(self.proof).keys]
        return [state.key for state in states if state.account == account]

    def _verdict(self, digest: bytes) -> JournaledVerdict:
        verdict, reveal = read_verdict(self.parts.verdict)
        _require_same("verdict's receipt", verdict.receipt, digest)
        stated = evidence_digest(self.parts.salt, self.parts.statistics)
        _require_same("verdict's evidence", verdict.evidence, stated)
        claimed = JournaledVerdict(verdict=verdict, salt=self.parts.salt, statistics=self.parts.statistics)
        claimed.measured()
        if self.policy.committee is None:
            raise CertificateError("policy names no committee", expected="#creditledger validator lines")
        verify_reveal(
            self.parts.verdict,
            reveal,
            self.policy.committee,
            ledger_id=self.parts.ledger,
            backend=self.backend,
        )
        return claimed


def _require_same(what: str, expected: bytes, found: bytes) -> None:
    if expected != found:
        raise VerificationError(f"not the {what}", expected=expected.hex(), found=found.hex())


def _span(receipt: Receipt) -> tuple[bytes, bytes, int, int, bytes]:
    return receipt.job, receipt.node, receipt.layer_start, receipt.layer_stop, receipt.model

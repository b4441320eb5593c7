"""Evidence opened with a validator's audit key, or the reason why there is none.

Source: specs/validation.md §4."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from creditledger.activations.calibration import CalibrationProfile
from creditledger.activations.sealing import AuditKey, OpenedInputs, slot_key
from creditledger.errors import ActivationError, MalformedRecordError, OpeningError, VerificationError
from creditledger.minting.handover import require_handover
from creditledger.minting.sealed_evidence import (
    SketchOpening,
    open_inputs,
    open_sketches,
    sketches_associated,
)
from creditledger.records.job import PlanSpan
from creditledger.records.parameters import Parameters
from creditledger.records.receipt import Batch, Handover, Receipt
from creditledger.records.verdict import Reason
from creditledger.validation.evidence import EvidenceSource
from creditledger.validation.logged_receipts import LoggedReceipt

_HELD_BATCHES: Final = 16


class OpenedEvidence:
    """Opens what an `EvidenceSource` finds, for one validator of one ledger."""

    def __init__(self, source: EvidenceSource, *, key: AuditKey, ledger_id: bytes) -> None:
        self._source = source
        self._key = key
        self._ledger_id = ledger_id
        self._sketches: OrderedDict[bytes, Sequence[SketchOpening] | Reason] = OrderedDict()

    def sketch(self, logged: LoggedReceipt, *, in_force: Parameters) -> SketchOpening | Reason:
        """Salt and sketch of a receipt, not yet held against its commitment.

        OPENING if the node sealed something else than it must, NO_DATA if nobody has the box, or if it
        was sealed to the keys of parameters that are no longer in force."""
        openings = self._sketches.get(logged.batch.root)
        if openings is None:
            openings = self._sketches[logged.batch.root] = self._open_sketches(logged, in_force)
            while len(self._sketches) > _HELD_BATCHES:
                self._sketches.popitem(last=False)
        if isinstance(openings, Reason):
            return openings
        return openings[logged.place]

    def box(self, batch: Batch) -> tuple[bytes, bytes]:
        """A batch's sealed sketches and the key of this validator's slot, each empty if there is none."""
        sealed = self._source.sealed_sketches(batch.sealed) or b""
        try:
            return sealed, slot_key(
                sealed, self._key.secret, associated=sketches_associated(self._ledger_id, batch.root)
            )
        except OpeningError:
            return sealed, b""

    def handover(self, receiver: Receipt) -> bytes:
        """What came with a receipt's inputs, as its sender signed it; empty if nothing did."""
        return self._source.handover(receiver.input_root, holder=receiver.node) or b""

    def inputs(self, receipt: Receipt) -> OpenedInputs | None:
        """The input rows of a window, not yet held against its root; None if nobody shows any."""
        sealed = self._source.inputs(receipt.input_root, holder=receipt.node)
        if sealed is None:
            return None
        try:
            return open_inputs(sealed, self._key, ledger_id=self._ledger_id, input_root=receipt.input_root)
        except (OpeningError, ActivationError):
            return None

    def has_inputs(self, receipt: Receipt) -> bool:
        """Whether anybody shows something for this window."""
        return self._source.has_inputs(receipt.input_root, holder=receipt.node)

    def profile(self, terms: Parameters, receipt: Receipt) -> CalibrationProfile | None:
        """The profile that ``terms`` name for the receipt's span, if it is to be had and fits."""
        digest = terms.profile_digest(receipt.model, receipt.layer_stop)
        encoded = None if digest is None else self._source.profile(digest)
        try:
            profile = None if encoded is None else CalibrationProfile.decode(encoded)
        except MalformedRecordError:
            return None
        fits = profile is not None and profile.digest == digest and profile.model == receipt.model
        return profile if fits else None

    def handovers(self, sender: PlanSpan, receiver: Receipt, *, keys: Sequence[bytes]) -> list[Handover]:
        """What ``receiver`` can show that ``sender`` signed for the very inputs it worked on.

        ``keys``: those that were the sender's since the job."""
        encoded = self._source.handover(receiver.input_root, holder=receiver.node)
        if encoded is None:
            return []
        try:
            shown = require_handover(
                encoded,
                ledger_id=self._ledger_id,
                job=receiver.job,
                sender=sender.node,
                boundary=receiver.layer_start,
                window_start=receiver.window_start,
                root=receiver.input_root,
                keys_of=lambda account: keys,
            )
        except (VerificationError, MalformedRecordError):
            return []
        return [shown]

    def _open_sketches(self, logged: LoggedReceipt, in_force: Parameters) -> Sequence[SketchOpening] | Reason:
        batch = logged.batch
        sealed = self._source.sealed_sketches(batch.sealed)
        if sealed is None:
            return Reason.NO_DATA
        try:
            openings = open_sketches(sealed, self._key, ledger_id=self._ledger_id, batch_root=batch.root)
        except (OpeningError, ActivationError):
            return Reason.OPENING if batch.audit_epoch == in_force.sequence else Reason.NO_DATA
        return openings if len(openings) == batch.count else Reason.OPENING

"""The openings that an evidence bundle shows: of the sketch, or of the sealed box that has none.

Source: specs/validation.md §10."""

from hashlib import sha256

from creditledger.activations.commitment import open_commitment
from creditledger.activations.sealing import open_with_slot_key, opens_slot, recipients_of, unpack_sketches
from creditledger.errors import OpeningError
from creditledger.minting.sealed_evidence import SketchOpening, audit_keys, sketches_associated
from creditledger.records.parameters import Parameters
from creditledger.records.receipt import WINDOW, Batch, Receipt
from creditledger.records.verdict import Reason


def read_sketches(
    packed: bytes, receipt: Receipt, previous: Receipt | None
) -> tuple[SketchOpening, SketchOpening | None]:
    """The opening of ``receipt``, and of ``previous`` if it is shown, each what its receipt committed to.

    ``previous``: the window before. Raises OpeningError."""
    shown = unpack_sketches(packed)
    may_be_two = previous is not None and receipt.positions < WINDOW
    if len(shown) > 1 + may_be_two:
        raise OpeningError("sketches of other windows are shown", expected="the receipt's")
    open_commitment(*shown[-1], receipt=receipt)
    if len(shown) == 1 or previous is None:
        return shown[-1], None
    open_commitment(*shown[0], receipt=previous)
    return shown[-1], shown[0]


def read_box(
    box: bytes, slot_key: bytes, *, batch: Batch, place: int, parameters: Parameters, ledger_id: bytes
) -> SketchOpening | Reason:
    """What the batch's sealed box holds for its receipt number ``place``.

    OPENING where anybody can see that it was not made as it must be; NO_DATA where that is not shown,
    as of a slot that was spoilt for one member alone. ``parameters``: the job's, whose audit keys it must
    be sealed to if they are of its epoch. ``slot_key``: may be empty. Raises OpeningError if this is not
    the batch's box, or ``slot_key`` opens none of its slots."""
    if sha256(box).digest() != batch.sealed:
        raise OpeningError("not the batch's sealed sketches", expected=batch.sealed.hex())
    try:
        recipients = set(recipients_of(box))
    except OpeningError:
        return Reason.OPENING
    if batch.audit_epoch == parameters.sequence and not recipients.issuperset(audit_keys(parameters)):
        return Reason.OPENING
    if not slot_key:
        return Reason.NO_DATA
    if not opens_slot(box, slot_key):
        raise OpeningError("the key shown opens no slot of the box")
    associated = sketches_associated(ledger_id, batch.root)
    try:
        openings = unpack_sketches(open_with_slot_key(box, slot_key, associated=associated))
    except OpeningError:
        return Reason.OPENING
    return openings[place] if len(openings) == batch.count else Reason.OPENING

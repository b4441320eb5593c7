"""What is sealed to the committee's audit keys, and what each box is bound to.

Source: specs/minting.md §3."""

from collections.abc import Callable, Sequence
from typing import Final

from creditledger.activations.delivered import Rows
from creditledger.activations.sealing import (
    AuditKey,
    OpenedInputs,
    pack_inputs,
    pack_sketches,
    seal,
    unpack_inputs,
    unpack_sketches,
)
from creditledger.records.parameters import Parameters

SketchOpening = tuple[bytes, bytes]
"""The 32-byte salt and the sketch's bytes behind one receipt's commitment."""

_SKETCHES: Final = b"creditledger/v1/sealed-sketches\0"
_INPUTS: Final = b"creditledger/v1/sealed-inputs\0"


def audit_keys(parameters: Parameters) -> list[bytes]:
    """The X25519 keys of the committee, each once, ascending."""
    return sorted({member.audit_key for member in parameters.committee})


def seal_sketches(
    openings: Sequence[SketchOpening],
    recipients: Sequence[bytes],
    *,
    ledger_id: bytes,
    batch_root: bytes,
    random_bytes: Callable[[int], bytes],
) -> bytes:
    """A batch's sketches, in the order of its receipts, for ``recipients``' eyes only.

    Raises ActivationError, KeyFormatError."""
    associated = sketches_associated(ledger_id, batch_root)
    return seal(pack_sketches(openings), recipients, associated=associated, random_bytes=random_bytes)


def sketches_associated(ledger_id: bytes, batch_root: bytes) -> bytes:
    """What the box of a batch's sketches is bound to."""
    return _SKETCHES + ledger_id + batch_root


def open_sketches(
    sealed: bytes, key: AuditKey, *, ledger_id: bytes, batch_root: bytes
) -> list[SketchOpening]:
    """The inverse of `seal_sketches`. Raises OpeningError."""
    return unpack_sketches(key.open(sealed, associated=sketches_associated(ledger_id, batch_root)))


def seal_inputs(
    rows: Rows,
    recipients: Sequence[bytes],
    *,
    boundary_key: bytes,
    first_position: int,
    ledger_id: bytes,
    input_root: bytes,
    random_bytes: Callable[[int], bytes],
) -> bytes:
    """One window's input rows with their boundary key, for ``recipients``' eyes only.

    Raises ActivationError, KeyFormatError."""
    packed = pack_inputs(rows, boundary_key, first_position)
    return seal(packed, recipients, associated=_INPUTS + ledger_id + input_root, random_bytes=random_bytes)


def open_inputs(sealed: bytes, key: AuditKey, *, ledger_id: bytes, input_root: bytes) -> OpenedInputs:
    """The inverse of `seal_inputs`. Raises OpeningError. The rows are not yet held against the root."""
    return unpack_inputs(key.open(sealed, associated=_INPUTS + ledger_id + input_root))

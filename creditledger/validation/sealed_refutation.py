"""An evidence bundle sealed to the committee and the accused. Source: specs/validation.md §10."""

from collections.abc import Callable, Sequence
from typing import Final

from creditledger.activations.sealing import AuditKey, seal
from creditledger.validation.evidence_bundle import EVIDENCE_BYTES_MAX, EvidenceBundle

_SEALED: Final = b"creditledger/v1/sealed-refutation\0"


def seal_evidence(
    bundle: EvidenceBundle,
    recipients: Sequence[bytes],
    *,
    ledger_id: bytes,
    receipt: bytes,
    random_bytes: Callable[[int], bytes],
) -> bytes:
    """For ``recipients``' eyes only. ``receipt``: its digest, which the box is bound to.

    Raises ActivationError, KeyFormatError; MalformedRecordError for a bundle that is too long."""
    return seal(
        bundle.encode(),
        recipients,
        associated=_SEALED + ledger_id + receipt,
        random_bytes=random_bytes,
        most=EVIDENCE_BYTES_MAX,
    )


def open_evidence(sealed: bytes, key: AuditKey, *, ledger_id: bytes, receipt: bytes) -> EvidenceBundle:
    """The inverse of `seal_evidence`; ``key``: a member's, or the accused's (`x25519_secret`).

    Raises OpeningError, MalformedBundleError. Nothing in it is verified yet."""
    return EvidenceBundle.decode(
        key.open(sealed, associated=_SEALED + ledger_id + receipt, most=EVIDENCE_BYTES_MAX)
    )

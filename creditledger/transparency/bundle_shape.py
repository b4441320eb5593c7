"""Which parts a bundle carries, by what it is about: checked before anything in them is believed.

Source: specs/bundle.md §2."""

from collections.abc import Iterator
from typing import Final

from creditledger.errors import CertificateError, MalformedBundleError, MalformedRecordError
from creditledger.transparency.bundle import STATES_MAX, Bundle, SignedRecord, Subject
from creditledger.transparency.note import parse_note

ID_SIZE: Final = 32
_WITH_ENTRY: Final = frozenset({Subject.RECEIPT, Subject.BATCH, Subject.HOLD})
_BY_ID: Final = frozenset({Subject.ACCOUNT, Subject.KEY, Subject.ABSENT})
_STATES_MAX: Final = {
    Subject.RECEIPT: STATES_MAX,
    Subject.BATCH: 1,
    Subject.HOLD: 2,
    Subject.ACCOUNT: 1,
    Subject.KEY: 1,
    Subject.ABSENT: 1,
}
"""One of a batch or the second of a hold is its signer's key."""
_ED25519_SIZE: Final = 64
_BLS_SIZE: Final = 96


def require_shape(bundle: Bundle) -> None:
    """Check that ``bundle`` has the parts its subject asks for, each in its one form, and no other.

    Raises MalformedBundleError; CertificateError where only the certified round is missing.
    Source: specs/bundle.md §2."""
    wrong = next((what for holds, what in _rules(bundle) if not holds), None)
    if wrong is not None:
        raise MalformedBundleError(
            "bundle carries other parts than its subject asks for",
            expected=wrong,
            found=f"a bundle of a {Subject(bundle.subject).name.lower()}",
        )
    if not bundle.certified and bundle.subject not in (Subject.RECEIPT, Subject.BATCH):
        raise CertificateError(
            "no balance, hold, key or absence counts without its round's certificate",
            expected="a certified round",
            found="none",
        )
    _require_ascending_lines(bundle.checkpoint)


def _rules(bundle: Bundle) -> Iterator[tuple[bool, str]]:
    """Each rule: whether it holds, and what it asks for."""
    subject, is_receipt = bundle.subject, bundle.subject == Subject.RECEIPT
    is_certified, is_logged = bool(bundle.certified), bool(bundle.checkpoint)
    logged = [*bundle.entry, *(certified.round for certified in bundle.certified)]
    loose = [*bundle.job, *bundle.delivery, *(shown.reveal for shown in bundle.verdicts)]
    yield bool(bundle.leaf) == is_receipt, "a leaf with a receipt only"
    yield bool(bundle.entry) == (subject in _WITH_ENTRY), "an entry with a receipt, batch or hold only"
    yield bool(bundle.body) == (is_receipt or subject in _BY_ID), "a body with a receipt or an id only"
    yield subject not in _BY_ID or len(bundle.body) == ID_SIZE, "an id of 32 bytes"
    yield is_receipt or not loose, "job, delivery and verdicts with a receipt only"
    yield bool(bundle.job) or not bundle.delivery, "a delivery with its job only"
    yield is_logged or not is_certified, "a certified round with a checkpoint only"
    yield bool(bundle.states) == is_certified, "states exactly with a certified round"
    yield len(bundle.states) <= _STATES_MAX[Subject(subject)], "no more states than its subject has"
    yield is_certified or not bundle.verdicts, "verdicts with a certified round only"
    yield all(len(part.place) == is_logged for part in logged), "places exactly with a checkpoint"
    yield not any(part.place for part in loose), "no place but the entry's and the round's"
    yield _has_sizes(logged, _ED25519_SIZE), "signatures of 64 bytes by one key"
    yield _has_sizes([*bundle.job, *bundle.delivery], _ED25519_SIZE), "signatures of 64 bytes by one key"
    yield _has_sizes([shown.reveal for shown in bundle.verdicts], _BLS_SIZE), "reveals signed by a validator"


def _has_sizes(parts: list[SignedRecord], size: int) -> bool:
    return all(len(part.signature) == size for part in parts)


def _require_ascending_lines(checkpoint: bytes) -> None:
    """So that one set of signatures has one spelling."""
    if not checkpoint:
        return
    try:
        lines = [signature.line for signature in parse_note(checkpoint).signatures]
    except MalformedRecordError as error:
        raise MalformedBundleError(
            f"bundle holds no checkpoint: {error}", expected=error.expected, found=error.found
        ) from None
    if lines != sorted(lines):
        raise MalformedBundleError("checkpoint lines are out of order", expected="ascending signature lines")

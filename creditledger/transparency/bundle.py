"""The bundle: one file that proves a receipt, a batch, a hold, an account, a key or an absence.

Source: specs/bundle.md."""

from enum import IntEnum
from typing import Annotated, ClassVar, Final, TypeVar

from creditledger.errors import MalformedBundleError, MalformedRecordError
from creditledger.quantities import Code, Count, Digest, LeafIndex, UnixMillisecond, octets
from creditledger.records import canonical
from creditledger.records.entry import record_from_values
from creditledger.records.kinds import Kind
from creditledger.records.record import Fields, Record

BUNDLE_BYTES_MAX: Final = 65_535
STATES_MAX: Final = 7
"""A receipt's own, its lot, three keys of rotated signers, the indices of job and delivery."""
_RecordT = TypeVar("_RecordT", bound=Record)


class Subject(IntEnum):
    """What a bundle is about."""

    RECEIPT = 1
    BATCH = 2
    HOLD = 3
    ACCOUNT = 4
    KEY = 5
    ABSENT = 6


class Place(Fields):
    """Where an entry stands in the tree of the bundle's checkpoint."""

    time_unix_ms: UnixMillisecond
    index: LeafIndex
    path: tuple[Digest, ...]


class SignedRecord(Fields):
    """A record with its signature and, where the log is proven, its place."""

    record: Annotated[bytes, octets(1, 32_768)]
    """A delivery of 256 spans takes 20 KiB."""
    signature: Annotated[bytes, octets(64, 96)]
    place: tuple[Place, ...]


class Leaf(Fields):
    """A body's place under the root of its batch or reveal."""

    index: Count
    path: tuple[Digest, ...]


class CertifiedRound(Fields):
    """A round in the log with its quorum certificate."""

    round: SignedRecord
    signers: Annotated[bytes, octets(1, 128)]
    aggregate: Annotated[bytes, octets(96, 96)]


class MapValue(Fields):
    """A value of the round's map, empty for an absence, with its proof."""

    value: Annotated[bytes, octets(0, 1_024)]
    proof: Annotated[bytes, octets(1, 16_384)]


class ShownVerdict(Fields):
    """A verdict under the root that its validator signed and revealed."""

    reveal: SignedRecord
    verdict: Annotated[bytes, octets(1, 512)]
    leaf: Leaf


class Bundle(Record):
    """Everything an offline reader needs besides its own policy. Tuples marked *at most one* are options.

    Which parts a subject and a level ask for: specs/bundle.md §2. Every part that is there is verified."""

    KIND: ClassVar[Kind] = Kind.BUNDLE

    subject: Code
    ledger: Digest
    body: Annotated[bytes, octets(0, 1_024)]
    """The encoded receipt; the id of an account, a key or an absent record; else empty."""
    leaf: tuple[Leaf, ...]
    """At most one: the receipt's place in its batch."""
    entry: tuple[SignedRecord, ...]
    """At most one: the batch header or the hold."""
    job: tuple[SignedRecord, ...]
    """At most one: the client's order."""
    delivery: tuple[SignedRecord, ...]
    """At most one: the client's countersignature."""
    checkpoint: Annotated[bytes, octets(0, 16_384)]
    """The signed note, its lines ascending and none unknown to the reader's policy; empty at `signed`."""
    certified: tuple[CertifiedRound, ...]
    """At most one."""
    states: tuple[MapValue, ...]
    """The subject's own state, a receipt's lot if it is settled, then keys of signers that have rotated."""
    verdicts: tuple[ShownVerdict, ...]
    """Ascending by committee member, each member once."""

    def check_rules(self) -> None:
        options = (self.leaf, self.entry, self.job, self.delivery, self.certified)
        if (
            any(len(option) > 1 for option in options)
            or len(self.states) > STATES_MAX
            or len(self.verdicts) > 8
        ):
            raise MalformedRecordError("a bundle carries each part at most once")
        if self.subject not in tuple(Subject):
            raise MalformedRecordError("bundle has an unknown subject", found=str(self.subject))


def decode_bundle(encoded: bytes) -> Bundle:
    """The bundle these bytes spell. Raises MalformedBundleError."""
    try:
        return Bundle.decode(encoded)
    except MalformedRecordError as error:
        raise MalformedBundleError(
            f"not a bundle: {error}", expected=error.expected, found=error.found
        ) from None


def decode_part(kind: type[_RecordT], encoded: bytes) -> _RecordT:
    """The record of this kind inside a bundle. Raises MalformedBundleError."""
    try:
        return kind.decode(encoded)
    except MalformedRecordError as error:
        raise MalformedBundleError(
            f"bundle holds no {kind.KIND.name.lower()}: {error}", expected=error.expected, found=error.found
        ) from None


def decode_logged(encoded: bytes) -> Record:
    """The record, of any kind that may stand in the log, inside a bundle. Raises MalformedBundleError."""
    try:
        return record_from_values(canonical.decode(encoded))
    except MalformedRecordError as error:
        raise MalformedBundleError(
            f"bundle holds no record: {error}", expected=error.expected, found=error.found
        ) from None

"""Canonical bytes: records, entries and submissions, bundles."""

from collections.abc import Sequence
from functools import cache

from creditledger.activations.calibration import CalibrationProfile
from creditledger.errors import CreditLedgerError, VerificationError
from creditledger.minting.work_order import WorkOrder
from creditledger.records import canonical
from creditledger.records.entry import Entry, Submission
from creditledger.redemption.order import Order
from creditledger.transparency.bundle import Bundle, Subject, decode_bundle
from creditledger.transparency.trust_policy import TrustPolicy
from creditledger.transparency.verification import verify_bundle
from fuzz.target import Target, is_inverse, stored
from record_strategies import RECORDS

HEADS = [
    b"\x90", b"\x91", b"\x9f", b"\xdc\x00\x10", b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff", b"\xc4\x20",
    b"\xc5\x01\x00", b"\xc6\xff\xff\xff\xff", b"\xcc\x80", b"\xcd\x01\x00", b"\xce\x00\x01\x00\x00",
    b"\xcf\x7f\xff\xff\xff\xff\xff\xff\xff", b"\xcf\x80\x00\x00\x00\x00\x00\x00\x00", b"\xc0", b"\x81\xa1a",
    b"\xc4\x00", b"\xc2",
    b"\xca\x3f\x80\x00\x00", b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", b"\xd6\xff\x5a\x4a\xf6\xa5", b"\xa1a",
]  # fmt: skip
"""Heads of msgpack values, allowed and not."""
BY_KIND = {int(record.KIND): record for record in RECORDS.values()}


def feed_record(data: bytes) -> bool:
    """A record of the kind it says it is; else any of the values that travel without a kind."""
    try:
        values = canonical.decode(data)
    except CreditLedgerError:
        values = []
    kind = values[0] if isinstance(values, list) and values and isinstance(values[0], int) else None
    record = BY_KIND.get(kind) if kind is not None else None
    if record is not None and is_inverse(record.decode, record.encode, data):
        return True
    others = (WorkOrder, CalibrationProfile, Order)
    taken = [is_inverse(other.decode, other.encode, data) for other in others]  # type: ignore[attr-defined]
    return any(taken) or is_inverse(canonical.decode, canonical.encode, data)


def record_seeds() -> list[bytes]:
    encoded = [case["encoded"] for case in stored("records/*.json")]
    encoded += [case["encoded"] for case in stored("check/profile.json")]
    encoded += [case["encoded"] for case in stored("minting/work-order.json")]
    return list(map(bytes.fromhex, encoded))


def feed_entry(data: bytes) -> bool:
    taken = [
        is_inverse(Entry.decode, Entry.encode, data),
        is_inverse(Submission.decode, Submission.encode, data),
    ]
    return any(taken)


def entry_seeds() -> list[bytes]:
    found = [bytes.fromhex(case["encoded"]) for case in stored("records/entry.json")]
    submission = [bytes.fromhex(case["encoded"]) for case in stored("records/submission.json")]
    for case in stored("records/*.json"):
        encoded = bytes.fromhex(case["encoded"])
        submission.append(b"\x92\x92" + encoded + b"\xc4\x40" + bytes(64) + b"\x90")
        found.append(b"\x95\x01\x01\x07" + encoded + b"\xc4\x40" + bytes(64))
    return found + submission


@cache
def shown_bundles() -> tuple[TrustPolicy, frozenset[bytes]]:
    """The policy that the stored bundles hold under, and they."""
    cases = [case for case in stored("bundle/*.json") if "verified" in case]
    policy = TrustPolicy.parse(cases[0]["policy"].encode())
    return policy, frozenset(bytes.fromhex(case["bundle"]) for case in cases)


def feed_bundle(data: bytes) -> bool:
    """Read as itself; believed only if it is one of those that we made."""
    if not is_inverse(decode_bundle, Bundle.encode, data):
        return False
    policy, made = shown_bundles()
    try:
        verify_bundle(data, policy, require="signed")
    except VerificationError:
        return True
    assert any(_says_the_same(decode_bundle(data), decode_bundle(own)) for own in made), "a forged bundle"
    return True


def _says_the_same(found: Bundle, own: Bundle) -> bool:
    # An empty slot of the map proves every id absent that would stand there.
    return found == own or (own.subject == Subject.ABSENT and found.replace(body=own.body) == own)


def bundle_seeds() -> Sequence[bytes]:
    return [bytes.fromhex(case["bundle"]) for case in stored("bundle/*.json")]


RECORD_TARGETS = {
    "record": Target(feed=feed_record, seeds=record_seeds, words=HEADS),
    "entry": Target(feed=feed_entry, seeds=entry_seeds, words=HEADS),
    "bundle": Target(feed=feed_bundle, seeds=bundle_seeds, words=HEADS),
}

"""How many bytes a proof takes: what travels beside a receipt."""

import pytest

from creditledger.records.receipt import ChainHead, Delivery
from creditledger.records.state import ReceiptState
from creditledger.transparency.bundle import BUNDLE_BYTES_MAX, Bundle, SignedRecord
from creditledger.transparency.note import parse_note
from creditledger.transparency.verification import verify_bundle
from fakes.shown_pool import shown

HASH_BYTES = 34
"""A hash with its header."""
COSIGNATURE_BYTES = 150


def hashes(bundle: Bundle) -> int:
    """Those that grow with the log: the paths of entry and round."""
    return len(bundle.entry[0].place[0].path) + sum(
        len(part.round.place[0].path) for part in bundle.certified
    )


@pytest.mark.parametrize(
    ("name", "most", "parts"),
    [
        ("logged", 4_096, ("leaf", "entry", "job", "delivery")),
        ("vested", 6_144, ("leaf", "entry", "job", "delivery", "certified", "states", "verdicts")),
    ],
)
def test_a_proof_is_small(name: str, most: int, parts: tuple[str, ...]) -> None:
    encoded = shown()[name]
    bundle, found = Bundle.decode(encoded), verify_bundle(encoded, shown().policy)
    assert all(getattr(bundle, part) for part in parts)
    assert found.size is not None
    assert 900 < found.size < 1_024
    assert len(parse_note(bundle.checkpoint).signatures) == 2  # the log's and one cosignature
    assert len(encoded) <= most
    # A log of 2^20 entries and three cosignatures: 20 hashes where there were 10, two lines more.
    paths = 2 if bundle.certified else 1
    grown = len(encoded) + HASH_BYTES * (20 * paths - hashes(bundle)) + 2 * COSIGNATURE_BYTES
    # Its map of 2^20 keys adds as many siblings again to each state.
    grown += HASH_BYTES * 10 * len(bundle.states)
    assert grown <= most


def test_a_cosignature_line_is_what_the_estimate_says() -> None:
    note = parse_note(Bundle.decode(shown()["logged"]).checkpoint)
    assert max(len(line.line) for line in note.signatures) <= COSIGNATURE_BYTES


def test_a_settled_receipt_carries_two_states() -> None:
    bundle = Bundle.decode(shown()["vested"])
    assert len(bundle.states) == 2
    state = ReceiptState.decode(bundle.states[0].value)
    assert state.replace(settled=1) == state


def test_the_longest_plan_fits() -> None:
    """256 spans, all delivered at once."""
    heads = tuple(
        ChainHead(node=bytes(32), layer_start=2**16 - 256 + i, receipt=bytes(32), positions=2**32 - 1)
        for i in range(256)
    )
    delivery = Delivery(client=bytes(32), job=bytes(32), heads=heads, closes=1)
    bundle = Bundle.decode(shown()["vested"])
    long = SignedRecord(record=delivery.encode(), signature=bytes(64), place=())
    assert len(bundle.replace(job=(long,), delivery=(long,)).encode()) < BUNDLE_BYTES_MAX

"""Sealed boxes: all recipients open them or none does. specs/check.md §3."""

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from creditledger.activations import sealing
from creditledger.activations.sealing import (
    PLAINTEXT_BYTES_MAX,
    AuditKey,
    open_sealed,
    open_with_slot_key,
    opens_slot,
    pack_inputs,
    pack_sketches,
    recipients_of,
    seal,
    slot_key,
    unpack_inputs,
    unpack_sketches,
)
from creditledger.errors import ActivationError, KeyFormatError, OpeningError
from published_vectors import Tally

VECTOR = Path(__file__).parents[2] / "vectors" / "check" / "sealed.json"
KEYS = [AuditKey(hashlib.sha256(bytes([n])).digest()) for n in range(4)]
RECIPIENTS = [key.public_key for key in KEYS[:3]]
LEFT_OUT = KEYS[3]
TEXT = b"the sketches of a batch"
SLOT = 112


def counted_random(size: int) -> bytes:
    return hashlib.sha256(b"seed").digest()[:size]


def sealed(text: bytes = TEXT) -> bytes:
    return seal(text, RECIPIENTS, associated=b"batch 7", random_bytes=counted_random)


@pytest.mark.parametrize("text", [b"", b"x", TEXT, bytes(100_000)])
def test_every_recipient_opens_the_box(text: bytes) -> None:
    blob = sealed(text)
    assert all(key.open(blob, associated=b"batch 7") == text for key in KEYS[:3])


def test_the_order_of_recipients_does_not_matter() -> None:
    other = seal(TEXT, RECIPIENTS[::-1], associated=b"batch 7", random_bytes=counted_random)
    assert other == sealed()


def test_stored_vector() -> None:
    vector = json.loads(VECTOR.read_text())
    blob = seal(
        bytes.fromhex(vector["plaintext"]),
        [bytes.fromhex(key) for key in vector["public_keys"]],
        associated=bytes.fromhex(vector["associated"]),
        random_bytes=lambda size: bytes.fromhex(vector["random"]),
    )
    assert blob.hex() == vector["sealed"]
    for secret in vector["secrets"]:
        opened = open_sealed(blob, bytes.fromhex(secret), associated=bytes.fromhex(vector["associated"]))
        assert opened.hex() == vector["plaintext"]


def test_nobody_else_opens_the_box() -> None:
    with pytest.raises(OpeningError):
        LEFT_OUT.open(sealed(), associated=b"batch 7")


def test_another_association_is_refused() -> None:
    with pytest.raises(OpeningError):
        KEYS[0].open(sealed(), associated=b"batch 8")


def test_truncated_and_lengthened_boxes_are_refused() -> None:
    blob = sealed()
    for end in range(len(blob)):
        with pytest.raises(OpeningError):
            open_sealed(blob[:end], KEYS[0].secret, associated=b"batch 7")
    with pytest.raises(OpeningError):
        open_sealed(blob + b"\0", KEYS[0].secret, associated=b"batch 7")


def test_a_slot_spoilt_for_one_recipient_is_refused_by_all() -> None:
    """Otherwise a sender could make one validator seem unable to read what the others read."""
    blob = bytearray(sealed())
    blob[10 + 2 * SLOT + 70] ^= 1
    for key in KEYS[:3]:
        with pytest.raises(OpeningError):
            key.open(bytes(blob), associated=b"batch 7")


def test_a_box_with_another_seed_for_one_recipient_is_refused() -> None:
    """A sender that wraps two seeds might show two contents."""
    keys = sorted(RECIPIENTS)
    slots = [sealing._slot(bytes([n // 2]) * 32, n, key, b"batch 7") for n, key in enumerate(keys)]
    header = struct.pack("<8sH", b"cl/seal1", 3) + b"".join(slots)
    for seed in (bytes(32), b"\1" * 32):
        cipher: ChaCha20Poly1305 = sealing._body_cipher(seed)
        body = cipher.encrypt(bytes(12), TEXT, sealing._bound(header, b"batch 7"))
        for key in KEYS[:3]:
            with pytest.raises(OpeningError):
                key.open(header + body, associated=b"batch 7")


def test_recipients_out_of_order_are_refused() -> None:
    blob = sealed()
    swapped = blob[:10] + blob[10 + SLOT : 10 + 2 * SLOT] + blob[10 : 10 + SLOT] + blob[10 + 2 * SLOT :]
    with pytest.raises(OpeningError):
        KEYS[0].open(swapped, associated=b"batch 7")


@pytest.mark.parametrize("recipients", [[], RECIPIENTS + RECIPIENTS[:1]], ids=["none", "one-twice"])
def test_recipients_must_be_distinct_and_there(recipients: list[bytes]) -> None:
    with pytest.raises(ActivationError):
        seal(TEXT, recipients, associated=b"", random_bytes=counted_random)


@pytest.mark.parametrize("key", [bytes(32), b"\1" + bytes(31), bytes(31)], ids=["0", "1", "short"])
def test_unusable_keys_are_refused(key: bytes) -> None:
    """Points of low order would share a secret with everybody."""
    with pytest.raises(KeyFormatError):
        seal(TEXT, [key], associated=b"", random_bytes=counted_random)


def test_a_box_naming_a_low_order_key_is_refused() -> None:
    blob = bytearray(sealed())
    blob[10:42] = bytes(32)
    with pytest.raises(OpeningError):
        AuditKey(KEYS[0].secret).open(bytes(blob), associated=b"batch 7")


def test_too_much_to_seal_is_refused() -> None:
    with pytest.raises(ActivationError):
        seal(bytes(PLAINTEXT_BYTES_MAX + 1), RECIPIENTS, associated=b"", random_bytes=counted_random)


def test_an_audit_key_does_not_show_its_secret() -> None:
    key = KEYS[0]
    assert key.secret.hex() not in repr(key)
    assert repr(key.secret) not in repr(key)
    with pytest.raises(KeyFormatError):
        AuditKey(b"short")


def openings(count: int) -> list[tuple[bytes, bytes]]:
    return [(bytes([n]) * 32, bytes([n]) * 4 * (n % 5 + 1)) for n in range(count)]


def test_packed_sketches_come_back_in_order() -> None:
    for count in (1, 2, 40):
        assert unpack_sketches(pack_sketches(openings(count))) == openings(count)
    longest = [(bytes(32), bytes(1024))]
    assert unpack_sketches(pack_sketches(longest)) == longest


def test_packed_sketches_cut_or_lengthened_are_refused() -> None:
    packed = pack_sketches(openings(3))
    for end in range(len(packed)):
        with pytest.raises(OpeningError):
            unpack_sketches(packed[:end])
    for wrong in (packed + b"\0", b"x" + packed[1:], packed[:8] + b"\2" + packed[9:]):
        with pytest.raises(OpeningError):
            unpack_sketches(wrong)


@pytest.mark.parametrize(
    "opening",
    [(bytes(31), bytes(4)), (bytes(32), b""), (bytes(32), bytes(5)), (bytes(32), bytes(1028))],
    ids=["salt", "empty", "torn", "257-positions"],
)
def test_sketches_of_another_length_are_not_packed(opening: tuple[bytes, bytes]) -> None:
    with pytest.raises(ActivationError):
        pack_sketches([opening])


def test_no_sketch_at_all_is_refused_both_ways() -> None:
    with pytest.raises(ActivationError):
        pack_sketches([])
    with pytest.raises(OpeningError):
        unpack_sketches(b"cl/skp1\0" + bytes(4))


def test_packed_inputs_come_back() -> None:
    rows = np.arange(12, dtype=np.uint16).reshape(3, 4)
    opened = unpack_inputs(pack_inputs(rows, b"k" * 32, 512))
    assert np.array_equal(opened.rows, rows)
    assert opened.rows.dtype == np.uint16
    assert (opened.boundary_key, opened.first_position) == (b"k" * 32, 512)


def test_packed_inputs_cut_or_altered_are_refused() -> None:
    packed = pack_inputs(np.ones((3, 4), np.uint16), b"k" * 32, 512)
    wrongs = [packed[:end] for end in range(len(packed))]
    wrongs += [packed + b"\0", b"x" + packed[1:]]
    wrongs += [packed[:44] + struct.pack("<II", t, d) + packed[52:] for t, d in [(0, 4), (2, 4), (3, 0)]]
    wrongs += [packed[:40] + b"\xff" * 4 + packed[44:]]
    for wrong in wrongs:
        with pytest.raises(OpeningError):
            unpack_inputs(wrong)


@pytest.mark.parametrize(
    ("rows", "key", "position"),
    [
        (np.ones((3, 4), np.float64), b"k" * 32, 0),
        (np.ones((257, 4), np.uint16), b"k" * 32, 0),
        (np.ones((3, 4), np.uint16), b"k" * 31, 0),
        (np.ones((3, 4), np.uint16), b"k" * 32, 2**32 - 2),
    ],
    ids=["float64", "257-rows", "key", "position"],
)
def test_inputs_that_are_no_window_are_not_packed(rows: np.ndarray, key: bytes, position: int) -> None:
    with pytest.raises(ActivationError):
        pack_inputs(rows, key, position)


def test_wycheproof_hkdf(vectors: Path, ran: Tally) -> None:
    """The primitive that a box's keys are derived with."""
    groups = json.loads((vectors / "wycheproof/hkdf_sha256_test.json").read_text())["testGroups"]
    cases = [case for group in groups for case in group["tests"]]
    for case in cases:
        material, salt, info = (bytes.fromhex(case[name]) for name in ("ikm", "salt", "info"))
        if case["result"] == "invalid":
            with pytest.raises(ValueError, match="larger than"):
                HKDF(algorithm=SHA256(), length=case["size"], salt=salt, info=info)
        else:
            derived = HKDF(algorithm=SHA256(), length=case["size"], salt=salt, info=info).derive(material)
            assert derived.hex() == case["okm"]
    ran("wycheproof hkdf-sha256", len(cases), "as published, the primitive under sealed boxes")


def test_a_slot_key_opens_its_box_for_anybody_and_no_other_one() -> None:
    """What a validator shows of a box whose content is the fault."""
    blob, other = sealed(), seal(TEXT, RECIPIENTS, associated=b"batch 8", random_bytes=counted_random)
    for key in KEYS[:3]:
        shown = slot_key(blob, key.secret, associated=b"batch 7")
        assert opens_slot(blob, shown)
        assert open_with_slot_key(blob, shown, associated=b"batch 7") == TEXT
        assert not opens_slot(other, shown)
    assert not opens_slot(b"no box", bytes(32))
    with pytest.raises(OpeningError):
        slot_key(blob, LEFT_OUT.secret, associated=b"batch 7")


def test_a_slot_key_shows_that_another_slot_or_the_body_was_spoilt() -> None:
    """The key still opens its own slot, so the box is nobody's fault but its maker's."""
    shown = slot_key(sealed(), KEYS[0].secret, associated=b"batch 7")
    own = RECIPIENTS[0] == min(RECIPIENTS)
    spoilt_slot = bytearray(sealed())
    spoilt_slot[10 + (SLOT if own else 0) + 100] ^= 1
    spoilt_body = sealed()[:-1] + b"\0"
    for blob in (bytes(spoilt_slot), spoilt_body):
        assert opens_slot(blob, shown)
        with pytest.raises(OpeningError):
            open_with_slot_key(blob, shown, associated=b"batch 7")


def test_the_recipients_of_a_box_can_be_read() -> None:
    assert recipients_of(sealed()) == sorted(RECIPIENTS)
    with pytest.raises(OpeningError):
        recipients_of(b"no box")


def test_a_box_may_hold_what_its_page_says() -> None:
    """Another bound, for whoever seals and whoever opens; without it the box is refused."""
    most = PLAINTEXT_BYTES_MAX + 1
    blob = seal(bytes(most), RECIPIENTS, associated=b"", random_bytes=counted_random, most=most)
    assert open_sealed(blob, KEYS[0].secret, associated=b"", most=most) == bytes(most)
    with pytest.raises(OpeningError):
        open_sealed(blob, KEYS[0].secret, associated=b"")

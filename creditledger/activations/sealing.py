"""Sealed evidence: one body that several audit keys open, all of them or none.

The one random seed fixes every ephemeral key, so whoever opens a box can rebuild its whole header;
a sender cannot show different contents to different validators. Source: specs/check.md §3.
"""

import hashlib
import hmac
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from creditledger.activations.delivered import WIDTH_MAX, Rows, require_rows
from creditledger.activations.row_format import ROW_DTYPES
from creditledger.activations.sampler import SAMPLER_BYTES
from creditledger.activations.sketch import PROJECTIONS
from creditledger.errors import ActivationError, KeyFormatError, OpeningError
from creditledger.records.receipt import BATCH_RECEIPTS_MAX, WINDOW, Dtype

RECIPIENTS_MAX: Final = 1_024
PLAINTEXT_BYTES_MAX: Final = 33 * 1024 * 1024
"""A window of the widest fp32 rows with its header."""
_MAGIC: Final = b"cl/seal1"
_HEADER: Final = struct.Struct("<8sH")
_TAG_BYTES: Final = 16
_SLOT_BYTES: Final = 32 + 32 + 32 + _TAG_BYTES
_NONCE: Final = bytes(12)
"""Every key is used for one message, so the nonce never varies."""

_SKETCHES_MAGIC: Final = b"cl/skp1\0"
_SKETCHES_HEADER: Final = struct.Struct("<8sI")
_SKETCH_ROW_BYTES: Final = 2 * PROJECTIONS
_WITH_TOKENS: Final = 0x8000
"""Added to the positions where tokens and their sampler follow the sketch."""
_TOKEN_ROW_BYTES: Final = _SKETCH_ROW_BYTES + 4
_INPUTS_MAGIC: Final = {Dtype.BF16: b"cl/inp1\0", Dtype.FP16: b"cl/inp2\0", Dtype.FP32: b"cl/inp3\0"}
_INPUTS_HEADER: Final = struct.Struct("<8s32sIII")


@dataclass(frozen=True, slots=True, eq=False)
class AuditKey:
    """A validator's X25519 private key, 32 bytes: it opens what was sealed to ``public_key``."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if type(self.secret) is not bytes or len(self.secret) != 32:
            raise KeyFormatError("audit key has another length", expected="32 bytes")

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        return X25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()

    def open(self, blob: bytes, *, associated: bytes, most: int = PLAINTEXT_BYTES_MAX) -> bytes:
        """`open_sealed` with this key."""
        return open_sealed(blob, self.secret, associated=associated, most=most)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedInputs:
    """The input rows of one window, with what their root is computed from."""

    rows: Rows
    """``(1..256, hidden)`` in the format that the box names."""
    boundary_key: bytes
    first_position: int


def seal(
    plaintext: bytes,
    recipients: Sequence[bytes],
    *,
    associated: bytes,
    random_bytes: Callable[[int], bytes],
    most: int = PLAINTEXT_BYTES_MAX,
) -> bytes:
    """Encrypt to every X25519 public key of ``recipients``, 32 bytes each, 1 to 1,024 distinct ones.

    ``associated`` is bound, not carried. ``random_bytes(32)`` is called once and must never repeat.
    At most ``most`` bytes, by default 33 MiB. Raises ActivationError, KeyFormatError.
    Source: specs/check.md §3.1."""
    keys = sorted(set(recipients))
    if not 1 <= len(keys) <= RECIPIENTS_MAX or len(keys) != len(recipients):
        raise ActivationError("recipients", expected=f"1..{RECIPIENTS_MAX} distinct keys")
    if len(plaintext) > most:
        raise ActivationError("too much to seal", expected=f"at most {most} bytes")
    seed = random_bytes(32)
    header = _header(seed, keys, associated)
    body = _body_cipher(seed).encrypt(_NONCE, plaintext, _bound(header, associated))
    return header + body


def open_sealed(blob: bytes, secret: bytes, *, associated: bytes, most: int = PLAINTEXT_BYTES_MAX) -> bytes:
    """The plaintext, for one recipient's X25519 private key of 32 bytes.

    Raises OpeningError for anything that `seal` would not have made of it for these recipients and
    ``associated``, and KeyFormatError for a malformed ``secret``. Source: specs/check.md §3.1."""
    wrapping = slot_key(blob, secret, associated=associated, most=most)
    return _opened_with(_unwrapped(blob, wrapping, most), blob, associated, most)


def slot_key(blob: bytes, secret: bytes, *, associated: bytes, most: int = PLAINTEXT_BYTES_MAX) -> bytes:
    """The 32-byte key of the slot that is sealed to ``secret``: shown, it opens this box and no other.

    Raises OpeningError where there is no such slot, or the key does not open it."""
    private = AuditKey(secret)
    keys, slots, _ = _parse(blob, most)
    own = private.public_key
    if own not in keys:
        raise OpeningError("not sealed to this key", found=f"{len(keys)} other recipients")
    slot = slots[keys.index(own)]
    exchange = X25519PrivateKey.from_private_bytes(private.secret)
    ephemeral = slot[32:64]
    try:
        wrapping = _wrapping_key(exchange, ephemeral, public=ephemeral, recipient=own, associated=associated)
    except KeyFormatError:
        raise OpeningError("slot was altered, or is bound to something else") from None
    _unwrapped(blob, wrapping, most)
    return wrapping


def opens_slot(blob: bytes, wrapping: bytes) -> bool:
    """Whether ``wrapping``, 32 bytes, is the key of one of the box's slots. False for what is no box."""
    try:
        _unwrapped(blob, wrapping, PLAINTEXT_BYTES_MAX)
    except OpeningError:
        return False
    return True


def open_with_slot_key(blob: bytes, wrapping: bytes, *, associated: bytes) -> bytes:
    """As `open_sealed`, for anybody who was shown the `slot_key` of one recipient.

    Where `opens_slot` holds, an OpeningError is the fault of whoever made the box."""
    return _opened_with(
        _unwrapped(blob, wrapping, PLAINTEXT_BYTES_MAX), blob, associated, PLAINTEXT_BYTES_MAX
    )


def recipients_of(blob: bytes) -> list[bytes]:
    """The X25519 public keys that a box is sealed to, ascending. Raises OpeningError for what is no box."""
    return _parse(blob, PLAINTEXT_BYTES_MAX)[0]


def pack_sketches(openings: Sequence[tuple[bytes, bytes]]) -> bytes:
    """``(salt, sketch bytes)`` of each receipt of a batch, in order: what a node seals.

    Salts have 32 bytes, sketches 4 bytes a position, 1 to 256 positions; 1 to 4,096 receipts. Where
    tokens left a span: 8 bytes a position and 37 for the sampler, which no sketch alone has.
    Raises ActivationError. Source: specs/check.md §3.2."""
    if not 1 <= len(openings) <= BATCH_RECEIPTS_MAX:
        raise ActivationError("sketches", expected=f"1..{BATCH_RECEIPTS_MAX} of them")
    parts = [_SKETCHES_HEADER.pack(_SKETCHES_MAGIC, len(openings))]
    for salt, encoded in openings:
        with_tokens = len(encoded) % _SKETCH_ROW_BYTES != 0
        row = _TOKEN_ROW_BYTES if with_tokens else _SKETCH_ROW_BYTES
        positions, rest = divmod(len(encoded) - with_tokens * SAMPLER_BYTES, row)
        if len(salt) != 32 or rest or not 1 <= positions <= WINDOW:
            raise ActivationError("sketch or salt has another length", expected="4 bytes a position")
        parts += [struct.pack("<H", positions | with_tokens * _WITH_TOKENS), salt, encoded]
    return b"".join(parts)


def unpack_sketches(packed: bytes) -> list[tuple[bytes, bytes]]:
    """The inverse of `pack_sketches`. Raises OpeningError for any other bytes.

    Only lengths are checked here; `verify_sketch` checks each against its receipt."""
    magic, count = _read(_SKETCHES_HEADER, packed, 0)
    if magic != _SKETCHES_MAGIC or not 1 <= count <= BATCH_RECEIPTS_MAX:
        raise OpeningError("not packed sketches", expected=f"1..{BATCH_RECEIPTS_MAX} of them")
    openings, at = [], _SKETCHES_HEADER.size
    for _ in range(count):
        (flagged,) = _read(struct.Struct("<H"), packed, at)
        positions, with_tokens = flagged & ~_WITH_TOKENS, flagged & _WITH_TOKENS != 0
        size = positions * (_TOKEN_ROW_BYTES if with_tokens else _SKETCH_ROW_BYTES)
        start, end = at + 34, at + 34 + size + with_tokens * SAMPLER_BYTES
        if not 1 <= positions <= WINDOW or end > len(packed):
            raise OpeningError("packed sketches are cut short or too long")
        openings.append((packed[at + 2 : start], packed[start:end]))
        at = end
    if at != len(packed):
        raise OpeningError("bytes follow the last sketch")
    return openings


def pack_inputs(rows: Rows, boundary_key: bytes, first_position: int) -> bytes:
    """The input rows of one window, ``(1..256, hidden)``, with their boundary key.

    Raises ActivationError. Source: specs/check.md §3.3."""
    if len(require_rows(rows)) > WINDOW or len(boundary_key) != 32:
        raise ActivationError("not a window of inputs", expected="(1..256, hidden), 32 bytes")
    if not 0 <= first_position <= 2**32 - len(rows):
        raise ActivationError("position is out of range", expected="u32")
    shape = rows.shape
    magic = next(_INPUTS_MAGIC[known] for known, dtype in ROW_DTYPES.items() if dtype == rows.dtype)
    header = _INPUTS_HEADER.pack(magic, boundary_key, first_position, shape[0], shape[1])
    return header + rows.astype(rows.dtype.newbyteorder("<")).tobytes()


def unpack_inputs(packed: bytes) -> OpenedInputs:
    """The inverse of `pack_inputs`. Raises OpeningError for any other bytes.

    `verify_delivered` then checks the rows against the root."""
    magic, key, first_position, positions, width = _read(_INPUTS_HEADER, packed, 0)
    packed_as = next((known for known, tag in _INPUTS_MAGIC.items() if tag == magic), None)
    if packed_as is None or not (1 <= positions <= WINDOW and 1 <= width <= WIDTH_MAX):
        raise OpeningError("not packed inputs")
    if first_position + positions > 2**32:
        raise OpeningError("positions are out of range", expected="u32")
    dtype = ROW_DTYPES[packed_as]
    if len(packed) != _INPUTS_HEADER.size + dtype.itemsize * positions * width:
        raise OpeningError("inputs have another length", expected=f"({positions}, {width}) of {dtype}")
    flat = np.frombuffer(packed, dtype=dtype.newbyteorder("<"), offset=_INPUTS_HEADER.size)
    rows = flat.astype(dtype).reshape(positions, width)
    return OpenedInputs(rows=rows, boundary_key=key, first_position=first_position)


def _header(seed: bytes, keys: Sequence[bytes], associated: bytes) -> bytes:
    slots = [_slot(seed, number, key, associated) for number, key in enumerate(keys)]
    return _HEADER.pack(_MAGIC, len(keys)) + b"".join(slots)


def _rebuilt_header(seed: bytes, keys: Sequence[bytes], associated: bytes) -> bytes:
    try:
        return _header(seed, keys, associated)
    except KeyFormatError:
        raise OpeningError("box names a key that nobody can hold") from None


def _slot(seed: bytes, number: int, key: bytes, associated: bytes) -> bytes:
    secret = _derive(seed, b"cl/seal/ephemeral" + struct.pack("<H", number) + key)
    ephemeral = X25519PrivateKey.from_private_bytes(secret)
    public = ephemeral.public_key().public_bytes_raw()
    wrapping = _wrapping_key(ephemeral, key, public=public, recipient=key, associated=associated)
    return key + public + ChaCha20Poly1305(wrapping).encrypt(_NONCE, seed, None)


def _unwrapped(blob: bytes, wrapping: bytes, most: int) -> bytes:
    """The seed in the slot that ``wrapping`` opens."""
    _, slots, _ = _parse(blob, most)
    for slot in slots:
        try:
            return ChaCha20Poly1305(wrapping).decrypt(_NONCE, slot[64:], None)
        except (InvalidTag, ValueError):
            continue
    raise OpeningError("slot was altered, or is bound to something else")


def _opened_with(seed: bytes, blob: bytes, associated: bytes, most: int) -> bytes:
    keys, _, header = _parse(blob, most)
    if not hmac.compare_digest(_rebuilt_header(seed, keys, associated), header):
        raise OpeningError("box was not made as prescribed")
    try:
        body = blob[len(header) :]
        return _body_cipher(seed).decrypt(_NONCE, body, _bound(header, associated))
    except InvalidTag:
        raise OpeningError("body was altered, or is bound to something else") from None


def _wrapping_key(
    own: X25519PrivateKey, other: bytes, *, public: bytes, recipient: bytes, associated: bytes
) -> bytes:
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(other))
    except ValueError:  # Low order: the shared secret would be zero for everybody.
        raise KeyFormatError("not a usable X25519 key", found=other.hex()[:64]) from None
    digest = hashlib.sha256(associated).digest()
    return _derive(shared, b"cl/seal/wrap" + public + recipient + digest)


def _body_cipher(seed: bytes) -> ChaCha20Poly1305:
    return ChaCha20Poly1305(_derive(seed, b"cl/seal/body"))


def _bound(header: bytes, associated: bytes) -> bytes:
    return hashlib.sha256(header).digest() + hashlib.sha256(associated).digest()


def _derive(material: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(material)


def _parse(blob: bytes, most: int) -> tuple[list[bytes], list[bytes], bytes]:
    magic, count = _read(_HEADER, blob, 0)
    end = _HEADER.size + count * _SLOT_BYTES
    if magic != _MAGIC or not 1 <= count <= RECIPIENTS_MAX:
        raise OpeningError("not a sealed box", expected=f"1..{RECIPIENTS_MAX} recipients")
    if not end + _TAG_BYTES <= len(blob) <= end + _TAG_BYTES + most:
        raise OpeningError("sealed box has another length", found=f"{len(blob)} bytes")
    starts = range(_HEADER.size, end, _SLOT_BYTES)
    slots = [blob[start : start + _SLOT_BYTES] for start in starts]
    keys = [slot[:32] for slot in slots]
    if keys != sorted(set(keys)):
        raise OpeningError("recipients do not ascend")
    return keys, slots, blob[:end]


def _read(layout: struct.Struct, data: bytes, at: int) -> tuple[Any, ...]:
    try:
        return layout.unpack_from(data, at)
    except struct.error:
        raise OpeningError("bytes are cut short", expected=f"{at + layout.size} or more") from None

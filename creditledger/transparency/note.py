"""Signed notes: a text, and lines that sign it. Byte by byte, nothing lenient.

Source: specs/log.md §6, after C2SP signed-note."""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final, Protocol

from creditledger.errors import KeyFormatError, MalformedRecordError, SignatureError
from creditledger.transparency.keys import (
    Ed25519Signer,
    require_ed25519_public_key,
    verify_ed25519,
)

NOTE_SIZE_MAX: Final = 1_000_000
SIGNATURES_MAX: Final = 100
KEY_ID_SIZE: Final = 4

TYPE_ED25519: Final = 0x01
TYPE_COSIGNATURE: Final = 0x04
TYPE_COSIGNATURE_ML_DSA_44: Final = 0x06
ML_DSA_44_PUBLIC_KEY_SIZE: Final = 1_312

_DASH: Final = "\N{EM DASH} ".encode()
_NO_CONTROL: Final = bytes((0x0A, *range(0x20, 0x100)))
_VKEY_SIZE_MAX: Final = 4_096
_HEX_ID: Final = re.compile(r"[0-9a-f]{8}")

KeyId = bytes
"""4 bytes that tell keys of one name apart: a hint, never an authority."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A named public key, as in ``name+id+base64``. Source: specs/log.md §6."""

    name: str
    key_type: int
    public_key: bytes

    def __post_init__(self) -> None:
        require_key_name(self.name)
        if self.key_type in (TYPE_ED25519, TYPE_COSIGNATURE):
            require_ed25519_public_key(self.public_key)
        elif self.key_type != TYPE_COSIGNATURE_ML_DSA_44:
            raise KeyFormatError(
                "verifier key is of an unknown type",
                expected="type 1, 4 or 6",
                found=str(self.key_type),
            )
        elif len(self.public_key) != ML_DSA_44_PUBLIC_KEY_SIZE:
            raise KeyFormatError(
                "ML-DSA-44 public key has the wrong length",
                expected=f"{ML_DSA_44_PUBLIC_KEY_SIZE} bytes",
                found=f"{len(self.public_key)} bytes",
            )

    @property
    def key_id(self) -> KeyId:
        """SHA-256(name || LF || type || key), the first 4 bytes."""
        typed = bytes([self.key_type]) + self.public_key
        return sha256(self.name.encode() + b"\n" + typed).digest()[:KEY_ID_SIZE]

    def __str__(self) -> str:
        typed = bytes([self.key_type]) + self.public_key
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(typed).decode()}"


def parse_verifier_key(text: str) -> VerifierKey:
    """The exact inverse of ``str(vkey)``. Raises KeyFormatError, also when the id is not its own."""
    parts = text.split("+", 2)
    if len(text) > _VKEY_SIZE_MAX or len(parts) != 3 or not _HEX_ID.fullmatch(parts[1]):
        raise KeyFormatError(
            "not a verifier key", expected="name+8 hex digits+base64", found=ascii(text[:60])
        )
    try:
        typed = decode_base64(parts[2].encode())
    except (MalformedRecordError, UnicodeEncodeError) as error:
        raise KeyFormatError("verifier key is not canonical base64", found=ascii(parts[2][:40])) from error
    if not typed:
        raise KeyFormatError("verifier key is empty", expected="a type and a key", found="nothing")
    key = VerifierKey(name=parts[0], key_type=typed[0], public_key=typed[1:])
    if key.key_id.hex() != parts[1]:
        raise KeyFormatError("key id is not the key's", expected=key.key_id.hex(), found=parts[1])
    return key


@lru_cache(maxsize=256)
def require_key_name(name: str) -> str:
    """``name`` if a key may have it: not empty, no white space, no control character, no ``+``."""
    bad = not name or "+" in name or any(char.isspace() or ord(char) < 0x20 for char in name)
    if bad or len(name) > 256 or not _is_utf8(name):
        raise KeyFormatError(
            "not a key name", expected="1 to 256 characters, no space, no +", found=ascii(name[:40])
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteSignature:
    """One signature line: who, and ``body``, whose meaning the key's type gives."""

    name: str
    key_id: KeyId
    body: bytes

    @property
    def line(self) -> bytes:
        """The line with its LF."""
        encoded = base64.b64encode(self.key_id + self.body)
        return _DASH + self.name.encode() + b" " + encoded + b"\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A text (with its final LF) and its signature lines, not yet checked."""

    text: bytes
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        """The note's bytes. Raises MalformedRecordError if they would not be read back."""
        encoded = self.text + b"\n" + b"".join(signature.line for signature in self.signatures)
        if parse_note(encoded) != self:
            raise _malformed("a text that a note can carry", ascii(self.text[:40]))
        return encoded


class NoteVerifier(Protocol):
    """What `open_note` asks of a key."""

    @property
    def vkey(self) -> VerifierKey: ...

    def verify(self, text: bytes, body: bytes) -> None:
        """Check one signature body over the note's text. Raises SignatureError."""


class NoteSigner(Protocol):
    """What `sign_note` asks of a key."""

    @property
    def vkey(self) -> VerifierKey: ...

    def sign(self, text: bytes) -> NoteSignature: ...


@dataclass(frozen=True, slots=True)
class Ed25519NoteVerifier:
    """Type 0x01: Ed25519 over the text."""

    vkey: VerifierKey

    def verify(self, text: bytes, body: bytes) -> None:
        verify_ed25519(public_key=self.vkey.public_key, message=text, signature=body)


class Ed25519NoteSigner:
    """Type 0x01: Ed25519 over the text, under a name."""

    __slots__ = ("_signer", "vkey")

    vkey: VerifierKey

    def __init__(self, name: str, signer: Ed25519Signer) -> None:
        self._signer = signer
        self.vkey = VerifierKey(name=name, key_type=TYPE_ED25519, public_key=signer.public_key)

    def sign(self, text: bytes) -> NoteSignature:
        body = self._signer.sign(text)
        return NoteSignature(name=self.vkey.name, key_id=self.vkey.key_id, body=body)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSignature:
    """A signature line that holds, and the key it holds for."""

    vkey: VerifierKey
    body: bytes


def sign_note(text: bytes, signers: Iterable[NoteSigner]) -> bytes:
    """The note over ``text`` (which ends with LF), one line per signer, in their order."""
    return Note(text=text, signatures=tuple(signer.sign(text) for signer in signers)).encode()


def add_signatures(note: bytes, lines: Iterable[bytes]) -> bytes:
    """``note`` with more signature lines, each with its LF. Raises MalformedRecordError."""
    extended = note + b"".join(lines)
    if parse_note(extended).text != parse_note(note).text:
        raise _malformed("signature lines", "another text")
    return extended


def parse_note(encoded: bytes) -> Note:
    """The note's text and lines. Raises MalformedRecordError for anything a signer would not write.

    Nothing is verified. Source: specs/log.md §6."""
    if len(encoded) > NOTE_SIZE_MAX:
        raise _malformed(f"at most {NOTE_SIZE_MAX} bytes", f"{len(encoded)} bytes")
    if encoded.translate(None, _NO_CONTROL) or not _is_utf8(encoded):
        raise _malformed("UTF-8 without control characters", ascii(encoded[:40]))
    cut = encoded.rfind(b"\n\n")
    if cut < 0 or not encoded.endswith(b"\n"):
        raise _malformed("a text, an empty line, signature lines", ascii(encoded[-40:]))
    lines = encoded[cut + 2 :].split(b"\n")[:-1]
    if not 1 <= len(lines) <= SIGNATURES_MAX:
        raise _malformed(f"1 to {SIGNATURES_MAX} signatures", f"{len(lines)}")
    return Note(text=encoded[: cut + 1], signatures=tuple(map(parse_signature_line, lines)))


def parse_signature_line(line: bytes) -> NoteSignature:
    """One signature line without its LF. Raises MalformedRecordError."""
    name, separator, encoded = line.removeprefix(_DASH).partition(b" ")
    if not line.startswith(_DASH) or not separator:
        raise _malformed("a signature line", ascii(line[:40]))
    raw = decode_base64(encoded)
    if len(raw) <= KEY_ID_SIZE:
        raise _malformed("a key id and a signature", f"{len(raw)} bytes")
    try:
        text_name = require_key_name(name.decode())
    except (KeyFormatError, UnicodeDecodeError) as error:
        raise _malformed("a key name", ascii(name[:40])) from error
    return NoteSignature(name=text_name, key_id=raw[:KEY_ID_SIZE], body=raw[KEY_ID_SIZE:])


def open_note(note: bytes, verifiers: Sequence[NoteVerifier]) -> tuple[bytes, tuple[VerifiedSignature, ...]]:
    """The text of ``note`` and its signatures by ``verifiers``, at least one, in the note's order.

    Lines by unknown keys are ignored; each line by a known key must verify. Raises
    MalformedRecordError for bytes that are not a note, else SignatureError.
    Source: specs/log.md §6."""
    known: dict[tuple[str, KeyId], NoteVerifier] = {}
    for verifier in verifiers:
        if known.setdefault((verifier.vkey.name, verifier.vkey.key_id), verifier) is not verifier:
            raise SignatureError("two verifiers share a name and key id", found=verifier.vkey.name)
    parsed = parse_note(note)
    verified: list[VerifiedSignature] = []
    for signature in parsed.signatures:
        signer = known.get((signature.name, signature.key_id))
        if signer is None:
            continue
        signer.verify(parsed.text, signature.body)
        verified.append(VerifiedSignature(vkey=signer.vkey, body=signature.body))
    if not verified:
        raise SignatureError(
            "note is not signed by a known key",
            expected=", ".join(name for name, _ in known),
            found=", ".join(ascii(signature.name) for signature in parsed.signatures),
        )
    return parsed.text, tuple(verified)


def decode_base64(encoded: bytes) -> bytes:
    """Padded standard base64 in its one canonical spelling. Raises MalformedRecordError."""
    try:
        raw = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise _malformed("base64", ascii(encoded[:40])) from error
    if base64.b64encode(raw) != encoded:
        raise _malformed("canonical base64", ascii(encoded[:40]))
    return raw


def _is_utf8(value: bytes | str) -> bool:
    try:
        value.decode() if isinstance(value, bytes) else value.encode()
    except UnicodeError:
        return False
    return True


def _malformed(expected: str, found: str) -> MalformedRecordError:
    return MalformedRecordError("not a signed note", expected=expected, found=found)

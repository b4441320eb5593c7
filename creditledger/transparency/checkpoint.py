"""The signed head of the log: origin, size, root. Source: specs/log.md §7."""

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from creditledger.errors import MalformedRecordError
from creditledger.transparency.merkle import HASH_SIZE, TREE_SIZE_MAX
from creditledger.transparency.note import NoteSigner, decode_base64, parse_note, sign_note

ORIGIN_SIZE_MAX: Final = 255
_DECIMAL: Final = re.compile(rb"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A tree head. Source: specs/log.md §7."""

    origin: str
    """Which log: one line, at most 255 bytes of UTF-8."""
    size: int
    """Entries in the tree, 0..2^63-1."""
    root: bytes
    """32 bytes."""

    def __post_init__(self) -> None:
        try:
            origin = self.origin.encode()
        except UnicodeEncodeError as error:
            raise _malformed("an origin in UTF-8", ascii(self.origin[:40])) from error
        if not 1 <= len(origin) <= ORIGIN_SIZE_MAX or any(byte < 0x20 for byte in origin):
            raise _malformed("an origin of 1 to 255 bytes on one line", ascii(self.origin[:40]))
        if not 0 <= self.size <= TREE_SIZE_MAX:
            raise _malformed("a size from 0 to 2^63-1", str(self.size)[:40])
        if len(self.root) != HASH_SIZE:
            raise _malformed("a root of 32 bytes", f"{len(self.root)} bytes")

    @property
    def text(self) -> bytes:
        """The three lines that are signed, each with its LF."""
        root = base64.b64encode(self.root)
        return b"%s\n%d\n%s\n" % (self.origin.encode(), self.size, root)


def parse_checkpoint(text: bytes) -> Checkpoint:
    """The exact inverse of `Checkpoint.text`: no extension lines. Raises MalformedRecordError."""
    lines = text.split(b"\n")
    if len(lines) != 4 or lines[3]:
        raise _malformed("three lines", f"{text.count(10)} lines")
    size = parse_decimal(lines[1])
    try:
        origin = lines[0].decode()
    except UnicodeDecodeError as error:
        raise _malformed("an origin in UTF-8", ascii(lines[0][:40])) from error
    return Checkpoint(origin=origin, size=size, root=decode_base64(lines[2]))


def parse_checkpoint_note(note: bytes) -> Checkpoint:
    """What a checkpoint note says, with no signature checked. Raises MalformedRecordError."""
    return parse_checkpoint(parse_note(note).text)


def sign_checkpoint(checkpoint: Checkpoint, signers: Iterable[NoteSigner]) -> bytes:
    """The signed note over ``checkpoint``, one line per signer. Source: specs/log.md §7."""
    return sign_note(checkpoint.text, signers)


def parse_decimal(digits: bytes) -> int:
    """ASCII digits without sign or leading zero, at most 2^63-1. Raises MalformedRecordError."""
    if not _DECIMAL.fullmatch(digits) or int(digits) > TREE_SIZE_MAX:
        raise _malformed("a decimal from 0 to 2^63-1", ascii(digits[:40]))
    return int(digits)


def _malformed(expected: str, found: str) -> MalformedRecordError:
    return MalformedRecordError("not a checkpoint", expected=expected, found=found)

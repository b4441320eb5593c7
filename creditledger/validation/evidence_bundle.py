"""One file that lets a stranger repeat a refuted check. Source: specs/validation.md §10.

Only the form is checked here; what its parts must say of each other is in `bound_evidence`."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from creditledger.errors import MalformedBundleError, MalformedRecordError
from creditledger.minting.handover import HANDOVER_BYTES_MAX
from creditledger.quantities import Digest, Salt, octets
from creditledger.records import canonical
from creditledger.records.canonical import FRAME_BYTES_MAX, RECORD_BYTES_MAX
from creditledger.records.record import Fields
from creditledger.transparency.bundle import BUNDLE_BYTES_MAX, ShownVerdict

MAGIC: Final = b"cl/evd1\0"
EVIDENCE_BYTES_MAX: Final = 256 * 1024 * 1024
"""A whole file: 128 windows of a bf16 model 4,096 wide."""
SEALED_EVIDENCE_BYTES_MAX: Final = EVIDENCE_BYTES_MAX + 256 * 1024
"""A box for all of a committee and the accused."""
_LENGTH: Final = struct.Struct("<I")
_BLOCK_BYTES_MAX: Final = 33 * 1024 * 1024
"""A window's packed inputs, or a batch's sealed sketches."""


class EvidenceParts(Fields):
    """All but the largest parts. Empty bytes: not shown."""

    ledger: Digest
    proof: Annotated[bytes, octets(1, BUNDLE_BYTES_MAX)]
    """The receipt's own bundle, logged or better."""
    job: Annotated[bytes, octets(1, RECORD_BYTES_MAX)]
    parameters: Annotated[bytes, octets(1, RECORD_BYTES_MAX)]
    """Those that the job names."""
    chain: tuple[Annotated[bytes, octets(1, 1_024)], ...]
    """The span's earlier receipts in this job, from window 0 on."""
    sketches: Annotated[bytes, octets(0, 8_192)]
    """Packed openings: the receipt's, after that of the window before where it was judged with it."""
    slot_key: Annotated[bytes, octets(0, 32)]
    """What opens the box, where its content is the fault."""
    profile: Annotated[bytes, octets(0, RECORD_BYTES_MAX)]
    handover: Annotated[bytes, octets(0, HANDOVER_BYTES_MAX)]
    """What the accused signed for something else than its receipt says."""
    verdict: ShownVerdict
    salt: Salt
    """Of the verdict's evidence."""
    statistics: Annotated[bytes, octets(1, 4_096)]

    def check_rules(self) -> None:
        if len(self.slot_key) not in (0, 32):
            raise MalformedRecordError(
                "slot key has another length", expected="0 or 32 bytes", found=str(len(self.slot_key))
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceBundle:
    """The parts, then the blocks that are too large for a record. Source: specs/validation.md §10."""

    parts: EvidenceParts
    box: bytes = b""
    """The batch's sealed sketches, where they are the fault; else empty."""
    inputs: tuple[bytes, ...]
    """Packed inputs of each receipt of the chain, then of the receipt; empty where nobody had them."""

    def __post_init__(self) -> None:
        wanted = len(self.parts.chain) + 1
        if len(self.inputs) != wanted:
            raise MalformedRecordError(
                "inputs are not one for each receipt", expected=str(wanted), found=str(len(self.inputs))
            )

    @property
    def size(self) -> int:
        """Bytes of the whole encoding."""
        return len(MAGIC) + sum(_LENGTH.size + len(block) for block in self._encoded_blocks())

    def encode(self) -> bytes:
        """``magic || length || parts || length || box || (length || inputs)...``, lengths u32le.

        Raises MalformedRecordError beyond `EVIDENCE_BYTES_MAX`."""
        if self.size > EVIDENCE_BYTES_MAX:
            raise MalformedRecordError(
                "evidence is too long", expected=f"at most {EVIDENCE_BYTES_MAX} bytes", found=str(self.size)
            )
        blocks = self._encoded_blocks()
        return MAGIC + b"".join(piece for block in blocks for piece in (_LENGTH.pack(len(block)), block))

    def _encoded_blocks(self) -> Sequence[bytes]:
        return (canonical.encode(self.parts.to_values(), most=FRAME_BYTES_MAX), self.box, *self.inputs)

    @classmethod
    def decode(cls, encoded: bytes) -> "EvidenceBundle":
        """The exact inverse of `encode`. Raises MalformedBundleError for any other bytes."""
        if not encoded.startswith(MAGIC) or len(encoded) > EVIDENCE_BYTES_MAX:
            raise MalformedBundleError(
                "not an evidence bundle",
                expected=f"{MAGIC[:7].decode()}, at most {EVIDENCE_BYTES_MAX} bytes",
                found=f"{len(encoded)} bytes",
            )
        try:
            parts, at = _block(encoded, len(MAGIC), most=FRAME_BYTES_MAX)
            read = EvidenceParts.from_values(canonical.decode(parts, most=FRAME_BYTES_MAX))
            blocks = _blocks(encoded, at, count=len(read.chain) + 2)
            return cls(parts=read, box=blocks[0], inputs=tuple(blocks[1:]))
        except MalformedRecordError as error:
            raise MalformedBundleError(
                f"not an evidence bundle: {error}", expected=error.expected, found=error.found
            ) from None


def _blocks(encoded: bytes, at: int, *, count: int) -> Sequence[bytes]:
    """``count`` blocks, after which nothing follows."""
    blocks = []
    for _ in range(count):
        block, at = _block(encoded, at, most=_BLOCK_BYTES_MAX)
        blocks.append(block)
    if at != len(encoded):
        raise MalformedBundleError("bytes follow the last block", found=f"{len(encoded) - at} bytes")
    return blocks


def _block(encoded: bytes, at: int, *, most: int) -> tuple[bytes, int]:
    start = at + _LENGTH.size
    if start > len(encoded):
        raise MalformedBundleError("evidence is cut short", expected=f"{start} bytes or more")
    (length,) = _LENGTH.unpack_from(encoded, at)
    if length > most or start + length > len(encoded):
        raise MalformedBundleError(
            "a block has another length", expected=f"at most {min(most, len(encoded) - start)} bytes"
        )
    return encoded[start : start + length], start + length

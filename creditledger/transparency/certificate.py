"""Round certificates: a quorum of the committee signed one statement.

Source: specs/rounds.md §2."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

from creditledger.errors import CertificateError, MalformedRecordError, SignatureError
from creditledger.transparency.bls import (
    PUBLIC_KEY_SIZE,
    SIGNATURE_SIZE,
    BlsBackend,
    aggregate_bls,
    verify_bls,
    verify_bls_aggregate,
    verify_possession,
)

COMMITTEE_SIZE_MAX: Final = 1_024
_DIGEST_DOMAIN: Final = b"creditledger/v1/committee\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitteeMember:
    """A validator's certifying key. Points are checked when its signature counts."""

    bls_key: bytes
    """48 bytes, compressed."""
    proof_of_possession: bytes
    """96 bytes, compressed."""

    def __post_init__(self) -> None:
        for value, size, what in (
            (self.bls_key, PUBLIC_KEY_SIZE, "key"),
            (self.proof_of_possession, SIGNATURE_SIZE, "proof of possession"),
        ):
            if len(value) != size:
                raise MalformedRecordError(
                    f"a member's {what} has the wrong length",
                    expected=f"{size} bytes",
                    found=f"{len(value)} bytes",
                )


@dataclass(frozen=True, kw_only=True)
class Committee:
    """The validators whose quorum certifies, in their fixed order."""

    members: tuple[CommitteeMember, ...]
    """1 to 1,024, each key once."""
    quorum: int
    """How many members must sign, 1 to their number."""

    def __post_init__(self) -> None:
        keys = {member.bls_key for member in self.members}
        if not 1 <= len(self.members) <= COMMITTEE_SIZE_MAX or len(keys) != len(self.members):
            raise MalformedRecordError(
                "not a committee",
                expected=f"1 to {COMMITTEE_SIZE_MAX} members, each key once",
                found=f"{len(self.members)} members, {len(keys)} keys",
            )
        if not 1 <= self.quorum <= len(self.members):
            raise MalformedRecordError(
                "quorum is out of range",
                expected=f"1 to {len(self.members)}",
                found=str(self.quorum)[:40],
            )

    @cached_property
    def digest(self) -> bytes:
        """SHA-256(domain || u16be members || u16be quorum || each key and proof, in order)."""
        parts = [len(self.members).to_bytes(2, "big"), self.quorum.to_bytes(2, "big")]
        for member in self.members:
            parts += [member.bls_key, member.proof_of_possession]
        return sha256(_DIGEST_DOMAIN + b"".join(parts)).digest()


def encode_bitmap(indices: set[int] | frozenset[int], *, size: int) -> bytes:
    """``ceil(size / 8)`` bytes; member ``i`` is bit ``i % 8`` (lowest first) of byte ``i // 8``.

    Raises CertificateError for an index outside ``0..size-1``."""
    bitmap = bytearray((size + 7) // 8)
    for index in indices:
        if not 0 <= index < size:
            raise CertificateError(
                "a signer is not in the committee",
                expected=f"an index below {size}",
                found=str(index)[:40],
            )
        bitmap[index >> 3] |= 1 << (index & 7)
    return bytes(bitmap)


def decode_bitmap(bitmap: bytes, *, size: int) -> list[int]:
    """The members' indices, ascending. Raises CertificateError for other lengths and spare bits."""
    bits = int.from_bytes(bitmap, "little")
    if len(bitmap) != (size + 7) // 8 or bits >> size:
        raise CertificateError(
            "bitmap does not fit the committee",
            expected=f"{(size + 7) // 8} bytes, no bit from {size} on",
            found=f"{len(bitmap)} bytes {bitmap[:32].hex()}",
        )
    return [index for index in range(size) if bits >> index & 1]


def make_certificate(
    signatures: Mapping[int, bytes],
    *,
    committee: Committee,
    statement: bytes,
    backend: BlsBackend | None = None,
) -> tuple[bytes, bytes]:
    """Bitmap and aggregate from ``signatures`` of ``statement`` by member index.

    What is returned verifies. Raises CertificateError, naming the members whose signature does
    not hold, and when they are fewer than the quorum. Source: specs/rounds.md §2."""
    bitmap = encode_bitmap(frozenset(signatures), size=len(committee.members))
    _require_quorum(len(signatures), committee)
    try:
        ordered = [signatures[index] for index in sorted(signatures)]
        aggregate = aggregate_bls(ordered, backend=backend)
        verify_certificate(
            committee=committee,
            statement=statement,
            bitmap=bitmap,
            aggregate=aggregate,
            backend=backend,
        )
    except (SignatureError, CertificateError) as error:
        culprits = _failing_members(signatures, committee, statement, backend)
        raise CertificateError(
            f"signatures do not make a certificate: {error}",
            expected=f"signatures and proofs that hold by members {sorted(signatures)}",
            found=f"failing members {culprits}",
        ) from error
    return bitmap, aggregate


def verify_certificate(
    *,
    committee: Committee,
    statement: bytes,
    bitmap: bytes,
    aggregate: bytes,
    backend: BlsBackend | None = None,
) -> None:
    """Check that a quorum of ``committee``, told by ``bitmap``, signed ``statement``.

    ``statement``: the exact signed bytes; they must name the committee's digest. Every signer's
    proof of possession is checked (once: it is remembered). Raises CertificateError.
    Source: specs/rounds.md §2."""
    signers = decode_bitmap(bitmap, size=len(committee.members))
    _require_quorum(len(signers), committee)
    try:
        for index in signers:
            member = committee.members[index]
            verify_possession(public_key=member.bls_key, proof=member.proof_of_possession, backend=backend)
        verify_bls_aggregate(
            public_keys=[committee.members[index].bls_key for index in signers],
            message=statement,
            signature=aggregate,
            backend=backend,
        )
    except SignatureError as error:
        raise CertificateError(
            f"certificate does not hold: {error}", expected=error.expected, found=error.found
        ) from error


def _require_quorum(count: int, committee: Committee) -> None:
    if count < committee.quorum:
        raise CertificateError(
            "too few members signed",
            expected=f"{committee.quorum} of {len(committee.members)}",
            found=str(count),
        )


def _failing_members(
    signatures: Mapping[int, bytes],
    committee: Committee,
    statement: bytes,
    backend: BlsBackend | None,
) -> list[int]:
    failing = []
    for index, signature in sorted(signatures.items()):
        member = committee.members[index]
        try:
            verify_possession(public_key=member.bls_key, proof=member.proof_of_possession, backend=backend)
            verify_bls(public_key=member.bls_key, message=statement, signature=signature, backend=backend)
        except SignatureError:
            failing.append(index)
    return failing

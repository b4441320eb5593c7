"""Integers and bytes with a meaning. Each alias carries the range its encoding allows.

Source: specs/records.md §2."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from msgspec import Meta

from creditledger.errors import AmountError

AMOUNT_MAX: Final = 2**63 - 1


def unsigned(most: int = AMOUNT_MAX) -> Meta:
    """An integer from 0 to ``most``, inclusive."""
    return Meta(ge=0, le=most)


def octets(least: int, most: int) -> Meta:
    """Bytes of a length from ``least`` to ``most``, inclusive."""
    return Meta(min_length=least, max_length=most)


@dataclass(frozen=True, slots=True)
class Text:
    """ASCII text that matches ``pattern`` whole; travels as bytes."""

    pattern: re.Pattern[str]


NAME_PATTERN: Final = re.compile(r"[a-z0-9._-]{1,64}")
ORIGIN_PATTERN: Final = re.compile(r"(?!creditledger/)[a-z0-9][a-z0-9.:-]{0,63}(/[a-z0-9._-]{1,64}){0,8}")

MicroCredit = Annotated[int, unsigned()]
"""10^-6 credits; one credit is one GPU-second of the reference class."""
UnixMillisecond = Annotated[int, unsigned()]
Millisecond = Annotated[int, unsigned()]
GpuMillisecond = Annotated[int, unsigned()]
LeafIndex = Annotated[int, unsigned()]
TreeSize = Annotated[int, unsigned()]
RoundNumber = Annotated[int, unsigned()]
LayerIndex = Annotated[int, unsigned(2**16 - 1)]
Position = Annotated[int, unsigned(2**32 - 1)]
PartsPerMillion = Annotated[int, unsigned(1_000_000)]
MemberIndex = Annotated[int, unsigned(1023)]
Count = Annotated[int, unsigned(2**32 - 1)]
Code = Annotated[int, unsigned(127)]

Digest = Annotated[bytes, octets(32, 32)]
AccountId = Annotated[bytes, octets(32, 32)]
"""The account's first Ed25519 public key: rotation changes the key, never the id."""
Ed25519PublicKey = Annotated[bytes, octets(32, 32)]
X25519PublicKey = Annotated[bytes, octets(32, 32)]
BlsPublicKey = Annotated[bytes, octets(48, 48)]
BlsSignature = Annotated[bytes, octets(96, 96)]
ClientId = Annotated[bytes, octets(16, 16)]
"""Made by the client (UUIDv7, so it sorts by time), scoped to its signer."""
Salt = Annotated[bytes, octets(32, 32)]
Name = Annotated[str, Text(NAME_PATTERN)]
Origin = Annotated[str, Text(ORIGIN_PATTERN)]

ZERO_DIGEST: Final = bytes(32)


def require_amount(value: int, *, what: str = "amount") -> int:
    """``value`` if it is an integer in 0..2^63-1. Raises AmountError."""
    if type(value) is not int or not 0 <= value <= AMOUNT_MAX:
        raise AmountError(
            f"{what} is out of range",
            expected="an integer from 0 to 2^63-1",
            found=str(value)[:40] if type(value) is not int or value.bit_length() < 128 else "a larger one",
        )
    return value

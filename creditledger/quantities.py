"""Integers and bytes with a meaning. Each alias carries the range its encoding allows.

Source: specs/records.md §2."""

import re
from dataclasses import dataclass
from typing import Annotated, Final

from creditledger.errors import AmountError

AMOUNT_MAX: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Unsigned:
    """An integer from 0 to ``most``, inclusive."""

    most: int = AMOUNT_MAX


@dataclass(frozen=True, slots=True)
class Octets:
    """Bytes of a length from ``least`` to ``most``, inclusive."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Text:
    """ASCII text that matches ``pattern`` whole; travels as bytes."""

    pattern: re.Pattern[str]


NAME_PATTERN: Final = re.compile(r"[a-z0-9._-]{1,64}")
ORIGIN_PATTERN: Final = re.compile(r"(?!creditledger/)[a-z0-9][a-z0-9.:-]{0,63}(/[a-z0-9._-]{1,64}){0,8}")

MicroCredit = Annotated[int, Unsigned()]
"""10^-6 credits; one credit is one GPU-second of the reference class."""
UnixMillisecond = Annotated[int, Unsigned()]
Millisecond = Annotated[int, Unsigned()]
GpuMillisecond = Annotated[int, Unsigned()]
LeafIndex = Annotated[int, Unsigned()]
TreeSize = Annotated[int, Unsigned()]
RoundNumber = Annotated[int, Unsigned()]
LayerIndex = Annotated[int, Unsigned(2**16 - 1)]
Position = Annotated[int, Unsigned(2**32 - 1)]
PartsPerMillion = Annotated[int, Unsigned(1_000_000)]
MemberIndex = Annotated[int, Unsigned(1023)]
Count = Annotated[int, Unsigned(2**32 - 1)]
Code = Annotated[int, Unsigned(127)]

Digest = Annotated[bytes, Octets(32, 32)]
AccountId = Annotated[bytes, Octets(32, 32)]
"""The account's first Ed25519 public key: rotation changes the key, never the id."""
Ed25519PublicKey = Annotated[bytes, Octets(32, 32)]
X25519PublicKey = Annotated[bytes, Octets(32, 32)]
BlsPublicKey = Annotated[bytes, Octets(48, 48)]
BlsSignature = Annotated[bytes, Octets(96, 96)]
ClientId = Annotated[bytes, Octets(16, 16)]
"""Made by the client (UUIDv7, so it sorts by time), scoped to its signer."""
Salt = Annotated[bytes, Octets(32, 32)]
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

"""Ids that clients make: random ones that sort by time, and ones that follow from a hold.

Source: specs/redemption.md §3 and §7."""

import hashlib
from collections.abc import Callable
from typing import Final

_RANDOM_BYTES: Final = 10
_TIME_MAX: Final = 2**48 - 1


def new_client_id(*, now_unix_ms: int, random_bytes: Callable[[int], bytes]) -> bytes:
    """A UUIDv7 (RFC 9562 §5.7): 16 bytes, 48 bits of time in front, 74 bits of chance."""
    chance = bytearray(random_bytes(_RANDOM_BYTES))
    chance[0] = 0x70 | chance[0] & 0x0F
    chance[2] = 0x80 | chance[2] & 0x3F
    return min(now_unix_ms, _TIME_MAX).to_bytes(6, "big") + bytes(chance)


def capture_id(hold: bytes) -> bytes:
    """The id of the one capture that a queue ever makes of ``hold`` (its 32-byte digest)."""
    return hashlib.sha256(b"creditledger/v1/capture-of-hold\0" + hold).digest()[:16]


def release_id(hold: bytes) -> bytes:
    """The id of the one release that a queue ever makes of ``hold`` (its 32-byte digest)."""
    return hashlib.sha256(b"creditledger/v1/release-of-hold\0" + hold).digest()[:16]

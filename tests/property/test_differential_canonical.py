"""Canonical bytes against msgpack and msgspec: the same bytes out, and what is refused has a reason.

K7: 10^6 random inputs with ``CREDITLEDGER_DIFFERENTIAL=2500000``, which is the number of cases of all
differential tests."""

import os
import random
from collections import Counter
from typing import Any

import msgpack
import msgspec
import pytest

from creditledger.errors import MalformedRecordError
from creditledger.records import canonical

CASES = int(os.environ.get("CREDITLEDGER_DIFFERENTIAL", "50000")) * 2 // 5
EDGES = [0, 1, 127, 128, 255, 256, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**53, 2**63 - 1]
Chance = random.Random


def plain_value(chance: Chance, depth: int = 0) -> Any:
    kind = chance.random()
    if depth == canonical.DEPTH_MAX or kind < 0.35:
        return chance.choice(EDGES) if chance.random() < 0.5 else chance.getrandbits(chance.randint(1, 63))
    if kind < 0.6:
        return chance.randbytes(chance.choice([0, 1, 16, 32, 64, 255, 256]))
    return [plain_value(chance, depth + 1) for _ in range(chance.choice([0, 1, 2, 3, 15, 16]) >> depth)]


def test_all_three_write_the_same_bytes() -> None:
    chance = Chance(12)
    for _ in range(CASES):
        value = plain_value(chance)
        encoded = canonical.encode(value)
        assert encoded == msgpack.packb(value) == msgspec.msgpack.encode(value)
        assert canonical.decode(encoded) == msgspec.msgpack.decode(encoded) == value


FOREIGN = [
    None, True, False, -1, -33, -(2**31), 2**63, 2**64 - 1, 0.0, -0.0, 1.5, float("nan"), "", "a", "\u00e9",
    {}, {"a": 1}, {1: 2}, msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 0),
]  # fmt: skip
"""What a record may not hold, or what lies beyond its bounds."""
HEADS = [0xC0, 0xC1, 0x80, 0xA1, 0xCB, 0xD4]


def longer_form(chance: Chance) -> bytes:
    """A small value in more bytes than it needs."""
    width = chance.choice([1, 2, 4, 8])
    head = {1: b"\xcc", 2: b"\xcd", 4: b"\xce", 8: b"\xcf"}[width]
    wide = chance.choice([2, 4])
    return chance.choice(
        [
            head + chance.randrange(128).to_bytes(width, "big"),
            b"\xd0\x05",
            b"\xd3" + bytes(7) + b"\x05",
            (b"\xc5" if wide == 2 else b"\xc6") + (1).to_bytes(wide, "big") + b"x",
            (b"\xdc" if wide == 2 else b"\xdd") + (1).to_bytes(wide, "big") + b"\x00",
        ]
    )


def candidate(chance: Chance) -> bytes:
    """Bytes that are canonical, nearly, or not at all."""
    kind = chance.random()
    if kind < 0.2:
        return bytes(msgpack.packb([plain_value(chance, 2), chance.choice(FOREIGN)]))
    if kind < 0.3:
        return b"\x91" * chance.randint(1, 12) + longer_form(chance)
    if kind < 0.4:
        return b"\x91" * chance.randint(6, 12) + b"\x01"
    encoded = canonical.encode(plain_value(chance, 1))
    if kind < 0.5:
        return encoded
    if kind < 0.6:
        return encoded + chance.randbytes(chance.randint(1, 3))
    if kind < 0.7:
        return encoded[: chance.randrange(len(encoded))]
    at = chance.randrange(len(encoded))
    return encoded[:at] + bytes([chance.choice([*HEADS, chance.randrange(256)])]) + encoded[at + 1 :]


def reason_to_refuse(encoded: bytes) -> str:
    """Why no record has these bytes, by what msgspec makes of them; empty if one may have them."""
    try:
        value = msgspec.msgpack.decode(encoded)
    except msgspec.DecodeError:
        return "refused by msgspec too"
    except UnicodeDecodeError:
        return "foreign type"
    if not is_plain(value):
        return "foreign type"
    if depth_of(value) > canonical.DEPTH_MAX:
        return "too deep"
    return "" if msgspec.msgpack.encode(value) == encoded else "longer form"


def is_plain(value: Any) -> bool:
    if type(value) is list:
        return all(map(is_plain, value))
    return type(value) is bytes or (type(value) is int and 0 <= value < 2**63)


def depth_of(value: Any) -> int:
    return 1 + max(map(depth_of, value), default=0) if type(value) is list else 0


def test_what_is_refused_has_a_reason_and_what_is_read_is_read_alike() -> None:
    """K7: no accepted bytes are read otherwise, or written otherwise, by the other two."""
    chance, found = Chance(13), Counter[str]()
    for _ in range(CASES):
        encoded = candidate(chance)
        reason = reason_to_refuse(encoded)
        found[reason] += 1
        if reason:
            with pytest.raises(MalformedRecordError):
                canonical.decode(encoded)
        else:
            assert canonical.decode(encoded) == msgspec.msgpack.decode(encoded) == msgpack.unpackb(encoded)
    assert set(found) == {"", "refused by msgspec too", "foreign type", "too deep", "longer form"}
    assert min(found.values()) >= CASES // 100

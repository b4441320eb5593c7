"""Ed25519 verification against libsodium (PyNaCl), which checks the same equation and refuses a little more.

The differences are one class: a signature whose R has low order, by an ordinary key, for which the equation
holds. Only the key's holder can make it, and for one message like any other; specs/log.md §1 has no rule
against it, libsodium has. ``CREDITLEDGER_DIFFERENTIAL`` is the number of cases of all differential tests."""

import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from nacl.exceptions import BadSignatureError
from nacl.exceptions import ValueError as NaclValueError
from nacl.signing import VerifyKey

from creditledger.errors import SignatureError
from creditledger.transparency.keys import Ed25519Signer, verify_ed25519

CASES = int(os.environ.get("CREDITLEDGER_DIFFERENTIAL", "50000")) // 5
ORDER = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19
LOW_ORDER_Y = (
    0, 1, P - 1, P, P + 1,
    0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
    P - 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826,
)  # fmt: skip
Case = tuple[bytes, bytes, bytes]
"""Key, message, signature."""


def ours(case: Case) -> bool:
    key, message, signature = case
    try:
        verify_ed25519(public_key=key, message=message, signature=signature)
    except SignatureError:
        return False
    return True


def theirs(case: Case) -> bool:
    key, message, signature = case
    try:
        VerifyKey(key).verify(message, signature)
    except (BadSignatureError, NaclValueError):
        return False
    return True


def has_low_order(point: bytes) -> bool:
    y = int.from_bytes(point, "little") & (2**255 - 1)
    return y in LOW_ORDER_Y


def difference(case: Case) -> str:
    """How the two differ on a case; empty where they do not."""
    if ours(case) == theirs(case):
        return ""
    assert ours(case), "theirs accepted what ours refuses"
    return "R of low order" if has_low_order(case[2][:32]) else "unexplained"


def low_order(chance: random.Random) -> bytes:
    return (chance.choice(LOW_ORDER_Y) | chance.randrange(2) << 255).to_bytes(32, "little")


def plus_order(signature: bytes, times: int = 1) -> bytes:
    scalar = int.from_bytes(signature[32:], "little") + times * ORDER
    return signature[:32] + (scalar % 2**256).to_bytes(32, "little")


def flipped(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def random_case(chance: random.Random) -> tuple[str, Case]:
    """A good signature, changed in one way or not at all; and which."""
    signer, message = Ed25519Signer(chance.randbytes(32)), chance.randbytes(chance.randint(0, 100))
    key, signature = signer.public_key, signer.sign(message)
    cases: dict[str, Case] = {
        "good": (key, message, signature),
        "key flipped": (flipped(key, chance), message, signature),
        "message changed": (key, message + b"x", signature),
        "signature flipped": (key, message, flipped(signature, chance)),
        "S plus the order": (key, message, plus_order(signature, chance.randint(1, 14))),
        "low-order key": (low_order(chance), message, low_order(chance) + bytes(32)),
        "low-order R": (key, message, low_order(chance) + signature[32:]),
        "random": (chance.randbytes(32), message, chance.randbytes(64)),
        "y not below the prime": ((P + chance.randrange(19)).to_bytes(32, "little"), message, signature),
    }
    return chance.choice(list(cases.items()))


def test_random_signatures_are_judged_alike() -> None:
    chance, seen, accepted = random.Random(9), Counter[str](), Counter[str]()
    for _ in range(CASES):
        kind, case = random_case(chance)
        assert difference(case) == "", kind
        seen[kind] += 1
        accepted[kind] += ours(case)
    assert set(seen) == set(random_kinds())
    assert {kind for kind, count in accepted.items() if count} == {"good"}
    assert accepted["good"] == seen["good"]


def random_kinds() -> list[str]:
    """Every kind there is, found by drawing."""
    chance = random.Random(10)
    return sorted({random_case(chance)[0] for _ in range(300)})


def test_adding_the_order_makes_no_second_signature() -> None:
    """K2: neither accepts S + L, so that no signature has two forms."""
    chance = random.Random(11)
    signer = Ed25519Signer(chance.randbytes(32))
    for _ in range(CASES):
        message = chance.randbytes(16)
        signature = signer.sign(message)
        assert ours((signer.public_key, message, signature))
        assert not ours((signer.public_key, message, plus_order(signature)))
    assert not theirs((signer.public_key, message, plus_order(signature)))


def test_published_cases_differ_where_r_has_low_order_only(vectors: Path) -> None:
    """CCTV's 914 edge cases and Wycheproof's 151."""
    edge = json.loads((vectors / "c2sp-cctv-ed25519/ed25519vectors.json").read_text())
    cases = [(bytes.fromhex(row["key"]), row["msg"].encode(), bytes.fromhex(row["sig"])) for row in edge]
    found = Counter(map(difference, cases))
    assert found == {"": 914 - 43, "R of low order": 43}
    for group in json.loads((vectors / "wycheproof/ed25519_test.json").read_text())["testGroups"]:
        key = bytes.fromhex(group["publicKey"]["pk"])
        for row in group["tests"]:
            assert difference((key, bytes.fromhex(row["msg"]), bytes.fromhex(row["sig"]))) == "", row["tcId"]


@pytest.mark.parametrize("y", LOW_ORDER_Y)
def test_no_key_of_low_order_is_accepted_by_either(y: int) -> None:
    """K1: with R and S of nothing the equation holds for one message in eight, or for every one."""
    for sign in (0, 1 << 255):
        key = (y | sign).to_bytes(32, "little")
        for number in range(40):
            case = (key, b"%d" % number, b"\x01" + bytes(63))
            assert not ours(case)
            assert not theirs(case)

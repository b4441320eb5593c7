"""The two BLS backends against each other: the same keys, signatures, proofs and answers.

``CREDITLEDGER_DIFFERENTIAL`` is the number of cases of all differential tests; the reference is slow, so that
few of them are of this kind."""

import os
import random
from collections.abc import Callable

import pytest

from creditledger.transparency.bls import GROUP_ORDER, ArkworksBackend, BlsBackend, PyEccBackend

pytest.importorskip("py_arkworks_bls12381")
CASES = int(os.environ.get("CREDITLEDGER_DIFFERENTIAL", "50000")) // 5_000
REFERENCE, NATIVE = PyEccBackend(), ArkworksBackend()
INFINITE_SIGNATURE = b"\xc0" + bytes(95)


def agreed(ask: Callable[[BlsBackend], bool]) -> bool:
    answer = ask(NATIVE)
    assert ask(REFERENCE) is answer
    return answer


def secret(chance: random.Random) -> bytes:
    return chance.randrange(1, GROUP_ORDER).to_bytes(32, "big")


def spoiled(point: bytes, chance: random.Random) -> bytes:
    """A point with a bit flipped, or another sign, or none at all."""
    at = chance.randrange(8 * len(point))
    flipped = (int.from_bytes(point, "big") ^ 1 << at).to_bytes(len(point), "big")
    mirrored = bytes([point[0] ^ 0x20]) + point[1:]
    return chance.choice([flipped, mirrored, b"\xc0" + bytes(len(point) - 1), chance.randbytes(len(point))])


def test_secrets_have_the_same_keys_signatures_and_proofs() -> None:
    chance = random.Random(14)
    for number in range(max(2, CASES // 3)):
        key = secret(chance) if number else (GROUP_ORDER - 1).to_bytes(32, "big")
        message = chance.randbytes(chance.choice([0, 32, 300]))
        assert NATIVE.public_key(key) == REFERENCE.public_key(key)
        assert NATIVE.sign(key, message) == REFERENCE.sign(key, message)
        assert NATIVE.prove_possession(key) == REFERENCE.prove_possession(key)


def test_signatures_are_judged_alike() -> None:
    chance, accepted = random.Random(15), 0
    for number in range(CASES):
        own, message = secret(chance), chance.randbytes(32)
        key, signature = NATIVE.public_key(own), NATIVE.sign(own, message)
        if number % 3:
            key, signature = chance.choice(
                [(spoiled(key, chance), signature), (key, spoiled(signature, chance))]
            )
        accepted += agreed(lambda backend: backend.verify(key, message, signature))  # noqa: B023
    assert accepted == len(range(0, CASES, 3))


def test_keys_are_judged_alike() -> None:
    """Near keys, and random ones: every other x has a point, hardly ever of the subgroup."""
    chance, accepted = random.Random(16), 0
    for number in range(2 * CASES):
        key = NATIVE.public_key(secret(chance))
        if number % 4:
            key = chance.choice(
                [spoiled(key, chance), bytes([0x80 | chance.randrange(26)]) + chance.randbytes(47)]
            )
        accepted += agreed(lambda backend: backend.is_valid_key(key))  # noqa: B023
    assert accepted >= 2 * CASES // 4


def test_possession_and_aggregates_are_judged_alike() -> None:
    chance = random.Random(17)
    secrets = [secret(chance) for _ in range(3)]
    keys = [NATIVE.public_key(own) for own in secrets]
    proof = NATIVE.prove_possession(secrets[0])
    assert agreed(lambda backend: backend.verify_possession(keys[0], proof))
    assert not agreed(lambda backend: backend.verify_possession(keys[1], proof))
    assert not agreed(lambda backend: backend.verify(keys[0], keys[0], proof))
    signatures = [NATIVE.sign(own, b"round") for own in secrets]
    aggregate = NATIVE.aggregate(signatures)
    assert aggregate == REFERENCE.aggregate(signatures)
    assert agreed(lambda backend: backend.fast_aggregate_verify(keys, b"round", aggregate))
    for wrong_keys, wrong in (
        (keys[:2], aggregate),
        (keys, INFINITE_SIGNATURE),
        (keys, spoiled(aggregate, chance)),
        ([keys[0], spoiled(keys[1], chance)], aggregate),
    ):
        assert not agreed(lambda backend: backend.fast_aggregate_verify(wrong_keys, b"round", wrong))  # noqa: B023

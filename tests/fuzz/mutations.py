"""Inputs near the seeds, where nothing guides: bits, pieces, words and splices."""

import random
from collections.abc import Callable, Sequence
from typing import Final

from fuzz.target import INPUT_BYTES_MAX, Target

Chance = random.Random
_EDGES: Final = b"\x00\x01\x0a\x20\x2f\x30\x39\x7f\x80\x90\xc0\xc4\xcf\xdc\xff"


def _flip(data: bytes, chance: Chance) -> bytes:
    at = chance.randrange(len(data) or 1)
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :] if data else b"\0"


def _put(data: bytes, chance: Chance) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + bytes([chance.choice(_EDGES)]) + data[at + chance.randint(0, 1) :]


def _cut(data: bytes, chance: Chance) -> bytes:
    at = chance.randint(0, len(data))
    return data[:at] + data[at + chance.choice([1, 2, 8, 32, len(data)]) :]


def _repeat(data: bytes, chance: Chance) -> bytes:
    at = chance.randint(0, len(data))
    piece = data[at : at + chance.choice([1, 4, 33, 200])]
    return data[:at] + piece * chance.choice([1, 1, 2, 30]) + data[at:]


def inflated(data: bytes, chance: Chance) -> bytes:
    """``data`` with a piece of it repeated to the largest size: what is dear for each byte shows there."""
    at = chance.randint(0, len(data))
    piece = data[at : at + chance.choice([1, 2, 5, 33, 200])] or b"\n"
    times = (INPUT_BYTES_MAX - len(data)) // len(piece)
    return data[:at] + piece * times + data[at:]


MUTATIONS: Final[Sequence[Callable[[bytes, Chance], bytes]]] = (
    *(_flip, _flip, _put, _put, _cut, _cut, _repeat, _repeat, inflated),
)


def mutated(target: Target, seeds: Sequence[bytes], chance: Chance) -> bytes:
    """Another input, at most 64 KiB."""
    data = chance.choice(seeds)
    for _ in range(chance.choice([0, 1, 1, 2, 3, 8])):
        kind = chance.random()
        at = chance.randint(0, len(data))
        if kind < 0.15 and target.words:
            data = data[:at] + chance.choice(target.words) + data[at + chance.choice([0, 0, 1, 8]) :]
        elif kind < 0.25:
            other = chance.choice(seeds)
            data = data[:at] + other[chance.randint(0, len(other)) :]
        else:
            data = chance.choice(MUTATIONS)(data, chance)
    return data[:INPUT_BYTES_MAX]

"""Paths, numbers and proofs that somebody crafted: one spelling each, and nothing lenient."""

import os
import posixpath
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from creditledger.errors import ConsistencyProofError, InclusionProofError, MalformedRecordError
from creditledger.transparency.checkpoint import parse_checkpoint, parse_decimal
from creditledger.transparency.merkle import (
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_from_leaf_hashes,
    verify_consistency,
    verify_inclusion,
)
from creditledger.transparency.tile import Tile, parse_tile_path
from creditledger.transparency.witness import parse_add_checkpoint

MUTATIONS = int(os.environ.get("CREDITLEDGER_DIFFERENTIAL", "50000")) // 5
Chance = random.Random
PIECES = [
    "tile", "entries", "data", "0", "00", "63", "64", "-1", "+1", "1_0", "1e1", "\uff11", "\u0663",
    "\u00b2", "000", "001", "256", "999", "1000", "x000", "x001", "X001", "x1", "xx01", "x999", ".p",
    "001.p", "000.p", "1", "255", "0255", "..", ".", "", "%2e%2e", "%2f", "..%2f", "\\", "..\\", "\0", "\n",
    " ", "etc", "passwd", "../delegatedrole", "~", "C:", "file:", "x001/../x002", "9" * 19,
]  # fmt: skip
GRAMMAR = re.compile(
    r"tile/(?:(?:[0-9]|[1-5][0-9]|6[0-3])|entries)/(?:x(?!000/)[0-9]{3}/(?:x[0-9]{3}/)*)?[0-9]{3}"
    r"(?:\.p/(?:[1-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]))?",
    re.ASCII,
)
"""The grammar of C2SP tlog-tiles, written a second time."""


def crafted_path(chance: Chance) -> str:
    """A good path with some piece put in or in place of another; or pieces joined at random."""
    if chance.random() < 0.4:
        return "/".join(chance.choice(PIECES) for _ in range(chance.randint(1, 6)))
    level = chance.choice([None, chance.randrange(64)])
    index = chance.choice([chance.randrange(10**3), chance.randrange(10**7), chance.randrange(2**55)])
    parts = Tile(level=level, index=index, width=chance.randint(1, 256)).path.split("/")
    for _ in range(chance.choice([0, 1, 1, 2])):
        at = chance.randrange(len(parts))
        parts[at : at + chance.randint(0, 1)] = [chance.choice(PIECES)]
    return chance.choice(["", "", "", "", "/", "./"]) + "/".join(parts)


def test_crafted_tile_paths_never_leave_the_log() -> None:
    """L16, L17: of 5,000 paths and more those of the grammar are read, as themselves; nothing else is."""
    chance, found = Chance(18), Counter[bool]()
    for _ in range(max(5_000, MUTATIONS)):
        path = crafted_path(chance)
        is_good = GRAMMAR.fullmatch(path) is not None and _index_of(path) < 2**55
        found[is_good] += 1
        if not is_good:
            with pytest.raises(MalformedRecordError):
                parse_tile_path(path)
            continue
        served = parse_tile_path(path).path
        assert served == path
        assert posixpath.normpath(posixpath.join("/log", served)) == f"/log/{path}"
    assert min(found.values()) >= 1_000


def _index_of(path: str) -> int:
    return int(re.sub("[x/]", "", path.split("/", 2)[2].split(".p/")[0]))


SIZES = [
    "0", "1", "9", "10", "255", "256", "9007199254740992", "9007199254740993", "9223372036854775807",
    "9223372036854775808", "18446744073709551616", "9" * 400, "00", "01", "+1", "-0", "-1", "1_0", " 1", "1 ",
    "1\r", "0x1", "1e3", "1.0", "\uff11", "\u0661", "", "\u00b9", "1\x00", "\u2028" + "1", "1\x0b",
]  # fmt: skip


@pytest.mark.parametrize("size", SIZES, ids=lambda size: ascii(size[:24]))
def test_sizes_have_one_spelling_wherever_they_stand(size: str) -> None:
    """L17: no leading zeros, nothing that only `int` reads, nothing from 2^63 on."""
    is_good = re.fullmatch("0|[1-9][0-9]{0,18}", size, re.ASCII) is not None and int(size) < 2**63
    root = "A" * 43 + "="
    reads: list[tuple[Callable[[bytes], Any], str]] = [
        (parse_decimal, size),
        (parse_checkpoint, f"example.org/log\n{size}\n{root}\n"),
        (parse_add_checkpoint, f"old {size}\n\nnote\n"),
    ]
    for read, text in reads:
        if is_good:
            assert read(text.encode()) is not None
        else:
            with pytest.raises(MalformedRecordError):
                read(text.encode())


MOST = 130
LEAVES = [leaf_hash(b"%d" % number) for number in range(2 * MOST)]
ROOTS = [root_from_leaf_hashes(LEAVES[:size]) for size in range(2 * MOST + 1)]


def mutated_proof(proof: list[bytes], chance: Chance) -> list[bytes]:
    """``proof`` with one hash altered, dropped, doubled, moved, cut short or put in; or as it is."""
    if not proof:
        return chance.choice([[], [bytes(32)], [chance.choice(ROOTS)]])
    at = chance.randrange(len(proof))
    bit = 1 << chance.randrange(256)
    flipped = (int.from_bytes(proof[at], "big") ^ bit).to_bytes(32, "big")
    changes = [
        proof, [*proof[:at], flipped, *proof[at + 1 :]], [*proof[:at], *proof[at + 1 :]],
        [*proof[: at + 1], *proof[at:]], proof[::-1], [*proof[:at], proof[at][:-1], *proof[at + 1 :]],
        [*proof, chance.choice(ROOTS)], [chance.choice(LEAVES), *proof], [*proof[:at], ROOTS[0], *proof[at:]],
    ]  # fmt: skip
    return chance.choice(changes)


def near(number: int, chance: Chance) -> int:
    """``number``, mostly, or one that a forger would try."""
    tries = [number] * 6 + [
        number - 1,
        number + 1,
        number ^ 4,
        2 * number,
        0,
        -1,
        2**63 - 1,
        2**63,
        2**64 + number,
    ]
    return chance.choice(tries)


def test_an_inclusion_proof_holds_in_one_form_for_what_is_so() -> None:
    """L5: a million mutations with ``CREDITLEDGER_DIFFERENTIAL=5000000``."""
    chance, accepted = Chance(19), 0
    for _ in range(MUTATIONS):
        true_size = chance.randint(1, MOST)
        true_index = chance.randrange(true_size)
        proof = mutated_proof(inclusion_proof(LEAVES, true_index, true_size), chance)
        index, size = near(true_index, chance), near(true_size, chance)
        leaf = LEAVES[chance.choice([index, index, index, index ^ 1, 0]) % MOST]
        root = ROOTS[chance.choice([size, size, size, true_size]) % len(ROOTS)]
        try:
            verify_inclusion(leaf=leaf, index=index, size=size, proof=proof, root=root)
        except InclusionProofError:
            continue
        accepted += 1
        assert 0 <= index < size <= 2 * MOST
        if root == ROOTS[size]:
            assert leaf == LEAVES[index]
            assert proof == inclusion_proof(LEAVES, index, size)
    assert accepted >= MUTATIONS // 100


def forked_root(size: int, fork: int) -> bytes:
    """The root of a second history, which differs from the first in its leaf ``fork``."""
    return root_from_leaf_hashes([*LEAVES[:fork], leaf_hash(b"fork"), *LEAVES[fork + 1 :]][:size])


def test_a_consistency_proof_holds_in_one_form_for_what_is_so() -> None:
    """L5: swapped sizes and roots, other lengths, and two histories among them."""
    chance, accepted = Chance(20), 0
    for _ in range(MUTATIONS):
        true_second = chance.randint(1, MOST)
        true_first = chance.randint(0, true_second)
        proof = mutated_proof(consistency_proof(LEAVES, true_first, true_second), chance)
        first, second = near(true_first, chance), near(true_second, chance)
        first_root, second_root = ROOTS[first % len(ROOTS)], ROOTS[second % len(ROOTS)]
        fork = chance.randrange(MOST) if chance.random() < 0.2 else None
        if fork is not None:
            second_root = forked_root(second % len(ROOTS), fork)
        if chance.random() < 0.1:
            first_root, second_root = second_root, first_root
        try:
            verify_consistency(
                first=first, second=second, first_root=first_root, second_root=second_root, proof=proof
            )
        except ConsistencyProofError:
            continue
        accepted += 1
        assert 0 <= first <= second < 2**63
        if second > 2 * MOST:
            assert first in (0, second)  # nothing, or the same, is said of the second tree
            continue
        assert first == 0 or fork is None or fork >= first or fork >= second
        if first and fork is None:
            assert (first_root, second_root) == (ROOTS[first], ROOTS[second])
            assert proof == consistency_proof(LEAVES, first, second)
    assert accepted >= MUTATIONS // 100

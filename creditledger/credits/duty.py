"""The draw: which validators must check a receipt. Anyone can repeat it.

Source: specs/credits.md §7."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from creditledger.records.parameters import Parameters

CERTAIN_PPM: Final = 1_000_000
CERTAIN_CHECKERS: Final = 2
"""At a rate of one, this many validators are drawn (fewer only if fewer signed)."""
DUE_MAX: Final = 127
"""Checks of one receipt, at most: its state counts them in seven bits."""


def rate_ppm(
    parameters: Parameters,
    *,
    settled_micro: int,
    is_alarmed: bool,
    value_micro: int = 0,
    certain_until_micro: int = 0,
    probation_from_micro: int = 0,
) -> int:
    """At which rate, in 10^-6, a receipt is checked.

    One in all, for a node whose CUSUM alarmed or whose settled value is within probation or below
    ``certain_until_micro``, and for a receipt worth more than the always-check value; else it falls with
    what the node settled since ``probation_from_micro``, never below the floor.
    Source: specs/credits.md §7 and §12."""
    is_dear = value_micro > parameters.always_check_micro > 0
    if is_alarmed or is_dear or settled_micro < certain_until_micro:
        return CERTAIN_PPM
    probation = parameters.probation_micro
    if probation == 0:
        return parameters.check_floor_ppm
    since = max(settled_micro - probation_from_micro, probation)
    return max(parameters.check_floor_ppm, CERTAIN_PPM * probation // since)


def draw_threshold(*, rate: int, members: int) -> int:
    """``floor(2^64 rate / (10^6 members))``: a hash below it is drawn. Source: specs/credits.md §7."""
    return (rate << 64) // (CERTAIN_PPM * members)


def draw_hash(seed: bytes, receipt: bytes) -> bytes:
    """SHA-256(seed || receipt digest): both 32 bytes. Source: specs/credits.md §7."""
    return sha256(seed + receipt).digest()


def is_drawn(seed: bytes, receipt: bytes, *, rate: int, members: int) -> bool:
    """Whether the validator with ``seed`` must check ``receipt``, at a rate below 10^6.

    ``members``: how many the committee has, those who did not sign included."""
    first = int.from_bytes(draw_hash(seed, receipt)[:8], "big")
    return first < draw_threshold(rate=rate, members=members)


def drawn_members(seeds: Mapping[int, bytes], receipt: bytes, *, rate: int, members: int) -> list[int]:
    """The members that must check ``receipt``, ascending.

    ``seeds``: each signer's 32-byte seed by member index. At 10^6 these are the two signers of lowest
    hash; below, every signer that `is_drawn`. Source: specs/credits.md §7."""
    hashes = {member: draw_hash(seed, receipt) for member, seed in seeds.items()}
    return members_by_hash(hashes, rate=rate, members=members)


def members_by_hash(hashes: Mapping[int, bytes], *, rate: int, members: int) -> list[int]:
    """As `drawn_members`, from each signer's hash of the receipt: 8 bytes or more."""
    if rate >= CERTAIN_PPM:
        ranked = sorted(hashes, key=lambda member: (hashes[member], member))
        return sorted(ranked[:CERTAIN_CHECKERS])
    threshold = draw_threshold(rate=rate, members=members).to_bytes(9, "big")
    drawn = [member for member in sorted(hashes) if b"\0" + hashes[member][:8] < threshold]
    return drawn[:DUE_MAX]
